"""Who performs tasks and who decides: agents and persons, and the registry of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from interlock import errors
from interlock.ids import check_actor, check_name
from interlock.money import Money

__all__ = ["Absence", "Actor", "Actors", "Person"]


@dataclass(frozen=True, slots=True)
class Absence:
    """A stretch of leave, `start` included and `end` excluded, both aware datetimes."""

    start: datetime
    end: datetime


@dataclass(kw_only=True)
class Actor:
    """What agents and persons share. `capacity` counts open tasks; None means no bound.

    Raises InputError on a name that cannot stand in an id.
    """

    prefix: ClassVar[str] = "actor"

    name: str = field(kw_only=False)
    roles: set[str] = field(default_factory=set)
    skills: set[str] = field(default_factory=set)
    scopes: set[str] = field(default_factory=set)
    capacity: int | None = None
    owner: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        self.roles, self.skills, self.scopes = _names(self.roles), _names(self.skills), _names(self.scopes)
        whole = isinstance(self.capacity, int) and not isinstance(self.capacity, bool)
        if self.capacity is not None and not (whole and self.capacity >= 1):
            raise errors.InputError(f"capacity of {self.name} is {self.capacity!r}", "give at least 1, or None")
        if not isinstance(self.owner, str):
            raise errors.InputError(f"owner of {self.name} is {self.owner!r}", "name a person or a role")

    @property
    def id(self) -> str:
        return f"{self.prefix}:{self.name}"

    @property
    def all_roles(self) -> frozenset[str]:
        """The roles that policies see."""
        return frozenset(self.roles)


@dataclass(kw_only=True)
class Person(Actor):
    """A person. `authorities` maps a power to approve to its limit; `deputy` is the id of the person who stands in.

    `calendar` is leave, as (start, end) with aware datetimes. A person with an authority is in the role of its name.
    Raises InputError on what has another type, as a limit that is no Money.
    """

    prefix: ClassVar[str] = "person"

    authorities: dict[str, Money] = field(default_factory=dict)
    calendar: Sequence[Absence | tuple[datetime, datetime]] = ()
    deputy: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = self.authorities
        if not isinstance(limits, Mapping) or not all(isinstance(limit, Money) for limit in limits.values()):
            raise errors.InputError(f"a limit of {self.name} is no Money", 'write {"purchasing": Money(100000, "EUR")}')
        self.authorities = dict(limits)
        if not isinstance(self.calendar, Sequence):
            raise errors.InputError(f"calendar of {self.name} is {self.calendar!r}", "give a list of (start, end)")
        self.calendar = [_absence(leave) for leave in self.calendar]
        if self.deputy is not None and not check_actor(self.deputy).startswith("person:"):
            raise errors.InputError(f"{self.deputy} cannot stand in for {self.name}", "name a person")

    @property
    def all_roles(self) -> frozenset[str]:
        return frozenset(self.roles | self.authorities.keys())

    def limit(self, authority: str, currency: str) -> int:
        """Up to how many minor units this person may approve; 0 where there is no limit in that currency."""
        money = self.authorities.get(authority)
        return money.amount if money is not None and money.currency == currency else 0

    def away(self, at: datetime) -> bool:
        return any(leave.start <= at < leave.end for leave in map(_absence, self.calendar))


def _names(given: Iterable[str]) -> set[str]:
    # A text would become the set of its letters.
    if isinstance(given, str):
        raise errors.InputError(f"{given!r} is one name, not a set of names", f"write {{{given!r}}}")
    if not isinstance(given, Iterable) or not all(isinstance(name, str) for name in given):
        raise errors.InputError(f"{given!r} is no set of names", 'write {"buying"}')
    return set(given)


def _absence(given: Any) -> Absence:
    """A stretch of leave, also as (start, end). Raises InputError."""
    if isinstance(given, Absence):
        return given
    match given:
        case (datetime() as start, datetime() as end) if start.tzinfo and end.tzinfo and start < end:
            return Absence(start, end)
    raise errors.InputError(f"{given!r} is no leave", "give (start, end), two aware datetimes")


class Actors:
    """The registry of a process, in order of registration."""

    def __init__(self, actors: Iterable[Actor] = ()) -> None:
        self._actors: dict[str, Actor] = {}
        for actor in actors:
            self.register(actor)

    def register(self, actor: Actor) -> None:
        """Add an actor. Raises Conflict when another one has its id; an identical one is taken as the same."""
        if not isinstance(actor, Actor):
            raise errors.ConfigurationError(f"{actor!r} is no actor", "give an Agent or a Person")
        check_actor(actor.id)
        known = self._actors.setdefault(actor.id, actor)
        if known is not actor and known != actor:
            raise errors.Conflict(f"{actor.id} is registered with other properties", "choose another name")

    def get(self, actor_id: str) -> Actor:
        """The actor of an id. Raises NotFound."""
        actor = self._actors.get(actor_id)
        if actor is None:
            raise errors.NotFound(f"no actor {actor_id!r} is registered", "register it with plane.register_actor")
        return actor

    def person(self, actor_id: str) -> Person:
        """The person of an id. Raises NotFound, also when the id is an agent's."""
        actor = self.get(actor_id)
        if not isinstance(actor, Person):
            raise errors.NotFound(f"{actor_id} is no person", "name a registered person, as person:ana")
        return actor

    def people(self) -> list[Person]:
        return [actor for actor in self._actors.values() if isinstance(actor, Person)]

    def agents(self) -> list[Actor]:
        return [actor for actor in self._actors.values() if actor.id.startswith("agent:")]

    def find(self, skill: str) -> list[Actor]:
        """Everyone who has a skill, agents and persons."""
        return [actor for actor in self._actors.values() if skill in actor.skills]

    def __contains__(self, actor_id: object) -> bool:
        return actor_id in self._actors

    def __iter__(self) -> Iterator[Actor]:
        return iter(self._actors.values())
