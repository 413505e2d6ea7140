"""What-if: recorded calls decided once more by a candidate set. Rows of the ledger in, a report out.

Facts, earlier calls, sums and approvals are those that were recorded: what would have followed from another decision is
not played on. A call counts once: as its first decision that differs, else as its first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from interlock.ids import Reason
from interlock.money import LARGEST
from interlock.oversight.edition import Edition
from interlock.oversight.replay import Answer, Row, Unreplayable, answer_of, asked_again

__all__ = ["REPLAYED", "Example", "Replay", "Shift", "Simulation"]

# The events that a simulation reads; others may be among the rows.
REPLAYED = ("policy.decided", "tool.intent", "tool.outcome")
_EXAMPLES = 3
_UNFIT = "interlock.request"
_OLD = "recorded by a version that did not keep what was asked"
_ERASED = "its payload was erased"
_ALONE = "its arguments are not among the events"
_Change = tuple[str, str]


@dataclass(frozen=True)
class Shift:
    """Calls that were decided `before` and would be decided `after`: allowed, asked or denied.

    "asked otherwise" is a call that was asked, and for which other approvals would be asked.
    A sum stops at the largest amount that `Money` can hold.

    `by` says what `name` is: "" for all calls, else workflow, tool or rule. `money` is minor units by currency.
    """

    by: str
    name: str
    before: str
    after: str
    calls: int
    money: dict[str, int]


@dataclass(frozen=True)
class Example:
    """One call that would be decided otherwise. `reasons` are the candidate's; `need` is whom it would ask."""

    case_id: str
    effect_key: str
    at: str
    workflow: str
    tool: str
    actor: str
    args: Mapping[str, Any]
    money: Mapping[str, Any] | None
    before: str
    after: str
    reasons: list[Reason]
    need: dict[str, int]


@dataclass(frozen=True)
class Simulation:
    """`outcomes` counts all replayed calls, `shifts` those that change, by workflow, tool and rule.

    A call counts for every rule that one of its two decisions names. `skipped` are the decisions that cannot be
    replayed, by reason; `outside` is how many are none of policies on calls: of the gateway itself, and of gates.
    """

    version: str
    cases: int
    calls: int
    changed: int
    outcomes: list[Shift]
    shifts: list[Shift]
    examples: list[Example]
    skipped: dict[str, int]
    outside: int


@dataclass
class _Call:
    """What is kept of a call: so little that the calls of a whole ledger fit."""

    change: _Change
    workflow: str
    tool: str
    money: tuple[str, int] | None
    rules: frozenset[str]

    def names(self) -> Iterator[tuple[str, str]]:
        yield "workflow", self.workflow
        yield "tool", self.tool
        yield from (("rule", rule) for rule in self.rules)


@dataclass
class Replay:
    """Takes rows in the order of the ledger, as many at a time as one likes; `report` may be read at any time."""

    candidate: Edition
    workflow: str | None = None
    _calls: dict[tuple[str, str], _Call] = field(default_factory=dict)
    _cases: set[tuple[str, str]] = field(default_factory=set)
    _waiting: dict[tuple[str, str], Row] = field(default_factory=dict)
    _examples: dict[_Change, list[Example]] = field(default_factory=lambda: defaultdict(list))
    _skipped: Counter[str] = field(default_factory=Counter)
    _outside: int = 0

    def take(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row["type"] == "policy.decided":
                self._decided(row)
            elif row["type"] in REPLAYED and row["data"] is not None:
                self._arguments(row)

    def report(self) -> Simulation:
        changed = [call for call in self._calls.values() if _differs(call)]
        alone = {_ALONE: len(self._waiting)} if self._waiting else {}
        return Simulation(
            version=self.candidate.version,
            cases=len(self._cases),
            calls=len(self._calls),
            changed=len(changed),
            outcomes=_shifts((call, [("", "")]) for call in self._calls.values()),
            shifts=_shifts((call, call.names()) for call in changed),
            examples=[one for _, found in sorted(self._examples.items()) for one in found],
            skipped=dict(sorted(self._skipped.items())) | alone,
            outside=self._outside,
        )

    def _decided(self, row: Row) -> None:
        data = row["data"]
        if data is None or "request" not in data:
            self._skipped[_ERASED if data is None else _OLD] += 1
        elif data["request"] is None:
            self._outside += 1
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
        if key in self._calls and (_differs(self._calls[key]) or not _differs(call)):
            return
        self._calls[key] = call
        if _differs(call) and len(self._examples[call.change]) < _EXAMPLES:
            self._examples[call.change].append(_example(row, args, answer))

    def _decide(self, row: Row, args: Mapping[str, Any]) -> Answer:
        request = asked_again(self.candidate, row, args)
        answer = answer_of(self.candidate, request, row["data"]["request"].get("need"))
        if _UNFIT in [reason.policy for reason in answer.reasons]:
            raise Unreplayable(f"it does not fit {request.action} as that is registered now")
        return answer


def _key(row: Row) -> tuple[str, str]:
    return row["tenant"], str(row["data"]["effect_key"])


def _workflow(row: Row) -> str:
    return str(row["data"]["request"].get("context", {}).get("workflow", ""))


def _differs(call: _Call) -> bool:
    before, after = call.change
    return before != after


def _call(row: Row, answer: Answer) -> _Call:
    data = row["data"]
    rules = frozenset([*(policy for policy, _ in data["reasons"]), *(reason.policy for reason in answer.reasons)])
    money = (data["money"]["currency"], data["money"]["amount"]) if data["money"] else None
    return _Call((data["decision"], answer.decision), _workflow(row), data["tool"], money, rules)


def _example(row: Row, args: Mapping[str, Any], answer: Answer) -> Example:
    data = row["data"]
    return Example(
        case_id=str(row["case_id"]), effect_key=data["effect_key"], at=row["at"], workflow=_workflow(row),
        tool=data["tool"], actor=data["actor"], args=args, money=data["money"], before=data["decision"],
        after=answer.decision, reasons=answer.reasons, need=answer.need,
    )  # fmt: skip


def _shifts(counted: Iterable[tuple[_Call, Iterable[tuple[str, str]]]]) -> list[Shift]:
    """Calls and money by name and change; the most frequent first within each kind of name."""
    calls: Counter[tuple[str, str, str, str]] = Counter()
    money: dict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    for call, names in counted:
        for by, name in names:
            key = (by, name, *call.change)
            calls[key] += 1
            if call.money is not None:
                money[key][call.money[0]] += call.money[1]
    ranked = sorted(calls.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    return [Shift(*key, count, _bounded(money[key])) for key, count in ranked]


def _bounded(sums: Mapping[str, int]) -> dict[str, int]:
    return {currency: max(-LARGEST, min(amount, LARGEST)) for currency, amount in sorted(sums.items())}
