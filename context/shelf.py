"""Everything of one tenant: its collections, its catalogue, the views of the snapshots that are in use.

Methods block and run in worker threads; only `load` and `publish` change the catalogue, one at a time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import Any

import orjson

from interlock.context.document import Chunk
from interlock.context.embed import Embedder, QueryMemory, Vectors
from interlock.context.ingest import embed_chunks, sentence_id
from interlock.context.lexical import Lexicon
from interlock.context.retrieve import Dense, View
from interlock.context.snapshot import Catalogue, Change, Edition, Place
from interlock.context.split import sentences
from interlock.context.store import Collection, Record, Store
from interlock.ids import canonical
from interlock.storage.database import Row

__all__ = ["Shelf"]

_VIEWS = 8
_PER_CHUNK = 4


class Shelf:
    """One tenant's documents under one model. `catalogue` is None until the first `load`."""

    def __init__(self, store: Store, tenant: str, embedder: Embedder, *, with_sentences: bool) -> None:
        self.tenant = tenant
        self.catalogue: Catalogue | None = None
        self._store, self._embedder, self._with_sentences = store, embedder, with_sentences
        self._chunks = store.collection(tenant, embedder.name)
        self._sentences = store.collection(tenant, f"{embedder.name}#sentences")
        self._lexicon, self._views = Lexicon(), OrderedDict[int, View]()
        self._unpublished: set[str] = set()
        self._lock = threading.Lock()

    def load(self, number: int, rows: Sequence[Row]) -> Catalogue:
        """Read the store, keep what the SQL rows vouch for, and remove what a crash left."""
        found: dict[Place, list[tuple[Chunk, int]]] = defaultdict(list)
        for record in self._chunks.records():
            found[_place(record)].append((_chunk(record), record[2]["of"]))
        whole = {place: _whole(parts) for place, parts in found.items()}
        catalogue = Catalogue.load(number, rows, whole)
        stored = {chunk.id for parts in found.values() for chunk, _ in parts}
        self._chunks.drop(sorted(stored - catalogue.chunk_ids() - self._unpublished))
        self._replace(catalogue)
        return catalogue

    def sweep(self, catalogue: Catalogue) -> None:
        """Remove what an ingest wrote that never became a snapshot. Only while no other ingest runs."""
        self._chunks.drop(sorted(self._unpublished - catalogue.chunk_ids()))
        self._unpublished.clear()

    def write(self, batch: Sequence[tuple[Edition, Chunk]], catalogue: Catalogue) -> None:
        """Embed and store chunks. Nobody sees them until `publish` makes them part of a snapshot."""
        chunks = [chunk for _, chunk in batch]
        self._unpublished |= {chunk.id for chunk in chunks}
        vectors = embed_chunks(chunks, catalogue, self._chunks, self._embedder)
        if self._with_sentences:
            self._write_sentences(chunks)
        self._chunks.put([_record(edition, chunk) for edition, chunk in batch], vectors)

    def publish(self, number: int, change: Change, before: Catalogue) -> None:
        """Make a committed change visible to the queries of this process."""
        self._replace(before.after(number, change), keep_views=not change.erased)
        self._unpublished.clear()

    def erase(self, source: str, documents: Sequence[str], chunks: Sequence[Chunk]) -> None:
        """Remove documents from every collection of the tenant, leftovers and earlier models included."""
        for collection in self._store.of_tenant(self.tenant):
            collection.erase(source, documents)
        self._lexicon.forget([chunk.id for chunk in chunks])

    def view(self, number: int, catalogue: Catalogue) -> View:
        """The chunks of a snapshot; those of the last few snapshots are kept with their word index."""
        with self._lock:
            if catalogue is not self.catalogue:
                return View(catalogue.visible(number), self._lexicon)
            if number not in self._views:
                self._views[number] = View(catalogue.visible(number), self._lexicon)
            self._views.move_to_end(number)
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
            return self._views[number]

    def dense(self, memory: QueryMemory, text: str) -> Dense:
        """The vector leg for one query text."""
        vector = memory.vector(text)

        def leg(pool: Sequence[Chunk], n: int) -> dict[str, float]:
            whole = self._chunks.nearest(vector, [chunk.id for chunk in pool], n)
            if not self._with_sentences:
                return whole
            return _joined(whole, _best_sentence(self._sentences, vector, pool, n))

        return leg

    def _replace(self, catalogue: Catalogue, *, keep_views: bool = False) -> None:
        with self._lock:
            self.catalogue = catalogue
            if not keep_views:
                self._views.clear()

    def _write_sentences(self, chunks: Sequence[Chunk]) -> None:
        records = [
            (sentence_id(chunk.id, n), text, {"source": chunk.source, "document": chunk.document_id})
            for chunk in chunks
            for n, text in enumerate(sentences(chunk.text))
        ]
        self._sentences.put(records, self._embedder.embed([text for _, text, _ in records]))


def _best_sentence(collection: Collection, vector: Vectors, pool: Sequence[Chunk], n: int) -> dict[str, float]:
    among = [sentence_id(chunk.id, index) for chunk in pool for index in range(chunk.sentences)]
    best: dict[str, float] = {}
    for id_, score in collection.nearest(vector, among, n * _PER_CHUNK).items():
        chunk_id = id_.rpartition("#")[0]
        best[chunk_id] = max(score, best.get(chunk_id, -1.0))
    return best


def _joined(whole: dict[str, float], best: dict[str, float]) -> dict[str, float]:
    # What one of the two lists does not hold is at most as near as the last that it holds.
    low, floor = min(whole.values(), default=0.0), min(best.values(), default=0.0)
    return {id_: (whole.get(id_, low) + best.get(id_, floor)) / 2 for id_ in {**whole, **best}}


def _record(edition: Edition, chunk: Chunk) -> Record:
    data = {
        "title": chunk.title,
        "span": list(chunk.span),
        "labels": sorted(chunk.labels),
        "version": chunk.version,
        "as_of": chunk.as_of,
        "trust": chunk.trust,
        "metadata": chunk.metadata,
        "sentences": chunk.sentences,
    }
    place = {"source": chunk.source, "document": chunk.document_id, "from": edition.since, "hash": edition.content_hash}
    return chunk.id, chunk.text, {**place, "of": len(edition.chunks), "data": canonical(data).decode()}


def _place(record: Record) -> Place:
    place = record[2]
    return place["source"], place["document"], place["from"], place["hash"]


def _whole(parts: list[tuple[Chunk, int]]) -> list[Chunk]:
    """The chunks of one version in order; none when some of them were lost."""
    complete = all(count == len(parts) for _, count in parts)
    return sorted((chunk for chunk, _ in parts), key=lambda chunk: chunk.span) if complete else []


def _chunk(record: Record) -> Chunk:
    id_, text, place = record
    data: dict[str, Any] = orjson.loads(place["data"])
    data["span"], data["labels"] = tuple(data["span"]), frozenset(data["labels"])
    return Chunk(id=id_, source=place["source"], document_id=place["document"], text=text, **data)
