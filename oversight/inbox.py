"""The one inbox: approvals, tasks and exceptions, and the only way in which they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, get_args

from interlock import errors
from interlock.clock import Clock, iso
from interlock.observability.ledger import Ledger
from interlock.oversight import inbox_events
from interlock.oversight import inbox_rows as rows
from interlock.oversight.actions import Request
from interlock.oversight.actors import Actors, Person
from interlock.oversight.eligibility import Eligibility, expired
from interlock.oversight.items import STATUSES, Decision, Item, Kind, check_output
from interlock.oversight.need import separated
from interlock.oversight.pages import Page, check_choice, check_limit, position
from interlock.oversight.policy import Policies
from interlock.storage.claim import Apply
from interlock.storage.database import Database, Reader, Transaction

__all__ = ["Decision", "Granted", "Inbox", "Item", "Page", "separated"]

Items = list[Item]  # inside `Inbox`, `list` is its method


@dataclass(frozen=True)
class Granted:
    """The approvals that count for one call: how many by authority, and their items (to be used with it)."""

    approvals: dict[str, int]
    items: list[Item]


class Inbox:
    """Questions to people. The engine sets `wake`, the gateway `digest_of` and `request_of`, the plane `owner_of`.

    `digest_of(item, args)` and `request_of(item, args)` give digest and request of an edited action; they raise
    InputError on arguments that do not fit.
    """

    def __init__(  # noqa: PLR0917  # the layers below, in their order
        self, db: Database, ledger: Ledger, policies: Policies, actors: Actors, clock: Clock, tenant: str = "default"
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._policies = policies
        self._clock = clock
        self._tenant = tenant
        self._eligibility = Eligibility(policies, actors, lambda workflow: self.owner_of(workflow))  # noqa: PLW0108  # set later
        self.wake: Callable[[str, str], None] = _nobody
        self.owner_of: Callable[[str], str] = _no_owner
        self.digest_of: Callable[[Item, Mapping[str, Any]], str] = _no_edit
        self.request_of: Callable[[Item, Mapping[str, Any]], Request | None] = _no_edit

    # --- reading ---------------------------------------------------------------------------------------------------

    async def list(  # noqa: PLR0917  # the public interface
        self,
        kind: Kind | None = None,
        status: str | None = "open",
        role: str | None = None,
        case_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        *,
        tenant: str | None = None,
    ) -> Page[Item]:
        """Items in the order in which they were opened. `role` keeps those that this role may answer.

        Raises InputError on a kind, status, cursor or limit that is none.
        """
        check_choice("kind", kind, get_args(Kind))
        check_choice("status", status, STATUSES)
        check_limit(limit)
        wanted = rows.Filter(tenant or self._tenant, kind, status, case_id, position(cursor))
        found = await self._db.read(lambda tx: rows.take(self._for_role(rows.scan(tx, wanted), role), limit + 1))
        more = len(found) > limit
        return Page([self._shown(item) for item in found[:limit]], str(found[limit - 1].seq) if more else None)

    async def get(self, item_id: str, *, tenant: str | None = None) -> Item:
        """One item. Raises NotFound."""
        return self._shown(await self._load(item_id, tenant))

    async def of_effect(self, effect_key: str, *, tenant: str | None = None) -> Items:
        """The questions asked for one call, oldest first."""
        return await self._db.read(lambda tx: rows.of_effect(tx, tenant or self._tenant, effect_key))

    async def _load(self, item_id: str, tenant: str | None) -> Item:
        return await self._db.read(lambda tx: rows.load(tx, tenant or self._tenant, item_id))

    def _shown(self, item: Item) -> Item:
        """An item with whom it asks now, where it names nobody itself."""
        return replace(item, eligible=self._eligibility.asked(item))

    def _for_role(self, items: Iterator[Item], role: str | None) -> Iterator[Item]:
        return items if role is None else (item for item in items if self._eligibility.concerns(item, role))

    # --- opening ---------------------------------------------------------------------------------------------------

    def opening(self, item: Item) -> Apply:
        """What inserts an item, once, and tells the ledger: for `claim.later` or a commit of its own."""
        opened = replace(item, opened_at=item.opened_at or iso(self._clock.now()))
        event = self._event(
            "inbox.opened", opened, "", opened.opened_at, f"opened:{item.id}", **inbox_events.opened(opened)
        )

        def apply(tx: Transaction) -> None:
            if rows.insert(tx, opened):
                tx.append(event)

        return apply

    # --- answering -------------------------------------------------------------------------------------------------

    async def claim(self, item_id: str, *, by: str, tenant: str | None = None) -> Item:
        """Take an open item, so that others see it and work time counts.

        Raises NotAuthorized, Conflict (somebody else has it), AlreadyDecided, NotFound.
        """
        item = await self._load(item_id, tenant)
        await self._permitted(item, by, item.request)
        at = iso(self._clock.now())
        event = self._event("inbox.claimed", item, by, at, f"claimed:{item.id}:{by}")

        def apply(tx: Transaction) -> Item:
            if rows.claim(tx, item, by, at):
                tx.append(event)
            return rows.load(tx, item.tenant, item.id)

        return await self._db.commit(apply)

    async def decide(
        self,
        item_id: str,
        decision: Decision,
        *,
        by: str,
        comment: str = "",
        digest: str | None = None,
        tenant: str | None = None,
    ) -> Item:
        """Answer an approval or an exception. The same answer of the same person again returns the first one.

        Give `digest` to be sure that it is the action you saw. Raises NotAuthorized, AlreadyDecided, Expired,
        Conflict (another digest), InputError (a task, an edit or a response that does not fit), NotFound.
        """
        if not isinstance(decision, Decision):
            raise errors.InputError(
                f"{decision!r} is no decision", "write Decision.approve(), .reject, .edit or .respond"
            )
        item = await self._load(item_id, tenant)
        if item.kind == "task" or decision.kind == "complete":
            raise errors.InputError(f"{item.id} takes no {decision.kind!r}", "complete tasks, decide everything else")
        if digest is not None and digest != item.digest:
            raise errors.Conflict(f"{item.id} asks for another action than was shown", "read the item again")
        if (first := rows.answered(item, decision, by)) is not None:
            return first
        request = self._asked(item, decision)
        await self._permitted(item, by, request)
        if expired(item, self._clock.now()):
            raise errors.Expired(f"{item.id} was due {item.due}", "ask again, or let it be escalated")
        return await self._settle(item, self._bound(item, decision), "inbox.decided", request, by=by, comment=comment)

    async def complete(
        self, item_id: str, output: Any, *, by: str, comment: str = "", tenant: str | None = None
    ) -> Item:
        """Hand in the output of a task. Raises NotAuthorized, AlreadyDecided, Conflict, InputError, NotFound."""
        item = await self._load(item_id, tenant)
        if item.kind != "task":
            raise errors.InputError(f"{item.id} is no task", "decide it")
        decision = Decision("complete", value=output)
        if (first := rows.answered(item, decision, by)) is not None:
            return first
        await self._permitted(item, by, None)
        check_output(item, output)
        return await self._settle(item, decision, "inbox.completed", None, by=by, comment=comment)

    async def expire(self, item_id: str, *, tenant: str | None = None) -> Item:
        """Close an open approval whose deadline has passed; any other item is returned as it is."""
        item = await self._load(item_id, tenant)
        now = self._clock.now()
        if not item.open or not expired(item, now):
            return item
        event = self._event("inbox.expired", item, "", iso(now), f"expired:{item.id}")

        def apply(tx: Transaction) -> Item:
            if rows.expire(tx, item, iso(now)):
                tx.append(event)
            return rows.load(tx, item.tenant, item.id)

        return await asyncio.shield(self._commit(apply))

    def _asked(self, item: Item, decision: Decision) -> Request | None:
        """The request that a decision is about: that of the edited action after an edit."""
        if decision.kind != "edit":
            return item.request
        edited = self.request_of if item.kind == "approval" else _no_edit
        return edited(item, decision.args or {})

    def _bound(self, item: Item, decision: Decision) -> Decision:
        """The decision with the digest of what it decides. Raises InputError on a response that does not fit."""
        if decision.kind == "edit":
            return replace(decision, digest=self.digest_of(item, decision.args or {}))
        if decision.kind == "respond" and item.kind == "exception":
            check_output(item, decision.value)
        return replace(decision, digest=item.digest)

    async def _permitted(self, item: Item, by: str, request: Request | None) -> Person:
        """The person, if they may answer. A refusal is recorded before it is raised."""
        try:
            person = self._eligibility.person(by)
            self._eligibility.check(item, person, request)
        except errors.NotAuthorized as exc:
            await self._denied(item, by, exc)
            raise
        return person

    async def _denied(self, item: Item, by: str, exc: errors.NotAuthorized) -> None:
        data = {"what": f"inbox item {item.id}", "why": exc.message}
        where = {"tenant": item.tenant, "case_id": item.case_id, "actor": str(by)}
        await self._ledger.record(self._ledger.event("access.denied", **where, data=data))

    async def _settle(
        self, item: Item, decision: Decision, event_type: str, request: Request | None, *, by: str, comment: str
    ) -> Item:
        """One commit: the answer, the case back in the queue, the ledger. Then the engine is woken."""
        at = iso(self._clock.now())
        status = "completed" if event_type == "inbox.completed" else "decided"
        answer = rows.Answer(decision, by, at, comment or decision.why, self._policies.version, status)

        def apply(tx: Transaction) -> Item:
            settled, first = rows.settle(tx, item, answer)
            if first:
                told = (
                    inbox_events.decided(settled, request) if status == "decided" else inbox_events.completed(settled)
                )
                tx.append(self._event(event_type, settled, by, at, f"{status}:{item.id}", **told))
            return settled

        try:
            return await asyncio.shield(self._commit(apply))
        except errors.NotAuthorized as exc:  # another stage was decided by the same person
            await self._denied(item, by, exc)
            raise

    async def _commit(self, apply: Callable[[Transaction], Item]) -> Item:
        """Commit and wake the engine; shielded, since a commit outlives the caller who was cancelled."""
        item = await self._db.commit(apply)
        self.wake(item.tenant, item.case_id)
        return item

    # --- using -----------------------------------------------------------------------------------------------------

    async def granted(
        self, request: Request, *, case_id: str, effect_key: str, digest: str, tenant: str | None = None
    ) -> Granted:
        """The approvals that are valid now for this call: unused, of this digest, each by another person.

        Each is asked of the policies again with the request as it is now.
        """
        where = (tenant or self._tenant, case_id, effect_key, digest)
        found = await self._db.read(lambda tx: rows.approvals(tx, *where))
        counted: Items = []
        for item in found:
            others = [str(other.decided_by) for other in counted]
            if item.decided_by not in others and self._eligibility.still(item, request, others):
                counted.append(item)
        names = [item.authority for item in counted]
        return Granted({name: names.count(name) for name in dict.fromkeys(names)}, counted)

    def use(self, tx: Transaction, items: Items, at: str) -> None:
        """Mark approvals as used, in the commit of the intent. Raises Denied when one was used already."""
        for item in items:
            if not rows.use(tx, item, at):
                raise errors.Denied(f"the approval {item.id} was used already", "an approval serves one call")

    def withdraw(self, tx: Transaction, tenant: str, effect_key: str) -> None:
        """Close the open questions of a call that goes on without them."""
        rows.withdraw(tx, tenant, effect_key)

    def items_of(self, reader: Reader, tenant: str, effect_key: str) -> Items:
        """`of_effect` inside a transaction."""
        return rows.of_effect(reader, tenant, effect_key)

    def _event(self, type_: str, item: Item, by: str, at: str, identity: str, **data: Any) -> Any:
        content = {"item": item.id, **data}
        where = {"tenant": item.tenant, "case_id": item.case_id}
        return self._ledger.event(type_, **where, actor=by, data=content, identity=identity, at=at)


def _nobody(tenant: str, case_id: str) -> None:
    """Nobody is woken before the engine is there."""


def _no_edit(item: Item, args: Mapping[str, Any]) -> NoReturn:
    raise errors.InputError(f"{item.id} cannot be edited", "approve, reject or respond")


def _no_owner(workflow: str) -> str:
    return ""
