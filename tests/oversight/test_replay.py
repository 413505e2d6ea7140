"""What is recorded of a request gives the same request back: for any context, under any set."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.oversight.actions import Request
from interlock.oversight.contexts import merged
from interlock.oversight.policy import ActionSpec
from interlock.oversight.replay import Unreplayable, asked_again, recorded
from interlock.oversight.simulate import Replay
from tests.oversight.department import PO, bound

AT = "2026-03-04T12:00:00.000000Z"
SPEC = ActionSpec(PO.name, PO.effect, PO.system, PO.scope, PO.args, {"blocked": "bool", "late": "long", "tags": "set"})
READS = '@id("r") permit (principal, action == Interlock::Action::"erp.create_po", resource)\nwhen { %s };'
EVERYTHING = (
    "context.blocked || context.late > 1 || context.tags.isEmpty() || context.counts.day > 1 || context.amount > 1"
    " || context.ages.total > 1"
)
NAMES = st.text(max_size=5)
SUMS = st.fixed_dictionaries(dict.fromkeys(("day", "week", "month"), st.integers(-3, 3)))
CONTEXTS = st.fixed_dictionaries(
    {"workflow": NAMES, "requester": NAMES, "autonomy": NAMES, "preparers": st.lists(NAMES, max_size=2)},
    optional={
        "origins": st.fixed_dictionaries({"vendor": st.lists(st.sampled_from(["input", "unknown"]), max_size=2)})
    },
)


def row(request: dict[str, Any] | None, decision: str = "allowed", **data: Any) -> dict[str, Any]:
    told = {
        "tool": PO.name, "task": "order", "actor": "agent:buyer", "effect_key": "e1", "decision": decision,
        "reasons": [["r", ""]], "approvals": {}, "item": None, "money": None, "request": request, **data,
    }  # fmt: skip
    return {"type": "policy.decided", "tenant": "default", "case_id": "c1", "at": AT, "data": told}


@settings(max_examples=150, deadline=None)
@given(
    CONTEXTS, SUMS, SUMS, st.booleans(), st.integers(-2, 2), st.lists(NAMES, max_size=2), st.sets(NAMES, max_size=2),
    st.dictionaries(st.sampled_from(["purchasing", "cfo"]), st.integers(0, 2)),
)  # fmt: skip
def test_what_is_recorded_asks_the_same(
    context: dict[str, Any], totals: dict[str, Any], own: dict[str, Any], blocked: bool, late: int, tags: list[str],
    roles: set[str], approvals: dict[str, int],
) -> None:  # fmt: skip
    edition = bound(READS % EVERYTHING, [SPEC]).edition
    facts, earlier = {"blocked": blocked, "late": late, "tags": tags}, {"counts": {"day": 0}}
    args = {"total": 0, "vendor": "", "tags": []}
    sums = {**totals, "by_actor": own}
    partial = {
        **context, "task": "order", "tenant": "default", "now": AT, "args": args, "approvals": approvals, "amount": -7,
        "currency": "EUR", "totals": sums, "ages": {"total": 0}, **facts,
    }  # fmt: skip
    then = edition.complete_context(PO.name, merged(partial, earlier))
    told = recorded(context, roles=roles, totals=sums, facts=facts, earlier=earlier, ages={"total": 0}, args=args)
    kept = orjson.loads(orjson.dumps(told))
    again = asked_again(edition, row(kept, approvals=approvals, money={"amount": -7, "currency": "EUR"}), kept["args"])
    assert again == Request(PO.name, "agent:buyer", frozenset(roles), "erp", then)


def test_neutral_values_are_not_written_down_and_found_zeros_are() -> None:
    context = {"workflow": "w", "requester": "", "preparers": [], "origins": {"vendor": []}}
    told = recorded(
        context, roles=(), totals={"day": 0, "by_actor": {"day": 0}}, facts={"late": 0}, earlier={"counts": {"day": 0}},
        ages={"total": 0}, args=None,
    )  # fmt: skip
    assert told == {
        "context": {"workflow": "w"},
        "facts": {"late": 0},
        "earlier": {"counts": {"day": 0}},
        "ages": {"total": 0},
    }
    empty = recorded({}, roles=(), totals={}, facts={}, earlier={}, ages={}, args={})
    assert empty == {"args": {}}


@pytest.mark.parametrize(
    ("reads", "why"),
    [
        ("context.late > 0", "the fact 'late' of erp.create_po was not recorded"),
        ("context.counts.week > 0", "context.counts.week of erp.create_po was not looked up then"),
        ("context.totals.by_system.day > 0", "context.totals.by_system.day of erp.create_po was not looked up then"),
        ("context.ages.vendor > 0", "context.ages.vendor of erp.create_po was not looked up then"),
    ],
)
def test_what_was_not_recorded_is_not_guessed(reads: str, why: str) -> None:
    edition = bound(READS % reads, [SPEC]).edition
    told = {"facts": {"blocked": False}, "earlier": {"counts": {"day": 3}, "totals": 7}}
    with pytest.raises(Unreplayable, match=why):
        asked_again(edition, row(told), {"total": 1, "vendor": "v"})


def test_a_call_whose_arguments_never_came_is_counted() -> None:
    """As an export that was cut between decision and intent, or whose intent was erased."""
    replay = Replay(bound(READS % "true").edition)
    replay.take([row({}), {**row({}), "type": "tool.intent", "data": None}, {**row({}), "type": "case.started"}])
    found = replay.report()
    assert found.calls == 0 and list(found.skipped.values()) == [1]


def test_rows_may_come_in_any_portions() -> None:
    intent = {**row({}), "type": "tool.intent", "data": {"effect_key": "e1", "args": {"total": 1, "vendor": "v"}}}
    rows = [
        row({"args": {"total": 9, "vendor": "v"}}, "asked", money={"amount": 9, "currency": "EUR"}),
        row({}),
        intent,
    ]
    edition = bound(READS % "context.args.total < 5").edition
    whole, parts = Replay(edition), Replay(edition)
    whole.take(rows)
    for one in rows:
        parts.take([one])
    assert whole.report() == parts.report()
    assert [(s.before, s.after, s.calls) for s in whole.report().outcomes] == [("asked", "denied", 1)]
