"""What-if: recorded calls decided once more by a candidate set. Rows of the ledger in, a report out.

Facts, earlier calls, sums and approvals are those that were recorded: what would have followed from another decision is
not played on. A call counts once: as its first decision that differs, else as its first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interlock.oversight.changes import EXAMPLES, Call, Change, Example, Shift, shifts
from interlock.oversight.edition import Edition
from interlock.oversight.replay import Answer, Row, Unreplayable, action_of, answer_of, asked_again

__all__ = ["REPLAYED", "Replay", "Simulation"]

# The events that a simulation reads; others may be among the rows.
REPLAYED = ("policy.decided", "tool.intent", "tool.outcome")
_UNFIT = "interlock.request"
_OLD = "recorded by a version that did not keep what was asked"
_ERASED = "its payload was erased"
_GATE = "a gate, recorded by a version that did not keep what was asked"
_ALONE = "its arguments are not among the events"


@dataclass(frozen=True)
class Simulation:
    """`outcomes` counts all replayed calls, `shifts` those that change, by workflow, tool and rule.

    A call counts for every rule that one of its two decisions names. `skipped` are the decisions that cannot be
    replayed, by reason; `outside` are those that no policy made, by what made them.
    """

    version: str
    cases: int
    calls: int
    changed: int
    outcomes: list[Shift]
    shifts: list[Shift]
    examples: list[Example]
    skipped: dict[str, int]
    outside: dict[str, int]


@dataclass
class Replay:
    """Takes rows in the order of the ledger, as many at a time as one likes; `report` may be read at any time."""

    candidate: Edition
    workflow: str | None = None
    _calls: dict[tuple[str, str], Call] = field(default_factory=dict)
    _cases: set[tuple[str, str]] = field(default_factory=set)
    _waiting: dict[tuple[str, str], Row] = field(default_factory=dict)
    _examples: dict[Change, list[Example]] = field(default_factory=lambda: defaultdict(list))
    _skipped: Counter[str] = field(default_factory=Counter)
    _outside: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row["type"] == "policy.decided":
                self._decided(row)
            elif row["type"] in REPLAYED and row["data"] is not None:
                self._arguments(row)

    def report(self) -> Simulation:
        changed = [call for call in self._calls.values() if call.differs]
        alone = {_ALONE: len(self._waiting)} if self._waiting else {}
        return Simulation(
            version=self.candidate.version,
            cases=len(self._cases),
            calls=len(self._calls),
            changed=len(changed),
            outcomes=shifts((call, [("", "")]) for call in self._calls.values()),
            shifts=shifts((call, call.names()) for call in changed),
            examples=[one for _, found in sorted(self._examples.items()) for one in found],
            skipped=dict(sorted(self._skipped.items())) | alone,
            outside=dict(sorted(self._outside.items())),
        )

    def _decided(self, row: Row) -> None:
        data = row["data"]
        if data is None or "request" not in data:
            self._skipped[_ERASED if data is None else _OLD] += 1
        elif data["request"] is None:
            self._outside[_kind(data)] += 1
        elif self.workflow in (None, _workflow(row)):
            args = data["request"].get("args")
            if args is not None:
                self._again(row, args)
            else:
                self._waiting[_key(row)] = row

    def _arguments(self, row: Row) -> None:
        """The intent or outcome of a call that was let through: it brings the arguments."""
        waiting = self._waiting.pop(_key(row), None)
        if waiting is not None:
            self._again(waiting, row["data"]["args"])

    def _again(self, row: Row, args: Mapping[str, Any]) -> None:
        try:
            answer = self._decide(row, args)
        except Unreplayable as why:
            self._skipped[str(why)] += 1
            return
        self._cases.add((row["tenant"], str(row["case_id"])))
        call, key = _call(row, answer), _key(row)
        if key in self._calls and (self._calls[key].differs or not call.differs):
            return
        self._calls[key] = call
        if call.differs and len(self._examples[call.change]) < EXAMPLES:
            self._examples[call.change].append(_example(row, args, answer))

    def _decide(self, row: Row, args: Mapping[str, Any]) -> Answer:
        request, told = asked_again(self.candidate, row, args), row["data"]["request"]
        answer = answer_of(self.candidate, request, told.get("need"), told.get("gate"))
        if _UNFIT in [reason.policy for reason in answer.reasons]:
            raise Unreplayable(f"it does not fit {request.action} as that is registered now")
        return answer


def _key(row: Row) -> tuple[str, str]:
    return row["tenant"], str(row["data"]["effect_key"])


def _kind(data: Mapping[str, Any]) -> str:
    """What decided without policies: a check of the gateway, by its id. Once, gates did not say what they asked."""
    made = [policy for policy, _ in data["reasons"] if policy.startswith("gateway.")]
    return made[0] if made else _GATE


def _workflow(row: Row) -> str:
    return str(row["data"]["request"].get("context", {}).get("workflow", ""))


def _call(row: Row, answer: Answer) -> Call:
    data = row["data"]
    rules = frozenset([*(policy for policy, _ in data["reasons"]), *(reason.policy for reason in answer.reasons)])
    money = (data["money"]["currency"], data["money"]["amount"]) if data["money"] else None
    return Call((data["decision"], answer.decision), _workflow(row), action_of(row), money, rules)


def _example(row: Row, args: Mapping[str, Any], answer: Answer) -> Example:
    data = row["data"]
    return Example(
        case_id=str(row["case_id"]), effect_key=data["effect_key"], at=row["at"], workflow=_workflow(row),
        tool=action_of(row), actor=data["actor"], args=args, money=data["money"], before=data["decision"],
        after=answer.decision, reasons=answer.reasons, need=answer.need,
    )  # fmt: skip
