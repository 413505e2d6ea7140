"""Deadlines of questions: until when each one in a chain is asked. All are fixed when the question is opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from interlock import errors
from interlock.clock import iso, parse
from interlock.ids import check_actor, check_name
from interlock.oversight.actors import Person
from interlock.oversight.calendars import Calendar

__all__ = [
    "Deadlines",
    "Step",
    "asked_first",
    "deadlines",
    "is_due",
    "names_of",
    "next_step",
    "opened",
    "passed_on",
    "whom",
]


@dataclass(frozen=True)
class Step:
    """Whom an item passes to, `role:<role>` or a person's id; until when they are asked (None: for ever); since when.

    Times are text from `clock.iso`.
    """

    to: str
    due: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Deadlines:
    """How long the first are asked (`sla`), and each one in the chain after them; in working time with a calendar."""

    sla: timedelta
    chain: tuple[tuple[str, timedelta], ...] = ()
    calendar: Calendar | None = None

    def begin(self, now: datetime, people: Iterable[Person], last: str | None = None) -> tuple[str, list[Step]]:
        """The first deadline and the chain of a question opened now; `last` ends a chain, and is asked for ever.

        A link in which nobody is today is left out: it would only keep the case waiting.
        """
        known = {name for person in people for name in names_of(person)}
        due = self._after(now, self.sla)
        steps, first = [], iso(due)
        for to, sla in (link for link in self.chain if link[0] in known):
            due = self._after(due, sla)
            steps.append(Step(to, iso(due)))
        if steps and last is not None and last not in [step.to for step in steps]:
            steps.append(Step(last))
        return first, steps

    def _after(self, start: datetime, sla: timedelta) -> datetime:
        return start + sla if self.calendar is None else self.calendar.add(start, sla)


def names_of(person: Person) -> set[str]:
    """How items and chains name a person: by id, and by each role."""
    return {person.id, *(f"role:{role}" for role in person.all_roles)}


def opened(
    deadlines: Deadlines | None, now: datetime, people: Iterable[Person], last: str | None = None
) -> tuple[str | None, list[Step]]:
    """First deadline and chain of a question that is opened now; none without deadlines. See `Deadlines.begin`."""
    return (None, []) if deadlines is None else deadlines.begin(now, people, last)


def deadlines(sla: Any, escalate: Iterable[Any] = (), calendar: Any = None) -> Deadlines | None:
    """The deadlines of a gate, a task or the calls of a workflow; None without an SLA.

    `escalate` holds roles, persons, and pairs of one of them with its own SLA. Raises ConfigurationError, also on a
    chain without an SLA.
    """
    if isinstance(escalate, str):
        raise errors.ConfigurationError(f"escalate={escalate!r} is one name", f"write escalate=[{escalate!r}]")
    if calendar is not None and not isinstance(calendar, Calendar):
        raise errors.ConfigurationError(f"{calendar!r} is no calendar", 'give Calendar(tz="Europe/Berlin")')
    chain = tuple(escalate)
    if sla is None and chain:
        raise errors.ConfigurationError(f"it escalates to {chain[0]!r} without a deadline", "give an SLA as well")
    if sla is None:
        return None
    return Deadlines(_positive(sla), tuple(_link(link, sla) for link in chain), calendar)


def _link(link: Any, sla: timedelta) -> tuple[str, timedelta]:
    to, own = link if isinstance(link, (tuple, list)) and len(link) == 2 else (link, sla)
    return whom(to), _positive(own)


def whom(name: Any) -> str:
    """A link of a chain as it is kept: `role:manager` for `manager`, or a person's id. Raises ConfigurationError."""
    try:
        if isinstance(name, str) and name.startswith(("person:", "agent:")):
            if check_actor(name).startswith("agent:"):
                raise errors.InputError(f"{name} is an agent")
            return name
        return f"role:{check_name(name.removeprefix('role:') if isinstance(name, str) else name)}"
    except errors.InputError as exc:
        raise errors.ConfigurationError(f"nobody is asked as {name!r}", "name a role, or person:<name>") from exc


def _positive(sla: Any) -> timedelta:
    if not isinstance(sla, timedelta) or sla <= timedelta(0):
        raise errors.ConfigurationError(f"the SLA is {sla!r}", "give a timedelta above zero")
    return sla


def asked_first(who: Sequence[str], chain: Sequence[Step], people: Iterable[Person]) -> list[str]:
    """Who of those who may decide is asked at once: not those in the chain, unless nobody else is there."""
    if not chain:
        return list(who)
    later = {step.to for step in chain}
    named = {person.id for person in people if later & names_of(person)}
    return [one for one in who if one not in named] or list(who)


def next_step(chain: Sequence[Step]) -> int | None:
    """The place in a chain that is asked next; None when all have been."""
    return next((place for place, step in enumerate(chain) if step.at is None), None)


def passed_on(chain: Sequence[Step], place: int, at: str) -> list[Step]:
    return [replace(step, at=at) if number == place else step for number, step in enumerate(chain)]


def is_due(due: str | None, now: datetime) -> bool:
    """Whether a deadline has passed; none never does."""
    return due is not None and now >= parse(due)
