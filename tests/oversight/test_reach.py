"""Rules that change nothing: what is reported is true, tried on every request of a small world."""

from __future__ import annotations

from itertools import product
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.oversight.policy import ActionSpec, Policies
from interlock.oversight.reach import dead_rules
from interlock.oversight.regions import alternatives
from interlock.oversight.schema import actions_of
from interlock.oversight.statements import read_statements
from tests.oversight.department import PO, bound

PERMIT = 'permit (principal, action == Interlock::Action::"erp.create_po", resource)'
FORBID = PERMIT.replace("permit", "forbid")


def told(*policies: str) -> dict[str, str]:
    """What is reported, by policy id."""
    text = "\n".join(f'@id("p{n}") {policy};' for n, policy in enumerate(policies))
    statements, problems = read_statements("t.cedar", text)
    assert problems == []
    found = dead_rules(statements, actions_of([PO], ["operator", "purchasing"]))
    return {hint.message.split(" ", 1)[0]: hint.message for hint in found}


@pytest.mark.parametrize(
    "condition",
    [
        "context.amount > 10 && context.amount < 5",
        "context.amount > 10 && context.amount < 11",
        "context.amount == 3 && context.amount != 3",
        'context.currency == "EUR" && context.currency == "USD"',
        'context.currency == "EUR" && "USD" == context.currency',
        '["EUR", "USD"].contains(context.currency) && context.currency == "CHF"',
        '["EUR", "USD"].contains(context.currency) && context.currency != "EUR" && context.currency != "USD"',
        'context.history.done.contains("x") && !context.history.done.contains("x")',
        "context.approvals.purchasing < 0",
        "context.counts.by_actor.day + context.counts.day <= -1",
        'context.effect == "read"',
        'context.system != "erp"',
        "context.totals.day + context.amount > 10 && context.totals.day <= 5 && context.amount <= 5",
        "context.amount - context.totals.day > 0 && context.totals.day >= context.amount",
        "(context.amount > 10 || context.amount < 0) && context.amount == 5",
        "if context.amount > 5 then context.amount < 3 else context.amount > 7",
        "9223372036854775807 < context.amount",
        "context.amount * 2 == 7",
        'context.now < datetime("2026-01-01") && !(context.now < datetime("2026-01-01"))',
        "3 > 5 || 1 == 2",
        '"a" == "b" || "a" != "a"',
        "context.amount - context.amount > 0",
        'principal in Interlock::Role::"a" && !(principal in Interlock::Role::"a")',
        "false",
    ],
)
def test_contradictions_are_found(condition: str) -> None:
    assert "contradict" in told(f"{PERMIT} when {{ {condition} }}")["p0"]


@pytest.mark.parametrize(
    "condition",
    [
        "context.amount >= 10 && context.amount <= 10",
        "context.amount > 10 || context.amount < 5",
        'context.currency == "EUR" || context.currency == "USD"',
        "context.totals.day < 0",
        "context.totals.day + context.amount > 10 && context.totals.day <= 5 && context.amount <= 6",
        "context.amount * 2 >= 9 && context.amount <= 5",
        'context.args.vendor like "a*" && context.args.vendor != "a"',
        'context.args has note && context.args.note != ""',
        "context.args == context.args && context.totals != context.repeats",
        'context.now < datetime("2026-01-01") && context.now > datetime("2025-01-01")',
        "context.amount * context.totals.day > 3 && context.amount - 3 > context.totals.day",
    ],
)
def test_what_can_hold_is_not_reported(condition: str) -> None:
    assert told(f"{PERMIT} when {{ {condition} }}") == {}


def test_a_permit_that_is_always_forbidden() -> None:
    found = told(f"{PERMIT} when {{ context.amount > 100 }}", f"{FORBID} when {{ context.amount > 50 }}")
    assert list(found) == ["p0"] and "p1 (t.cedar:2) forbids" in found["p0"]
    assert told(f"{PERMIT} when {{ context.amount > 50 }}", f"{FORBID} when {{ context.amount > 100 }}") == {}
    lifted = f"{FORBID} when {{ context.amount > 50 }} unless {{ context.approvals.purchasing >= 1 }}"
    assert told(f"{PERMIT} when {{ context.amount > 100 }}", lifted) == {}


def test_a_permit_that_another_one_implies() -> None:
    found = told(f"{PERMIT} when {{ context.amount <= 50 }}", f"{PERMIT} when {{ context.amount <= 100 }}")
    assert list(found) == ["p0"] and "p1 (t.cedar:2) holds as well" in found["p0"]
    narrow = PERMIT.replace("principal", 'principal in Interlock::Role::"buyer"', 1)
    assert list(told(f"{PERMIT} when {{ context.amount <= 50 }}", narrow)) == []
    assert list(told(PERMIT, f"{narrow} when {{ context.amount <= 50 }}")) == ["p1"]


def test_of_two_that_say_the_same_the_later_one_is_reported() -> None:
    same = f"{PERMIT} when {{ context.amount <= 50 }}"
    assert list(told(same, f"{PERMIT} when {{ 50 >= context.amount }}")) == ["p1"]


def test_a_rule_for_many_actions_has_to_be_dead_for_all() -> None:
    group = 'permit (principal, action in Interlock::Action::"effect:write", resource)'
    text = f'@id("one") {PERMIT};\n@id("many") {group};'
    policies = bound(text, [PO, ActionSpec("erp.pay", "write", "erp")])
    assert [hint.message.split(" ")[0] for hint in policies.hints()] == ["one"]
    assert [hint.message.split(" ")[0] for hint in bound(text, [PO]).hints()] == ["many"]


def test_conditions_with_too_many_alternatives_are_let_be() -> None:
    wide = " && ".join(f"(context.amount < {n} || context.totals.day < {n})" for n in range(12))
    assert told(f"{PERMIT} when {{ {wide} && context.amount > 5 && context.amount < 3 }}") == {}


def test_the_shipped_policies_hold_no_dead_rule() -> None:
    policies = Policies()
    order = {"properties": {"priority": {"type": "integer"}}, "required": ["priority"]}
    names = ("report", "schedule", "assign", "close")
    policies.bind(
        [ActionSpec("cmms.create_work_order", system="cmms", args=order),
         *(ActionSpec(f"cmms.{name}", system="cmms") for name in names),
         ActionSpec("cmms.assets", "read", "cmms", "cmms:read")],
        ("maintenance-agent",), ("maintenance", "plant"),
    )  # fmt: skip
    assert policies.check() == policies.hints() == []


# Brute force: every request of a small world, asked of Cedar itself.

SCHEMA = cedarpy.Schema.from_str(
    "entity U; action a appliesTo { principal: [U], resource: [U], context: {x: Long, y: Long, s: String, b: Bool} };"
)
WORLD = [
    {"x": x, "y": y, "s": s, "b": b}
    for x, y, s, b in product((-2, -1, 0, 1, 2), (-1, 0, 1), ("p", "q", "r"), (True, False))
]
numbers = st.integers(-2, 2).map(str)
longs = st.one_of(
    numbers,
    st.sampled_from(
        ["context.x", "context.y", "(context.x + context.y)", "(context.x - context.y)", "(context.x * 2)"]
    ),
)
atoms = st.one_of(
    st.builds("{} {} {}".format, longs, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), longs),
    st.builds('context.s {} "{}"'.format, st.sampled_from(["==", "!="]), st.sampled_from("pqr")),
    st.builds('["{}", "{}"].contains(context.s)'.format, st.sampled_from("pqr"), st.sampled_from("pqr")),
    st.sampled_from(["context.b", "!context.b", "context.b == true", 'context.s like "p*"', "true", "false"]),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("(if {} then {} else {})".format, inner, inner, inner),
    ),
    max_leaves=5,
)


def truths(condition: str) -> list[bool]:
    """Whether the condition holds, for each request of the world."""
    policies = cedarpy.PolicySet.from_str(f"permit (principal, action, resource) when {{ {condition} }};")
    asked = [{"principal": 'U::"u"', "action": 'Action::"a"', "resource": 'U::"u"', "context": c} for c in WORLD]
    return [r.allowed for r in cedarpy.is_authorized_batch(asked, policies, cedarpy.Entities.from_json_str("[]"))]


def regions(condition: str) -> Any:
    node = next(iter(read_statements("t", f"permit (principal, action, resource) when {{ {condition} }};")[0])).node
    return alternatives(node.clauses[0].expr)


@settings(max_examples=150, deadline=None)
@given(conditions)
def test_what_has_no_alternative_never_holds(condition: str) -> None:
    if not regions(condition):
        assert not any(truths(condition))


@settings(max_examples=300, deadline=None)
@given(conditions, conditions)
def test_what_is_within_another_holds_nowhere_else(one: str, other: str) -> None:
    if all(any(region.within(outer) for outer in regions(other)) for region in regions(one)):
        assert not [1 for inner, outer in zip(truths(one), truths(other), strict=True) if inner and not outer]
