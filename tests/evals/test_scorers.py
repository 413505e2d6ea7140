"""Each scorer finds what it is there for, and nothing in a way that is sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from interlock.evals import scorers
from interlock.evals.suite import Bounds, EvalCase, Expected
from interlock.evals.trajectory import Trajectory, read
from interlock.graphs.cases import Case, Waiting

Step = tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], str]


def way(*steps: Step) -> Trajectory:
    """A trajectory of (type, data, actor) steps."""
    return read({"type": s[0], "data": s[1], "actor": s[2] if len(s) > 2 else ""} for s in steps)


def case(status: str = "completed", values: Any = None, error: Any = None, waiting: Sequence[str] = ()) -> Case:
    items = [Waiting(kind, "item", "tool", "", "") for kind in waiting]
    return Case(
        "c1", "default", "w", "1", None, status, "person:ana", {}, values, error, "", None, None, waiting_for=items
    )


def decided(effect: str = "e1", decision: str = "allowed") -> Step:
    return "policy.decided", {"tool": "t", "effect_key": effect, "decision": decision}


def intent(effect: str = "e1") -> Step:
    return "tool.intent", {"tool": "t", "effect_key": effect}


def ran(tool: str = "t", effect: str = "e1", kind: str = "write", **more: Any) -> Step:
    return "tool.outcome", {"tool": tool, "effect": kind, "effect_key": effect, **more}


def test_a_sound_case_has_no_problems() -> None:
    asked = EvalCase(name="one", input={}, expect=Expected(values={"a": 1}, called=["t"]))
    taken = way(decided(), intent(), ran())
    assert scorers.score(asked, Bounds.model_validate({"calls": 1, "approvals": 0}), case(values={"a": 1}), taken) == []


def test_every_kind_of_problem_is_found_and_says_who_found_it() -> None:
    asked = EvalCase(name="one", input={}, expect=Expected(values={"a": 1}, called=["other"]))
    taken = way(decided(decision="denied"), intent(), ran())
    found = scorers.score(asked, Bounds.model_validate({"calls": 0}), case(values={"a": 2}), taken)
    assert [problem.scorer for problem in found] == ["outcome", "calls", "bounds", "policy"]


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        ({}, case("failed", error={"code": "output", "message": "bad total"}), "status is failed: bad total"),
        ({}, case("waiting", waiting=["exception"]), "status is waiting: exception tool"),
        ({"status": "waiting", "waiting_for": "approval"}, case("waiting", waiting=["task"]), "waits for task"),
        ({"status": "waiting", "waiting_for": "approval"}, case("waiting"), "waits for nothing"),
        ({"status": "failed", "error": "x"}, case("failed", error={"code": "y", "message": ""}), "error is y"),
        ({"values": {"a": 1}}, case(values=None), "a is missing"),
        ({"values": {"a": {"b": [1]}}}, case(values={"a": {"b": [2], "c": 3}}), "a.b is [2], expected [1]"),
        ({"values": {"a": {"b": 1}}}, case(values={"a": "text"}), "a.b is missing"),
        ({"values": {"a": None}}, case(values={}), "a is missing, expected None"),
    ],
)
def test_another_outcome_is_found(expected: dict[str, Any], found: Case, said: str) -> None:
    (problem,) = scorers.outcome(Expected.model_validate(expected), found)
    assert said in problem


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"values": {"a": {"b": 1}}}, case(values={"a": {"b": 1, "c": 2}, "d": 3})),
        ({"status": "waiting", "waiting_for": "approval"}, case("waiting", waiting=["approval", "approval"])),
        ({"status": "failed", "error": "output"}, case("failed", error={"code": "output", "message": "m"})),
    ],
)
def test_what_was_not_named_may_be_anything(expected: dict[str, Any], found: Case) -> None:
    assert list(scorers.outcome(Expected.model_validate(expected), found)) == []


@pytest.mark.parametrize(
    ("called", "never", "problems"),
    [
        (["a", "b"], [], 0),
        (["a", "a"], [], 0),
        (["b", "a"], [], 1),
        (["a", "c"], [], 1),
        (["a", "a", "a"], [], 1),
        ([], ["a", "b", "c"], 2),
        ([], [], 0),
    ],
)
def test_calls_are_looked_for_in_order(called: list[str], never: list[str], problems: int) -> None:
    taken = way(ran("a", "1"), ran("x", "2"), ran("a", "3"), ran("b", "4"))
    expected = Expected(called=called, never_called=never)
    assert len(list(scorers.calls(expected, taken))) == problems


def test_counts_and_cost_are_held_to_their_bounds() -> None:
    taken = way(
        ran(charge={"amount": 3, "micros": 2_500_000, "currency": "EUR"}),
        ("model.called", {"cost": {"amount": 1, "currency": "USD"}}),
        ("model.called", {"cost": None}),
        ("inbox.opened", {"kind": "approval"}),
        ("inbox.opened", {"kind": "exception"}),
    )
    assert (taken.cost, taken.calls) == ({"EUR": 2.5, "USD": 1.0}, ["t"])
    bounds = {"calls": 0, "approvals": 2, "exceptions": {"max": 0}, "cost": {"max": 2, "currency": "EUR"}}
    assert list(scorers.counts(Bounds.model_validate(bounds), taken)) == [
        "1 calls, expected exactly 0",
        "1 approvals, expected exactly 2",
        "1 exceptions, expected exactly 0",
        "cost is 2.5 EUR, expected at most 2",
        "cost is 1 USD, expected at most 0",
    ]
    assert list(scorers.counts(Bounds(), taken)) == []


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([intent(), ran()], "policy had said nothing"),
        ([decided(decision="denied"), intent(), ran()], "policy had said denied"),
        ([decided(), decided(decision="asked"), intent(), ran()], "policy had said asked"),
        ([decided("other"), intent(), ran()], "policy had said nothing"),
        ([intent(), ran(), decided()], "policy had said nothing"),
        ([decided(), ran()], "without an intent"),
        ([decided(), ran(), intent()], "without an intent"),
        ([decided(), intent(), ran(), ran()], "two outcomes"),
    ],
)
def test_a_broken_rule_is_found_in_the_ledger(steps: list[Step], said: str) -> None:
    (problem,) = scorers.violations(way(*steps))
    assert said in problem


STARTED: Step = ("case.started", {"requester": "person:ana"})
TASK: Step = ("task.finished", {"task": "plan", "actor": "person:bo"})


@pytest.mark.parametrize("by", ["person:ana", "person:bo"])
def test_who_takes_part_does_not_approve(by: str) -> None:
    decision: Step = ("inbox.decided", {"kind": "approval", "task": "order"}, by)
    (problem,) = scorers.violations(way(STARTED, TASK, decision))
    assert problem.startswith(by)


def test_others_may_approve_and_who_takes_part_may_clear_an_exception() -> None:
    approval: Step = ("inbox.decided", {"kind": "approval", "task": "order"}, "person:cy")
    exception: Step = ("inbox.decided", {"kind": "exception", "task": "order"}, "person:ana")
    assert list(scorers.violations(way(STARTED, TASK, approval, exception))) == []


def test_a_read_needs_a_decision_and_no_intent() -> None:
    assert list(scorers.violations(way(decided(), ran(kind="read")))) == []
    assert len(list(scorers.violations(way(ran(kind="read"))))) == 1
