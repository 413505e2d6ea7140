"""Arguments are validated strictly, read from a copy, and bounded; what cannot be validated does not register."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from interlock import errors
from interlock.ids import canonical
from interlock.money import Money
from interlock.tools.arguments import LARGEST, Arguments, finite, from_function, from_schema

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4),
    max_leaves=12,
)


class Order(BaseModel):
    """Field names and names on the wire differ."""

    supplier_id: str = Field(alias="supplierId")
    amount: Decimal
    due: datetime | None = None


def pay(
    number: int,
    ratio: float = 0.5,
    urgent: bool = False,
    note: str = "",
    lines: list[int] | None = None,
    money: Money | None = None,
) -> None: ...


SIGNED = from_function(pay)
SCHEMED = from_schema(
    {
        "properties": {
            "number": {"type": "integer"},
            "ratio": {"type": "number"},
            "urgent": {"type": "boolean"},
            "note": {"type": "string"},
            "lines": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["number"],
    }
)
BOTH = pytest.mark.parametrize("arguments", [SIGNED, SCHEMED], ids=["signature", "schema"])


@BOTH
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", True), ("number", "5"), ("number", 5.5), ("number", None), ("number", [5]), ("number", 2**70),
        ("number", -(2**64)), ("ratio", "0.5"), ("ratio", True), ("urgent", 1), ("urgent", "true"), ("urgent", 0.0),
        ("note", 5), ("note", b"bytes"), ("note", "\ud800"), ("lines", ["1"]), ("lines", [True]), ("lines", "1,2"),
        ("lines", {1, 2}), ("lines", {"0": 1}), ("ratio", float("nan")), ("ratio", float("-inf")), ("extra", 1),
        ("", 1), ("NUMBER", 1), ("number\x00", 1), ("numb\u0435r", 1),
    ],
)  # fmt: skip
def test_what_is_not_exactly_of_the_type_is_refused(arguments: Arguments, name: str, value: Any) -> None:
    with pytest.raises(errors.InputError):
        arguments.check({"number": 1, name: value})


@BOTH
@pytest.mark.parametrize("raw", [None, [], "number", 5, {1: 2}, {"number": 1, 2: 3}, {}, object()])
def test_arguments_are_an_object_with_all_that_is_required(arguments: Arguments, raw: Any) -> None:
    with pytest.raises(errors.InputError):
        arguments.check(raw)


def test_both_readings_of_a_signature() -> None:
    plain, values = SIGNED.check({"number": 2**53 + 1, "lines": (1, 2), "money": {"amount": -5, "currency": "EUR"}})
    assert plain["number"] == 2**53 + 1
    assert plain["money"] == {"amount": -5, "currency": "EUR"}
    assert plain["ratio"] == 0.5, "defaults are shown to the policies as well"
    assert values.money == Money(-5, "EUR")
    assert values["lines"] == values.lines == [1, 2]
    with pytest.raises(AttributeError):
        _ = values.nothing


@pytest.mark.parametrize("amount", [True, "5", 5.0, None])
def test_money_in_a_signature_is_exact(amount: Any) -> None:
    with pytest.raises(errors.InputError):
        SIGNED.check({"number": 1, "money": {"amount": amount, "currency": "EUR"}})


def test_a_model_is_read_by_the_names_of_its_schema_and_gives_those_of_its_fields() -> None:
    arguments = from_schema(Order)
    plain, values = arguments.check({"supplierId": "ü", "amount": "5.10", "due": "2026-01-02T03:04:05Z"})
    assert plain == {"supplierId": "ü", "amount": "5.10", "due": "2026-01-02T03:04:05Z"}
    assert values.supplier_id == "ü"
    assert values.due == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert arguments.check(plain)[0] == plain, "what was recorded can be checked again, as after an edit"
    assert arguments.knows("supplierId")
    assert arguments.knows("supplier_id")
    assert not arguments.knows("supplier")
    with pytest.raises(errors.InputError, match="unknown arguments: supplier_id"):
        arguments.check({"supplier_id": "x", "amount": "1"})


def test_a_model_that_allows_extra_fields_gets_none() -> None:
    class Open(BaseModel, extra="allow"):
        a: int

    with pytest.raises(errors.InputError, match="unknown"):
        from_schema(Open).check({"a": 1, "b": 2})


def test_names_that_pydantic_keeps_for_itself_are_ordinary_arguments() -> None:
    def query(schema: str, json: int, copy: bool, model_config: str, _id: int, self_: str = "") -> None: ...

    given = {"schema": "s", "json": 1, "copy": True, "model_config": "m", "_id": 2}
    plain, values = from_function(query).check(given)
    assert plain == {**given, "self_": ""}
    assert dict(values) == {**given, "self_": ""}


def test_a_default_of_none_may_be_given_and_defaults_are_never_shared() -> None:
    def fn(a: str = None, b: list[int] = [1]) -> None: ...  # type: ignore[assignment]  # noqa: B006, RUF013

    arguments = from_function(fn)
    plain, values = arguments.check({})
    values.b.append(2)
    assert plain == {"a": None, "b": [1]}
    assert arguments.check(plain)[1] == {"a": None, "b": [1]}


@BOTH
def test_what_the_caller_changes_later_does_not_change_what_was_checked(arguments: Arguments) -> None:
    raw: dict[str, Any] = {"number": 1, "lines": [1]}
    plain, values = arguments.check(raw)
    raw["lines"].append(10**6)
    assert plain["lines"] == [1]
    values["lines"].append(2)
    assert plain["lines"] == [1], "nor does what the tool changes"


@BOTH
def test_deep_and_cyclic_arguments_are_refused(arguments: Arguments) -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    cyclic: dict[str, Any] = {"number": 1}
    cyclic["lines"] = cyclic
    for raw in ({"number": 1, "lines": deep}, cyclic):
        with pytest.raises(errors.InputError):
            arguments.check(raw)


@BOTH
def test_size_is_bounded_in_bytes(arguments: Arguments) -> None:
    arguments.check({"number": 1, "note": "x" * (LARGEST - 1000)})
    with pytest.raises(errors.InputError, match="bytes"):
        arguments.check({"number": 1, "note": "ü" * (LARGEST // 2)})


def test_messages_do_not_repeat_huge_values() -> None:
    with pytest.raises(errors.InputError) as refused:
        SCHEMED.check({"number": "9" * 100_000})
    assert len(refused.value.message) < 2_000


@given(JSON)
def test_nothing_but_input_errors_leaves_the_check(value: Any) -> None:
    for arguments in (SIGNED, SCHEMED, from_schema({"additionalProperties": True})):
        for raw in (value, {"number": 1, "lines": value}, {"number": value, "note": value}):
            try:
                plain, values = arguments.check(raw)
            except errors.InputError:
                continue
            assert canonical(plain), "what was taken can be recorded"
            assert set(values) >= set(raw)


@given(JSON)
def test_finite_agrees_with_a_walk_over_the_leaves(value: Any) -> None:
    def leaves(one: Any) -> list[Any]:
        if isinstance(one, dict):
            one = list(one.values())
        return [leaf for inner in one for leaf in leaves(inner)] if isinstance(one, list) else [one]

    unreal = [leaf for leaf in leaves(value) if isinstance(leaf, float) and leaf - leaf != 0]
    assert finite(value) == (not unreal)


class Foreign:
    """A type that JSON has no form for."""


def unnamed(*values: int) -> None: ...
def keywords(**values: int) -> None: ...
def positional(a: int, /) -> None: ...
def foreign(a: Foreign) -> None: ...
def missing(a: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("fn", [unnamed, keywords, positional, foreign, missing, max, int, print])
def test_signatures_that_cannot_be_read_do_not_register(fn: Callable[..., Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"give args_schema="):
        from_function(fn)


@pytest.mark.parametrize(
    "schema",
    [
        5, None, [], "object", int, {"type": "array"}, {"properties": 5}, {"properties": {"a": {"type": "nope"}}},
        {"properties": {"a": {"$ref": "#/$defs/none"}}}, {"$schema": "https://example.org/nope"},
        {"properties": {"a": {"$ref": "file:///etc/hostname"}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}},
    ],
)  # fmt: skip
def test_schemas_that_are_none_or_reach_outside_do_not_register(schema: Any) -> None:
    with pytest.raises(errors.ConfigurationError):
        from_schema(schema)


def test_a_reference_to_elsewhere_is_never_fetched() -> None:
    with pytest.raises(errors.ConfigurationError, match="nothing is fetched"):
        from_schema({"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}})


def test_schemas_are_closed_unless_they_say_otherwise() -> None:
    assert not from_schema({}).knows("a")
    with pytest.raises(errors.InputError):
        from_schema({}).check({"a": 1})
    opened = from_schema({"additionalProperties": {"type": "integer"}})
    assert opened.knows("a")
    assert opened.check({"a": 1})[0] == {"a": 1}
    with pytest.raises(errors.InputError):
        opened.check({"a": "1"})
