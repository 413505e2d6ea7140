"""The word leg: BM25 over stems, with the title counted twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import bm25s  # type: ignore[import-untyped]  # it ships no types
import numpy as np
import Stemmer  # type: ignore[import-not-found]  # an extension module without stubs
from numpy.typing import NDArray

from interlock.context.document import Chunk

__all__ = ["Lexicon", "WordIndex"]

Scores = NDArray[np.float32]
_MAX_QUERY = 20_000


class Lexicon:
    """Remembers the stems of each chunk, so that an index is rebuilt without reading texts again."""

    def __init__(self) -> None:
        self._stems: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def of(self, chunks: Sequence[Chunk]) -> list[list[str]]:
        """The stems of each chunk, in the order given."""
        with self._lock:
            new = [chunk for chunk in chunks if chunk.id not in self._stems]
            texts = [f"{chunk.title} {chunk.title} {chunk.text}" for chunk in new]
            self._stems.update(zip((chunk.id for chunk in new), _stems(texts), strict=True))
            return [self._stems[chunk.id] for chunk in chunks]

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for id_ in ids:
                self._stems.pop(id_, None)


class WordIndex:
    """BM25 over a fixed sequence of chunks. `scores` has one number per chunk, in their order."""

    def __init__(self, stems: list[list[str]]) -> None:
        self._size = len(stems)
        self._bm25 = None
        if any(stems):
            self._bm25 = bm25s.BM25(backend="numpy")
            self._bm25.index(stems, show_progress=False)

    def scores(self, query: str) -> Scores:
        words = _stems([query[:_MAX_QUERY]])[0]
        if self._bm25 is None or not words:
            return np.zeros(self._size, dtype=np.float32)
        found: Scores = self._bm25.get_scores(words)
        return found


def _stems(texts: list[str]) -> list[list[str]]:
    if not texts:
        return []
    # A stemmer of its own for each call: PyStemmer's objects are not safe to share between threads.
    stemmer = Stemmer.Stemmer("english")
    found = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
    return [[str(word) for word in words] for words in found]
