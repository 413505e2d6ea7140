"""Hybrid retrieval: words and vectors, each filtered first, scaled over its best hundred, half and half."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interlock.context.access import Pass
from interlock.context.document import Chunk
from interlock.context.lexical import Lexicon, WordIndex
from interlock.context.snapshot import Catalogue
from interlock.context.where import Where

__all__ = ["Dense", "Fact", "View", "permitted", "search"]

_DEPTH = 100
Dense = Callable[[Sequence[Chunk], int], dict[str, float]]
"""Given the permitted chunks and a number n: the similarity of the n nearest, by chunk id."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One retrieved piece of context. `score` is 0 to 1; `span` is (start, end) in characters of the document.

    `as_of` is a UTC time; `hash` is the SHA-256 of `text`.
    """

    id: str
    document_id: str
    title: str
    text: str
    score: float
    source: str
    version: str
    as_of: str
    trust: str
    labels: tuple[str, ...]
    hash: str
    span: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "labels": list(self.labels), "span": list(self.span)}


class View:
    """The chunks of one snapshot, by id, and their word index, which is built when first asked for."""

    def __init__(self, chunks: list[Chunk], lexicon: Lexicon) -> None:
        self.chunks = chunks
        self._lexicon, self._lock = lexicon, threading.Lock()

    @property
    def words(self) -> WordIndex:
        with self._lock:
            return self._built

    @cached_property
    def _built(self) -> WordIndex:
        return WordIndex(self._lexicon.of(self.chunks))


def permitted(view: View, newest: Catalogue, to: Pass, where: Where) -> list[int]:
    """Rows of the view that an actor may see and the filter matches.

    A label set later on a document closes its older versions too: both sets of labels have to permit.
    """

    def open_to(chunk: Chunk) -> bool:
        current = newest.open.get((chunk.source, chunk.document_id))
        if current is None:
            return to.permits(chunk.labels)
        return to.permits(chunk.labels) and any(to.permits(now.labels) for now in current.chunks[:1])

    return [row for row, chunk in enumerate(view.chunks) if where.matches(chunk) and open_to(chunk)]


def search(view: View, rows: list[int], text: str, dense: Dense, k: int, *, chunks: bool = False) -> list[Fact]:
    """The best `k` facts among the given rows; fewer only when they hold fewer documents."""
    pool = [view.chunks[row] for row in rows]
    words = view.words.scores(text)[rows] if rows else np.zeros(0, dtype=np.float32)
    depth = max(_DEPTH, k)
    while True:
        ranked = _fuse(pool, _best(pool, words, depth), dense(pool, depth))
        facts = list(_facts(ranked, k, chunks=chunks))
        if len(facts) == k or depth >= len(pool):
            return facts
        depth *= 4


def _best(pool: Sequence[Chunk], scores: NDArray[np.float32], depth: int) -> dict[str, float]:
    order = np.argsort(-scores, kind="stable")[:depth]
    return {pool[int(row)].id: float(scores[row]) for row in order}


def _fuse(pool: Sequence[Chunk], *legs: dict[str, float]) -> list[tuple[float, Chunk]]:
    scaled = [_scaled(leg) for leg in legs]
    scores = {id_: sum(leg.get(id_, 0.0) for leg in scaled) / len(legs) for leg in scaled for id_ in leg}
    found = [(round(scores[chunk.id], 6), chunk) for chunk in pool if chunk.id in scores]
    return sorted(found, key=lambda hit: (-hit[0], hit[1].id))


def _scaled(leg: dict[str, float]) -> dict[str, float]:
    low, high = min(leg.values(), default=0.0), max(leg.values(), default=0.0)
    if high == low:
        return dict.fromkeys(leg, 1.0 if high > 0 else 0.0)
    return {id_: (score - low) / (high - low) for id_, score in leg.items()}


def _facts(ranked: list[tuple[float, Chunk]], k: int, *, chunks: bool) -> Iterator[Fact]:
    seen: set[tuple[str, str]] = set()
    for score, chunk in ranked:
        key = (chunk.source, chunk.document_id)
        if chunks or key not in seen:
            seen.add(key)
            yield _fact(score, chunk)
            if (k := k - 1) == 0:
                return


def _fact(score: float, chunk: Chunk) -> Fact:
    return Fact(
        id=chunk.id,
        document_id=chunk.document_id,
        title=chunk.title,
        text=chunk.text,
        score=score,
        source=chunk.source,
        version=chunk.version,
        as_of=chunk.as_of,
        trust=chunk.trust,
        labels=tuple(sorted(chunk.labels)),
        hash=chunk.hash,
        span=chunk.span,
    )
