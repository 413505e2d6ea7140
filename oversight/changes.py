"""Calls that two policy sets decide differently: what is kept of each, and how they are added up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from interlock.ids import Reason
from interlock.money import LARGEST

__all__ = ["EXAMPLES", "Call", "Change", "Example", "Shift", "shifts"]

# How many examples of each change a report shows.
EXAMPLES = 3
Change = tuple[str, str]


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
    """One call that would be decided otherwise. `reasons` are the candidate's; `need` is whom it would ask.

    `args` is None where they are not at hand.
    """

    case_id: str
    effect_key: str
    at: str
    workflow: str
    tool: str
    actor: str
    args: Mapping[str, Any] | None
    money: Mapping[str, Any] | None
    before: str
    after: str
    reasons: list[Reason]
    need: dict[str, int]


@dataclass
class Call:
    """What is kept of a call: so little that the calls of a whole ledger fit."""

    change: Change
    workflow: str
    tool: str
    money: tuple[str, int] | None
    rules: frozenset[str]

    @property
    def differs(self) -> bool:
        before, after = self.change
        return before != after

    def names(self) -> Iterator[tuple[str, str]]:
        yield "workflow", self.workflow
        yield "tool", self.tool
        yield from (("rule", rule) for rule in self.rules)


def shifts(counted: Iterable[tuple[Call, Iterable[tuple[str, str]]]]) -> list[Shift]:
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
