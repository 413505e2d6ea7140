"""From documents as given to what has to be written: checked, compared with what is there, cut into chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from interlock import errors
from interlock.context.document import Chunk, Document, Skipped, Unreadable, parse_document
from interlock.context.embed import Embedder, Vectors
from interlock.context.snapshot import Catalogue, Change, Edition, Key
from interlock.context.split import sentences, split
from interlock.context.store import Collection
from interlock.ids import keyed_id

__all__ = ["Ingested", "Plan", "RawDocument", "batches", "embed_chunks", "plan_ingest", "sentence_id"]

RawDocument = Mapping[str, Any] | Unreadable
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did. `ingested` counts new and changed documents; `snapshot` is the newest number after it."""

    ingested: int
    unchanged: int
    skipped: list[Skipped]
    snapshot: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Plan:
    """What an ingest is going to write."""

    added: list[Edition] = field(default_factory=list)
    closed: set[Key] = field(default_factory=set)
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def change(self, source: str) -> Change:
        return Change(source, self.added, frozenset(self.closed))


def plan_ingest(
    source: str, documents: Iterable[RawDocument], catalogue: Catalogue, at: str, *, with_sentences: bool
) -> Plan:
    """Sort documents into new, changed, unchanged and bad. A bad one never stops the others.

    Raises InputError when `documents` is no list of documents at all.
    """
    if isinstance(documents, (str, bytes, Mapping)) or not isinstance(documents, Iterable):
        raise errors.InputError("documents is no list of documents", "give [{id, title, text}, ...]")
    plan, since = Plan(), catalogue.number + 1
    for document in _checked(documents, plan.skipped):
        current = catalogue.open.get((source, document.id))
        if current and current.chunks and current.content_hash == document.content_hash:
            plan.unchanged += 1
            continue
        if current:
            plan.closed.add(current.key)
        plan.added.append(_edition(source, document, since, at, with_sentences=with_sentences))
    return plan


def embed_chunks(chunks: Sequence[Chunk], catalogue: Catalogue, collection: Collection, embedder: Embedder) -> Vectors:
    """One vector per chunk. A chunk that reads as in the document's open version keeps its vector."""
    known = {chunk.id: id_ for chunk in chunks if (id_ := _same_text(chunk, catalogue)) is not None}
    new = [chunk for chunk in chunks if chunk.id not in known]
    old = [chunk for chunk in chunks if chunk.id in known]
    vectors = dict(zip((chunk.id for chunk in new), embedder.embed([chunk.embedded for chunk in new]), strict=True))
    kept = collection.vectors([known[chunk.id] for chunk in old])
    vectors.update(zip((chunk.id for chunk in old), kept, strict=True))
    return np.stack([vectors[chunk.id] for chunk in chunks])


def batches(editions: Sequence[Edition]) -> Iterator[list[tuple[Edition, Chunk]]]:
    """All chunks with their editions, a few at a time, so that queries and cancellation come between."""
    pairs = [(edition, chunk) for edition in editions for chunk in edition.chunks]
    for start in range(0, len(pairs), _BATCH):
        yield pairs[start : start + _BATCH]


def sentence_id(chunk_id: str, index: int) -> str:
    return f"{chunk_id}#{index}"


def _checked(documents: Iterable[RawDocument], skipped: list[Skipped]) -> Iterator[Document]:
    seen: set[str] = set()
    for position, raw in enumerate(documents):
        try:
            if isinstance(raw, Unreadable):
                raise errors.InputError(raw.reason)
            document = parse_document(raw)
            if document.id in seen:
                raise errors.InputError("the same id came before in this ingest")
        except errors.InputError as exc:
            skipped.append(Skipped(id=_name(raw, position), reason=exc.message))
            continue
        seen.add(document.id)
        yield document


def _name(raw: object, position: int) -> str:
    found = raw.id if isinstance(raw, Unreadable) else raw.get("id") if isinstance(raw, Mapping) else None
    return found[:80].encode("utf-8", "replace").decode() if isinstance(found, str) and found else f"#{position}"


def _edition(source: str, document: Document, since: int, at: str, *, with_sentences: bool) -> Edition:
    content_hash = document.content_hash
    blank = _blank(source, document, at)
    chunks = []
    for position, (start, end) in enumerate(split(document.text)):
        text = document.text[start:end]
        id_ = keyed_id(source, document.id, str(since), content_hash, str(position))
        count = len(sentences(text)) if with_sentences else 0
        chunks.append(replace(blank, id=id_, text=text, span=(start, end), sentences=count))
    return Edition(source, document.id, content_hash, since, None, tuple(chunks))


def _blank(source: str, document: Document, at: str) -> Chunk:
    """What all chunks of a version share."""
    return Chunk(
        id="",
        source=source,
        document_id=document.id,
        title=document.title,
        text="",
        span=(0, 0),
        labels=frozenset(document.labels),
        version=document.version or document.content_hash[:12],
        as_of=document.as_of or at,
        trust=document.trust,
        metadata=document.metadata,
    )


def _same_text(chunk: Chunk, catalogue: Catalogue) -> str | None:
    current = catalogue.open.get((chunk.source, chunk.document_id))
    before = current.chunks if current else ()
    return next((old.id for old in before if (old.title, old.text) == (chunk.title, chunk.text)), None)
