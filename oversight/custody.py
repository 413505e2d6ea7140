"""Who has an inbox item: claimed, given back, handed to somebody, and passed on when its deadline comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from interlock import errors
from interlock.clock import Clock, iso
from interlock.observability.ledger import Ledger
from interlock.oversight import inbox_rows as rows
from interlock.oversight.actions import Request
from interlock.oversight.actors import Actors
from interlock.oversight.delegation import Delegations
from interlock.oversight.eligibility import Eligibility
from interlock.oversight.escalation import is_due, next_step, passed_on
from interlock.oversight.items import Item
from interlock.oversight.policy import Policies
from interlock.storage.database import Database, Transaction

__all__ = ["Custody"]


class Custody:
    """What the inbox does with items before they are answered. The engine sets `wake`, the plane the rest."""

    def __init__(  # noqa: PLR0917  # the layers below, in their order
        self, db: Database, ledger: Ledger, policies: Policies, actors: Actors, clock: Clock, tenant: str = "default"
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._policies = policies
        self._clock = clock
        self._tenant = tenant
        self.delegations = Delegations(db, ledger, actors, clock)
        self._eligibility = Eligibility(
            policies,
            actors,
            self.delegations,
            clock,
            lambda workflow: self.owner_of(workflow),  # noqa: PLW0108  # set later
            lambda tenant, person: self.off(tenant, person),  # noqa: PLW0108  # as well
        )
        self.wake: Callable[[str, str], None] = _nobody
        self.owner_of: Callable[[str], str] = _no_owner
        self.off: Callable[[str, str], str] = _all_on

    async def claim(self, item_id: str, *, by: str, tenant: str | None = None) -> Item:
        """Take an open item: until it is released nobody else answers it, and work time counts.

        The claim of somebody on leave keeps nobody away. Raises NotAuthorized, Conflict (somebody else has it),
        AlreadyDecided, NotFound.
        """
        item = await self._load(item_id, tenant)
        await self._permitted(item, by, item.request)
        now = self._clock.now()
        event, over = self._event("inbox.claimed", item, by, iso(now)), self._eligibility.absent(item, now)

        def apply(tx: Transaction) -> Item:
            if rows.claim(tx, item, by, iso(now), over):
                tx.append(event)
            return rows.load(tx, item.tenant, item.id)

        return await self._db.commit(apply)

    async def release(self, item_id: str, *, by: str, comment: str = "", tenant: str | None = None) -> Item:
        """Give a claimed item back to all it asks; a delegation stays. An operator may do so for anybody.

        Raises NotAuthorized (somebody else's), AlreadyDecided, NotFound. An item that nobody has is left as it is.
        """
        item = await self._load(item_id, tenant)
        async with self._refusing(item, by):
            holder = self._holder(item, by)
            if holder is not None and item.claimed_by not in (None, by):
                whose = f"{item.id} is claimed by {item.claimed_by}, so {by} may not release it"
                raise errors.NotAuthorized(whose, "they, or an operator, can release it")
        event = self._handed(item, None, by, comment)

        def apply(tx: Transaction) -> Item:
            if rows.release(tx, item, holder):
                tx.append(event)
            return rows.load(tx, item.tenant, item.id)

        return await self._db.commit(apply)

    async def delegate(self, item_id: str, *, to: str, by: str, comment: str = "", tenant: str | None = None) -> Item:
        """Ask one other person, who may answer it themselves, or has the skill of the task; ends the claim.

        By whoever may answer the item and by operators; those asked before may still answer. An approval never
        goes to somebody without the authority, or kept apart from the case. Raises NotAuthorized, Conflict
        (somebody else has it), InputError (to oneself), AlreadyDecided, NotFound.
        """
        item, eligibility = await self._load(item_id, tenant), self._eligibility
        if to == by:
            raise errors.InputError(f"{by} hands {item.id} to themselves", "claim it")
        async with self._refusing(item, by):
            holder = self._holder(item, by)
            if holder is not None:
                eligibility.check(item, eligibility.acting(item, by), item.request)
            eligibility.check_taker(item, eligibility.acting(item, to), item.request, self._clock.now())
        event = self._handed(item, to, by, comment)

        def apply(tx: Transaction) -> Item:
            if rows.delegate(tx, item, to, holder):
                tx.append(event)
            return rows.load(tx, item.tenant, item.id)

        return await self._db.commit(apply)

    async def expire(self, item_id: str, *, tenant: str | None = None) -> Item:
        """Do what an item's deadlines ask for, one after the other: pass it on in its chain, then close an approval.

        An item that is not due is returned as it is.
        """
        item, now = await self._load(item_id, tenant), self._clock.now()
        if not item.open or not is_due(item.due, now):
            return item

        def apply(tx: Transaction) -> Item:
            return self._passed(tx, rows.load(tx, item.tenant, item.id), now)

        return await asyncio.shield(self._commit(apply))

    def _passed(self, tx: Transaction, item: Item, now: datetime) -> Item:
        """The item after every deadline up to now. On the row as it is: whoever comes second finds nothing to do."""
        while item.open and is_due(item.due, now) and (place := next_step(item.chain)) is not None:
            step = item.chain[place]
            chain = passed_on(item.chain, place, iso(now))
            item = replace(item, due=step.due or item.due, chain=chain, claimed_by=None, claimed_at=None)
            rows.escalate(tx, item)
            tx.append(self._event("inbox.escalated", item, "", iso(now), to=step.to, stage=place + 1, due=step.due))
        if item.open and item.kind == "approval" and is_due(item.due, now):
            rows.expire(tx, item, iso(now))
            tx.append(self._event("inbox.expired", item, "", iso(now), f"expired:{item.id}"))
        return rows.load(tx, item.tenant, item.id)

    # --- what answers need as well ---------------------------------------------------------------------------------

    async def _load(self, item_id: str, tenant: str | None) -> Item:
        return await self._db.read(lambda tx: rows.load(tx, tenant or self._tenant, item_id))

    async def _permitted(self, item: Item, by: str, request: Request | None) -> str:
        """In whose place somebody may answer; empty in their own right."""
        async with self._refusing(item, by):
            return self._eligibility.check(item, self._eligibility.acting(item, by), request)
        raise AssertionError("unreachable")

    def _holder(self, item: Item, by: str) -> str | None:
        """Whose claim stands in this person's way when it is not their own: everybody's, for operators nobody's."""
        return None if self._eligibility.manages(item, self._eligibility.acting(item, by)) else by

    @asynccontextmanager
    async def _refusing(self, item: Item, by: str) -> AsyncIterator[None]:
        """A refusal is recorded before it is raised."""
        try:
            yield
        except errors.NotAuthorized as exc:
            await self._denied(item, by, exc)
            raise

    async def _denied(self, item: Item, by: str, exc: errors.NotAuthorized) -> None:
        data = {"what": f"inbox item {item.id}", "why": exc.message}
        where = {"tenant": item.tenant, "case_id": item.case_id, "actor": str(by)}
        await self._ledger.record(self._ledger.event("access.denied", **where, data=data))

    async def _commit(self, apply: Callable[[Transaction], Item]) -> Item:
        """Commit and wake the engine; shielded, since a commit outlives the caller who was cancelled."""
        item = await self._db.commit(apply)
        if not item.open:
            self.wake(item.tenant, item.case_id)
        return item

    def _handed(self, item: Item, to: str | None, by: str, comment: str) -> Any:
        """To nobody: it was given back."""
        return self._event("inbox.delegated", item, by, iso(self._clock.now()), to=to, comment=comment)

    def _event(self, type_: str, item: Item, by: str, at: str, identity: str | None = None, **data: Any) -> Any:
        content = {"item": item.id, **data}
        where = {"tenant": item.tenant, "case_id": item.case_id}
        return self._ledger.event(type_, **where, actor=by, data=content, identity=identity, at=at)


def _nobody(tenant: str, case_id: str) -> None:
    """Nobody is woken before the engine is there."""


def _no_owner(workflow: str) -> str:
    return ""


def _all_on(tenant: str, person: str) -> str:
    return ""
