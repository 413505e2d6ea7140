"""Whatever a tool gives back can be recorded, and what JSON can say is kept as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from interlock.ids import canonical
from interlock.money import Money
from interlock.tools.results import recordable


class Model(BaseModel):
    text: str
    at: datetime | None = None


class Colour(Enum):
    RED = "red"


@dataclass
class Thing:
    name: Any


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, {"a": [1, 2.5, None, True, "ü"]}),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (Decimal("1.10"), "1.10"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (Colour.RED, "red"),
        (Money(5, "EUR"), {"amount": 5, "currency": "EUR"}),
        (Model(text="x"), {"text": "x", "at": None}),
        (Thing([Thing(1)]), {"name": [{"name": 1}]}),
        (b"text", "text"),
        (b"\xff\xfe", "//4="),
        ({"raw": b"\xff", "id": 7}, {"raw": "/w==", "id": 7}),
        ("a\ud800b", "a?b"),
        ({"\ud800": 1, "ok": [1]}, {"?": 1, "ok": [1]}),
        ({"big": 2**70, "small": -(2**63), "id": 7}, {"big": hex(2**70), "small": -(2**63), "id": 7}),
        (Thing({"big": 2**70}), {"name": {"big": hex(2**70)}}),
        (Rude(), "<Rude>"),
        ([Rude(), 2**70], ["<Rude>", hex(2**70)]),
        ([MappingProxyType({"a": 1}), 2**70], [{"a": 1}, hex(2**70)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(value: Any, plain: Any) -> None:
    assert recordable(value) == plain


def test_cycles_and_depth_end() -> None:
    around: dict[str, Any] = {"id": 7}
    around["self"] = [around, around]
    assert recordable(around) == {"id": 7, "self": ["...", "..."]}
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    assert canonical(recordable(deep))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.characters(categories=["Cs"]) | st.decimals() | st.datetimes() | st.builds(Rude) | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=3) | st.integers() | st.characters(categories=["Cs"]), inner, max_size=4)
    | st.frozensets(st.integers(), max_size=3)
    | st.builds(Thing, inner),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING)
def test_everything_becomes_recordable_and_stays_what_it_became(value: Any) -> None:
    plain = recordable(value)
    assert canonical(plain)
    assert repr(recordable(plain)) == repr(plain)
    assert not isinstance(value, Mapping) or isinstance(plain, dict)
