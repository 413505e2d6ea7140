"""What is checked of a case that was run: its outcome, its calls, its counts, and the rules of the plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from interlock.evals.suite import Bounds, EvalCase, Expected
from interlock.evals.trajectory import Trajectory
from interlock.graphs.cases import Case

__all__ = ["Problem", "score"]


@dataclass(frozen=True)
class Problem:
    """Why a case did not pass: which scorer found it, and what it found."""

    scorer: str
    text: str


def score(asked: EvalCase, bounds: Bounds, case: Case, way: Trajectory) -> list[Problem]:
    """Everything that is wrong; empty when the case passed."""
    scorers: dict[str, Iterator[str]] = {
        "outcome": outcome(asked.expect, case),
        "calls": calls(asked.expect, way),
        "bounds": counts(bounds, way),
        "policy": violations(way),
    }
    return [Problem(name, text) for name, found in scorers.items() for text in found]


def outcome(expected: Expected, case: Case) -> Iterator[str]:
    """Status, what it waits for, error code and values."""
    if case.status != expected.status:
        why = (
            f": {case.error['message']}" if case.error else "".join(f": {w.kind} {w.action}" for w in case.waiting_for)
        )
        yield f"status is {case.status}{why}, expected {expected.status}"
        return
    kinds = sorted({waiting.kind for waiting in case.waiting_for})
    if expected.waiting_for and kinds != [expected.waiting_for]:
        yield f"waits for {', '.join(kinds) or 'nothing'}, expected {expected.waiting_for}"
    if expected.error and (case.error or {}).get("code") != expected.error:
        yield f"error is {(case.error or {}).get('code')}, expected {expected.error}"
    yield from differences(expected.values, case.values or {}, "")


def differences(expected: Mapping[str, Any], found: Any, place: str) -> Iterator[str]:
    """Where a value does not hold what is expected of it; keys that are not named may be anything."""
    for name, value in expected.items():
        here = f"{place}.{name}" if place else name
        if not isinstance(found, Mapping) or name not in found:
            yield f"{here} is missing, expected {value!r}"
        elif isinstance(value, Mapping):
            yield from differences(value, found[name], here)
        elif found[name] != value:
            yield f"{here} is {found[name]!r}, expected {value!r}"


def calls(expected: Expected, way: Trajectory) -> Iterator[str]:
    """The tools that had to be called, in order, and those that must not have been."""
    left = iter(way.calls)
    for tool in expected.called:
        if tool not in left:  # goes on where the one before was found
            yield f"{tool} was not called where expected; called were {', '.join(way.calls) or 'none'}"
            break
    yield from (f"{tool} was called" for tool in expected.never_called if tool in way.calls)


def counts(bounds: Bounds, way: Trajectory) -> Iterator[str]:
    """Calls, approvals and exceptions within their bounds, and the cost."""
    found = {"calls": len(way.calls), "approvals": way.opened["approval"], "exceptions": way.opened["exception"]}
    for name, count in found.items():
        bound = getattr(bounds, name)
        if bound is not None and not bound.holds(count):
            yield f"{count} {name}, expected {bound}"
    if bounds.cost is not None:
        for currency, amount in way.cost.items():
            most = bounds.cost.max if currency == bounds.cost.currency else 0
            if amount > most:
                yield f"cost is {amount:g} {currency}, expected at most {most:g}"


def violations(way: Trajectory) -> Iterator[str]:
    """Rules that no case may break, read from the ledger alone and not from what the gateway says of itself."""
    rules: list[Callable[[Trajectory], Iterator[str]]] = [_unpermitted, _unannounced, _repeated, _own_approval]
    for rule in rules:
        yield from rule(way)


def _unpermitted(way: Trajectory) -> Iterator[str]:
    """A call whose last decision before it was no permission, or that had none at all."""
    last: dict[str, str] = {}
    for event in way.of("policy.decided", "tool.outcome"):
        data = event["data"]
        if event["type"] == "policy.decided":
            last[data["effect_key"]] = data["decision"]
        elif last.get(data["effect_key"]) != "allowed":
            yield f"{data['tool']} ran, and policy had said {last.get(data['effect_key'], 'nothing')}"


def _unannounced(way: Trajectory) -> Iterator[str]:
    """An effect without an intent before it."""
    intended: set[str] = set()
    for event in way.of("tool.intent", "tool.outcome"):
        data = event["data"]
        if event["type"] == "tool.intent":
            intended.add(data["effect_key"])
        elif data["effect"] == "write" and data["effect_key"] not in intended:
            yield f"{data['tool']} wrote without an intent"


def _repeated(way: Trajectory) -> Iterator[str]:
    """Two outcomes of one effect."""
    seen: set[str] = set()
    for event in way.of("tool.outcome"):
        effect = event["data"]["effect_key"]
        if effect in seen:
            yield f"{event['data']['tool']} has two outcomes for one effect"
        seen.add(effect)


def _own_approval(way: Trajectory) -> Iterator[str]:
    """An approval by the requester, or by someone who performed a task before."""
    involved: dict[str, str] = {}
    for event in way.of("case.started", "task.finished", "inbox.decided"):
        data = event["data"]
        if event["type"] == "case.started":
            involved[data["requester"]] = "requester"
        elif event["type"] == "task.finished":
            involved.setdefault(data["actor"], f"performer of {data['task']}")
        elif data["kind"] == "approval" and event["actor"] in involved:
            yield f"{event['actor']}, {involved[event['actor']]}, decided the approval of {data['task']}"
