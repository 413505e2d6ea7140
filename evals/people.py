"""Scripted people: who answers which inbox item, and how often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from interlock import errors
from interlock.evals.scorers import Problem
from interlock.evals.suite import Answer
from interlock.oversight.items import Item
from interlock.plane import ControlPlane

__all__ = ["People"]


@dataclass
class People:
    """The answers of one case: the first one that fits an item is given, and used up after its `times`."""

    answers: list[Answer]
    problems: list[Problem] = field(default_factory=list)
    _given: dict[int, int] = field(default_factory=dict)

    async def answer(self, plane: ControlPlane, items: Iterable[Item]) -> bool:
        """Answer what can be answered; whether anything was. An answer that is refused is a problem of the case."""
        given = False
        for item in items:
            number = self._fitting(item)
            if number is not None:
                self._given[number] = self._given.get(number, 0) + 1
                given |= await self._give(plane, item, self.answers[number])
        return given

    def _fitting(self, item: Item) -> int | None:
        for number, answer in enumerate(self.answers):
            left = answer.times - self._given.get(number, 0)
            if left > 0 and answer.kind == item.kind and answer.task in (None, item.task):
                return number
        return None

    async def _give(self, plane: ControlPlane, item: Item, answer: Answer) -> bool:
        try:
            if answer.decide == "complete":
                await plane.inbox.complete(item.id, answer.value, by=answer.by, comment=answer.why)
            else:
                await plane.inbox.decide(item.id, answer.about(item), by=answer.by, comment=answer.why)
        except (errors.InputError, errors.GovernanceError) as exc:
            self.problems.append(
                Problem("people", f"{answer.by} may not {answer.decide} {item.kind} {item.task}: {exc}")
            )
            return False
        return True
