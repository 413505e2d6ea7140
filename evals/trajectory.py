"""The way a case took, read from its ledger: what was called, decided, asked and spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Trajectory", "read"]

_MICROS = 1_000_000
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Trajectory:
    """`events` in ledger order, and what suites count of them. `cost` is in minor units by currency."""

    events: list[Event]
    calls: list[str] = field(default_factory=list)
    opened: Counter[str] = field(default_factory=Counter)
    cost: Counter[str] = field(default_factory=Counter)

    def of(self, *types: str) -> list[Event]:
        """The events of some types, in order."""
        return [event for event in self.events if event["type"] in types]


def read(events: Iterable[Event]) -> Trajectory:
    """`calls` are the tools let through, in the order in which they ended; `opened` counts inbox items by kind."""
    found = Trajectory(list(events))
    for event in found.events:
        data = event["data"]
        if event["type"] == "tool.outcome":
            found.calls.append(data["tool"])
            _charge(found.cost, data.get("charge"))
        elif event["type"] == "model.called":
            _charge(found.cost, data["cost"])
        elif event["type"] == "inbox.opened":
            found.opened[data["kind"]] += 1
    return found


def _charge(cost: Counter[str], charge: Mapping[str, Any] | None) -> None:
    if charge:
        micros = charge.get("micros", charge["amount"] * _MICROS)
        cost[charge["currency"]] += micros / _MICROS
