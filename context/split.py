"""Cuts long texts into overlapping chunks at sentence ends. Pure functions over character offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["Span", "sentences", "split"]

Span = tuple[int, int]

_WHOLE, _SIZE, _OVERLAP = 300, 200, 40
_CHARS_PER_WORD = 8
_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n\s*\n")
_WORD = re.compile(r"\S+")


def split(text: str) -> list[Span]:
    """Spans of about 200 words with an overlap of up to 40; a text of up to 300 words stays in one piece."""
    if _weight(text) <= _WHOLE:
        return [_trim(text, 0, len(text))]
    chunks: list[list[Span]] = [[]]
    for unit in _units(text):
        last = chunks[-1]
        if last and _between(text, last[0], unit) > _SIZE:
            chunks.append([*_tail(text, last), unit])
        else:
            last.append(unit)
    return [(chunk[0][0], chunk[-1][1]) for chunk in chunks]


def sentences(text: str) -> list[str]:
    """The sentences of a text that have at least three words; the text itself when there is none."""
    found = [text[start:end] for start, end in _sentences(text)]
    return [one for one in found if len(one.split()) >= 3] or [text]


def _tail(text: str, chunk: list[Span]) -> list[Span]:
    return [unit for unit in chunk[1:] if _weight(text[unit[0] : chunk[-1][1]]) <= _OVERLAP]


def _between(text: str, first: Span, last: Span) -> int:
    return _weight(text[first[0] : last[1]])


def _weight(text: str) -> int:
    # Scripts without spaces, and endless tokens, are counted by characters.
    return max(len(text.split()), len(text) // _CHARS_PER_WORD)


def _units(text: str) -> Iterator[Span]:
    for start, end in _sentences(text):
        if _weight(text[start:end]) <= _SIZE:
            yield start, end
        else:
            yield from _pieces(text, start, end)


def _sentences(text: str) -> Iterator[Span]:
    start = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        span = _trim(text, start, end)
        if span[0] < span[1]:
            yield span
        start = end


def _pieces(text: str, start: int, end: int) -> Iterator[Span]:
    """A sentence that is too long for one chunk, cut between words, and inside words where it must be."""
    limit = _OVERLAP * _CHARS_PER_WORD
    begin = stop = start
    for word in _WORD.finditer(text, start, end):
        if stop > begin and word.end() - begin > limit:
            yield begin, stop
            begin = word.start()
        while word.end() - begin > limit:
            yield begin, begin + limit
            begin += limit
        stop = word.end()
    if stop > begin:
        yield begin, stop


def _trim(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return start + left, max(start + left, start + len(piece.rstrip()))
