"""Delegations: a person stands in for another one's authority between two dates. Read from memory at each decision."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from interlock import errors
from interlock.clock import Clock, iso, parse
from interlock.ids import uuid7
from interlock.oversight.actors import Actors, Person
from interlock.oversight.edition import OPERATOR

if TYPE_CHECKING:
    from interlock.observability.ledger import Ledger
    from interlock.storage.database import Database, Reader, Transaction

__all__ = ["Delegation", "Delegations"]

People = list[Person]  # inside `Delegations`, `list` is its method

_COLUMNS = "tenant, id, giver, taker, authority, from_at, until_at, by, comment, at, revoked_at"
_LOAD = f"SELECT {_COLUMNS} FROM delegations ORDER BY at, id"  # noqa: S608  # our names
_SAVE = f"INSERT INTO delegations ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # our names
_REVOKE = "UPDATE delegations SET revoked_at = ? WHERE tenant = ? AND id = ? AND revoked_at IS NULL"


@dataclass(frozen=True, slots=True)
class Delegation:
    """`taker` may decide for `giver` under `authority` (None: under all that the giver holds), until excluded.

    Times are text (`clock.iso`); `by` made it at `at`.
    """

    tenant: str
    id: str
    giver: str
    taker: str
    authority: str | None
    from_at: str
    until_at: str
    by: str
    comment: str
    at: str
    revoked_at: str | None = None

    def covers(self, authority: str | None, at: datetime) -> bool:
        """Whether it holds at a time for an authority; None asks for a delegation of everything.

        A revoked one never did: decisions made under it and not carried out yet are void.
        """
        named = self.authority is None or self.authority == authority
        return named and self.revoked_at is None and parse(self.from_at) <= at < parse(self.until_at)


class Delegations:
    """The delegations of every tenant. Nothing can be passed on: a giver needs the authority in their own right."""

    def __init__(self, db: Database, ledger: Ledger, actors: Actors, clock: Clock) -> None:
        self._db, self._ledger, self._actors, self._clock = db, ledger, actors, clock
        self._lock = asyncio.Lock()
        self._known: dict[tuple[str, str], Delegation] = {}

    async def load(self) -> None:
        """Take what the database holds."""
        self._known = {(one.tenant, one.id): one for one in await self._db.read(_load)}

    def list(self, tenant: str) -> list[Delegation]:
        """Every delegation that was ever made in a tenant, the oldest first."""
        known = list(self._known.values())  # also asked in the thread of a commit, while others are made
        return [one for one in known if one.tenant == tenant]

    def givers(self, tenant: str, taker: Person, authority: str | None, at: datetime) -> People:
        """For whom a person may stand in: by delegation, and as the deputy of somebody on leave."""
        made = {one.giver for one in self.list(tenant) if one.taker == taker.id and one.covers(authority, at)}
        people = self._actors.people()
        return [one for one in people if one.id in made or (one.deputy == taker.id and one.away(at))]

    async def give(
        self, tenant: str, giver: str, taker: str, authority: str | None = None, *,
        until: datetime, by: str, start: datetime | None = None, comment: str = "",
    ) -> Delegation:  # fmt: skip
        """Delegate from `start` (None: now) to before `until`; durable and in effect when this returns.

        By the giver, or an operator. Raises NotFound, NotAuthorized, InputError (dates, oneself, an authority that the
        giver does not hold in their own right).
        """
        now = self._clock.now()
        self._check_parties(giver, taker, authority, by)
        made = Delegation(
            tenant,
            uuid7(int(now.timestamp() * 1000)),
            giver,
            taker,
            authority,
            *_dates(start or now, until, now),
            by,
            comment,
            iso(now),
        )
        await asyncio.shield(self._write(made, by, iso(now)))
        return made

    async def revoke(self, tenant: str, delegation_id: str, *, by: str, comment: str = "") -> Delegation:
        """End a delegation now; by giver, taker or an operator. A second time changes nothing.

        Raises NotFound, NotAuthorized.
        """
        made = self._known.get((tenant, delegation_id))
        if made is None:
            raise errors.NotFound(f"no delegation {delegation_id!r}", "see `interlock actors delegations`")
        if by not in (made.giver, made.taker) and not self._operates(by):
            raise errors.NotAuthorized(f"{by} may not revoke it", "giver, taker or an operator can")
        at = iso(self._clock.now())
        if made.revoked_at is None:
            await asyncio.shield(self._write(replace(made, revoked_at=at), by, at, comment))
        return self._known[tenant, delegation_id]

    def _check_parties(self, giver: str, taker: str, authority: str | None, by: str) -> None:
        person, other = self._actors.person(giver), self._actors.person(taker)
        if person is other:
            raise errors.InputError(f"{giver} cannot stand in for themselves", "name another person")
        if by != giver and (by == taker or not self._operates(by)):
            raise errors.NotAuthorized(f"{by} may not delegate for {giver}", "they can do so, or an operator")
        held = person.all_roles
        if not held or (authority is not None and authority not in held):
            what = "no authority" if authority is None else f"no authority {authority!r}"
            raise errors.InputError(
                f"{giver} holds {what}", "only what somebody holds in their own right can be delegated"
            )

    def _operates(self, by: str) -> bool:
        return OPERATOR in self._actors.person(by).all_roles

    async def _write(self, made: Delegation, by: str, at: str, comment: str = "") -> None:
        """One at a time, so that memory and database agree."""
        event = self._ledger.event(
            "actor.registered", tenant=made.tenant, actor=by, data=_told(made, comment), at=at,
            identity=f"delegation:{made.id}:{'revoked' if made.revoked_at else 'given'}",
        )  # fmt: skip

        def apply(tx: Transaction) -> None:
            if made.revoked_at is None:
                tx.execute(_SAVE, _row(made))
            else:
                tx.execute(_REVOKE, (made.revoked_at, made.tenant, made.id))
            tx.append(event)

        async with self._lock:
            await self._db.commit(apply)
            self._known[made.tenant, made.id] = made


def _load(reader: Reader) -> list[Delegation]:
    return [Delegation(**dict(row)) for row in reader.rows(_LOAD)]


def _row(made: Delegation) -> tuple[Any, ...]:
    return tuple(getattr(made, name) for name in _COLUMNS.split(", "))


def _told(made: Delegation, comment: str) -> dict[str, Any]:
    """What changes about the taker: for some time they have somebody else's authority."""
    delegation = {
        "id": made.id, "giver": made.giver, "authority": made.authority, "from": made.from_at, "until": made.until_at,
        "revoked_at": made.revoked_at, "comment": comment or made.comment,
    }  # fmt: skip
    roles = [made.authority] if made.authority and made.revoked_at is None else []
    return {"id": made.taker, "roles": roles, "skills": [], "owner": "", "delegation": delegation}


def _dates(start: datetime, until: datetime, now: datetime) -> tuple[str, str]:
    for at in (start, until):
        if not isinstance(at, datetime) or at.tzinfo is None:
            raise errors.InputError(f"{at!r} is no aware datetime", "write 2026-08-01T00:00:00+02:00")
    if until <= max(start, now):
        raise errors.InputError(f"{iso(until)} is over before it begins", "end it later than it starts, and than now")
    return iso(start), iso(until)
