"""From JSON Schema to Cedar, and from what a caller knows to a complete context."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from interlock.oversight.cedar_types import BOOL, LONG, STRING, STRINGS, project, record_of
from interlock.oversight.contexts import complete_context, context_types, person_entities
from interlock.oversight.policy import ActionSpec, Policies, Request
from tests.oversight.department import START, bound


def attributes(properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> dict[str, Any]:
    found = record_of({"type": "object", "properties": properties, "required": required or [], **more})
    result: dict[str, Any] = found["attributes"]
    return result


def seen(schema: Any, **more: Any) -> Any:
    """The type of one required property, or None when policies do not see it."""
    return attributes({"x": schema}, ["x"], **more).get("x")


@pytest.mark.parametrize(
    ("schema", "cedar"),
    [
        ({"type": "string"}, STRING),
        ({"type": "integer"}, LONG),
        ({"type": "boolean"}, BOOL),
        ({"type": "array", "items": {"type": "string"}}, STRINGS),
        ({"enum": ["a", "b"]}, STRING),
        ({"enum": [1, 2]}, LONG),
        ({"const": True}, BOOL),
        ({"anyOf": [{"type": "integer"}, {"type": "integer", "minimum": 5}]}, LONG),
        ({"allOf": [{"type": "string"}]}, STRING),
        ({"type": "number"}, None),
        ({"type": "null"}, None),
        ({"type": "object"}, None),
        ({"type": "array"}, None),
        ({"type": "array", "items": {"type": "number"}}, None),
        ({"type": ["string", "integer"]}, None),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, None),
        ({"oneOf": []}, None),
        ({"enum": ["a", 1]}, None),
        ({"enum": [1.5]}, None),
        ({"enum": []}, None),
        ({}, None),
        (True, None),
        ({"$ref": "#/$defs/none"}, None),
        ({"$ref": "#"}, None),
        ({"$ref": "#/properties/x/a/b"}, None),
    ],
)
def test_what_policies_see_of_a_type(schema: Any, cedar: Any) -> None:
    assert seen(schema) == cedar


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"type": "null"}, {"enum": ["a", None]}]},
        {"enum": ["a", None]},
    ],
)
def test_what_may_be_null_is_optional(schema: Any) -> None:
    assert seen(schema) == {**STRING, "required": False}


def test_objects_and_references_are_followed_to_a_bounded_depth() -> None:
    defs = {"a/b": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    inner = {"type": "Record", "attributes": {"n": {**LONG, "required": False}}}
    assert seen({"$ref": "#/$defs/a~1b"}, **{"$defs": defs}) == inner
    loop = {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "string"}}}}
    cedar, depth = seen({"$ref": "#/$defs/node"}, **{"$defs": loop}), 0
    while cedar is not None:
        cedar, depth = cedar["attributes"].get("next"), depth + 1
    assert 1 <= depth <= 6


def test_names_that_cedar_reserves_are_not_seen() -> None:
    assert attributes({"__entity": {"type": "string"}, "__extn": {"type": "string"}, "ok": {"type": "string"}}) == {
        "ok": {**STRING, "required": False}
    }


def test_arguments_of_a_pydantic_model_reach_a_policy() -> None:
    class Line(BaseModel):
        sku: str
        count: int = 1

    class Order(BaseModel):
        lines: list[Line]
        note: str | None = None
        first: Line

    spec = ActionSpec("shop.order", "write", "shop", "shop:write", Order.model_json_schema())
    policies = bound(
        '@id("o") permit (principal, action == Interlock::Action::"shop.order", resource) when {'
        ' context.args.first.sku == "a" && context.args.first has count && context.args.first.count == 1'
        " && !(context.args has note) };",
        [spec],
    )
    assert policies.check() == []
    args = Order(lines=[Line(sku="a")], first=Line(sku="a")).model_dump(mode="json")
    assert decide(policies, "shop.order", {"args": args})
    assert not decide(policies, "shop.order", {"args": {**args, "note": "x"}})


def decide(policies: Policies, action: str, partial: dict[str, Any]) -> bool:
    return policies.decide(Request(action, "agent:x", context=policies.complete_context(action, partial))).allowed


@pytest.mark.parametrize(
    "value", [{"__entity": {"type": "Interlock::Role", "id": "x"}}, {"__extn": {"fn": "ip", "arg": "1.1.1.1"}}]
)
def test_a_value_that_looks_like_an_entity_is_no_text(value: Any) -> None:
    spec = ActionSpec(
        "t.x", args={"properties": {"a": {"type": "string"}, "l": {"type": "array", "items": {"type": "string"}}}}
    )
    policies = bound(
        'permit (principal, action == Interlock::Action::"t.x", resource)'
        ' unless { context.args has a && context.args.a == "z" }'
        ' unless { context.args has l && context.args.l.contains("z") };',
        [spec],
    )
    assert policies.check() == []
    assert decide(policies, "t.x", {"args": {"a": "y", "l": ["y"]}})
    assert not decide(policies, "t.x", {"args": {"a": value}})
    assert not decide(policies, "t.x", {"args": {"l": [value]}})


def test_projection_keeps_declared_parts_and_leaves_null_out() -> None:
    cedar = record_of(
        {
            "properties": {
                "a": {"type": "integer"},
                "b": {"type": "array", "items": {"type": "string"}},
                "c": {"type": "string"},
            }
        }
    )
    assert project(cedar, {"a": 5.0, "b": {"y", "x"}, "c": None, "d": 1}) == {"a": 5, "b": ["x", "y"]}
    assert project(cedar, {"a": 5.5, "b": ["x", None], "c": 7}) == {"a": 5.5, "b": ["x"], "c": 7}
    assert project(cedar, "no record") == "no record"


def test_a_context_is_complete_whatever_is_known() -> None:
    policies = bound("")
    bare = policies.complete_context("erp.create_po", {})
    full = policies.complete_context("erp.create_po", {"amount": 5, "totals": {"by_actor": {"week": 3}}, "odd": 1})
    assert bare.keys() == full.keys()
    assert (bare["amount"], bare["currency"], bare["preparers"], bare["args"]) == (0, "", [], {})
    assert (bare["effect"], bare["system"], bare["scope"]) == ("write", "erp", "po:write")
    assert bare["approvals"] == {"cfo": 0, "operator": 0, "purchasing": 0}
    zeros = {"day": 0, "week": 0, "month": 0}
    parts = dict.fromkeys(("by_actor", "by_counterparty", "by_system"), zeros)
    assert bare["totals"] == {**zeros, **parts, "tenant": {**zeros, "by_counterparty": zeros}}
    assert full["totals"]["by_actor"] == {"day": 0, "week": 3, "month": 0}
    assert full["totals"]["day"] == 0


def test_of_a_gate_approved_follows_the_approvals() -> None:
    policies = bound("")
    context = policies.complete_context("buying.approve", {"authority": "cfo", "approvals": {"cfo": 2}})
    assert context["approved"] == 2
    assert policies.complete_context("buying.approve", {"authority": "hr", "approvals": {"cfo": 2}})["approved"] == 0


@pytest.mark.parametrize(
    ("origins", "tainted"),
    [
        ({}, []), ({"vendor": []}, []), ({"vendor": ["absent"]}, []), ({"vendor": ["untrusted"]}, ["vendor"]),
        ({"vendor": ["unknown"], "note": ["untrusted", "input"]}, ["vendor"]), ({"vendor": ["made up"]}, ["vendor"]),
        ({"vendor": ["untrusted"], "note": {"unknown"}}, ["note", "vendor"]),
    ],
)  # fmt: skip
def test_tainted_is_what_no_trusted_origin_vouches_for(origins: dict[str, Any], tainted: list[str]) -> None:
    assert bound("").complete_context("erp.create_po", {"origins": origins})["tainted"] == tainted


def test_an_undeclared_target_is_tainted_all_the_same() -> None:
    assert bound("").complete_context("erp.create_po", {"origins": {"x": ["unknown"]}})["tainted"] == ["x"]


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (None, "1970-01-01T00:00:00.000Z"),
        (START, "2026-03-04T12:00:00.000Z"),
        ("2026-03-04T12:00:00.123456Z", "2026-03-04T12:00:00.123Z"),
        (datetime(2026, 3, 4, 12, tzinfo=timezone(timedelta(hours=5))), "2026-03-04T07:00:00.000Z"),
        ({"__extn": {"fn": "datetime", "arg": "2026-03-04T12:00:00.000Z"}}, "2026-03-04T12:00:00.000Z"),
    ],
)
def test_now_is_a_datetime_in_utc(now: Any, shown: str) -> None:
    policies = bound(
        'permit (principal, action == Interlock::Action::"erp.get_po", resource)'
        ' when { context.now >= datetime("2026-03-04") };'
    )
    assert policies.check() == []
    context = policies.complete_context("erp.get_po", {"now": now})
    assert context["now"] == {"__extn": {"fn": "datetime", "arg": shown}}
    expected = datetime.fromisoformat(shown) >= datetime(2026, 3, 4, tzinfo=UTC)
    verdict = policies.decide(Request("erp.get_po", "agent:x", context=context))
    assert verdict.allowed is expected
    if not expected:
        assert f"context.now is {shown}" in verdict.reasons[0].text


def test_excluded_persons_are_entities_and_agents_are_none() -> None:
    assert person_entities(["person:bo", "agent:x", "person:al", "person:bo"]) == [
        {"__entity": {"type": "Interlock::Person", "id": name}} for name in ("al", "bo")
    ]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(["total", "vendor", "note", "tags", "rate"]), json_values, max_size=5))
def test_no_argument_makes_a_decision_raise_or_slip_through(args: dict[str, Any]) -> None:
    allowed = decide(CAPPED, "erp.create_po", {"args": args})
    assert not allowed or small(args.get("total"))


def small(value: Any) -> bool:
    """An integer of at most 5, as JSON Schema counts: 5.0 is one."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and value <= 5


CAPPED = bound(
    'permit (principal, action == Interlock::Action::"erp.create_po", resource) when { context.args.total <= 5 };'
)


def test_arguments_are_trusted_or_known_by_their_origins_and_nothing_is_by_default() -> None:
    spec = ActionSpec("mail.send", "write", "mail", args={"properties": {"to": {"type": "string"}}})
    types = context_types(spec, ())

    def judged(*origins: str) -> tuple[list[str], list[str], list[str]]:
        context = complete_context(types, spec, {"origins": {"to": list(origins)}} if origins else {})
        return context["trusted"], context["known"], context["tainted"]

    assert judged() == ([], [], [])
    assert judged("absent") == ([], [], [])
    assert judged("unknown") == judged("untrusted") == ([], [], ["to"])
    assert judged("output") == judged("person") == judged("input") == (["to"], [], [])
    assert judged("registry") == (["to"], ["to"], [])
