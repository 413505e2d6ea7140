"""Chunks: nothing is lost, spans are exact, sizes are bounded."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.context.split import sentences, split


def test_short_texts_stay_whole() -> None:
    assert split("  One pump. Two pumps.\n") == [(2, 22)]


def test_long_texts_are_cut_at_sentences_and_overlap() -> None:
    text = " ".join(f"Sentence number {n} says something of pumps." for n in range(200))

    spans = split(text)

    assert len(spans) > 5
    assert all(text[start:end].startswith("Sentence") and text[start:end].endswith("pumps.") for start, end in spans)
    assert all(len(text[start:end].split()) <= 240 for start, end in spans)
    assert all(after[0] < before[1] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    "text", ["x" * 10_000, "漢字" * 4_000, "a. " * 5_000, "word " * 5_000, "\n\n".join("ab" * 2_000)]
)
def test_texts_without_sentences_are_cut_too(text: str) -> None:
    spans = split(text)

    assert all(0 < end - start <= 2_000 for start, end in spans)
    assert covered(text, spans)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["pump", "oil.", "\n\n", "  ", "é" * 400, "valve! ", "。", "x" * 90]), max_size=900))
def test_every_visible_character_is_in_a_chunk(parts: list[str]) -> None:
    text = " ".join(parts)
    if text.strip():
        spans = split(text)
        assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
        assert covered(text, spans)


def covered(text: str, spans: list[tuple[int, int]]) -> bool:
    missing = set(range(len(text)))
    for start, end in spans:
        missing -= set(range(start, end))
    return not "".join(text[at] for at in missing).strip()


def test_sentences() -> None:
    assert sentences("Oil leaks here. Yes. The pump is hot!") == ["Oil leaks here.", "The pump is hot!"]
    assert sentences("Oil") == ["Oil"]
