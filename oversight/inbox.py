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
from interlock.oversight.actors import Actors
from interlock.oversight.custody import Custody
from interlock.oversight.eligibility import as_approval, expired
from interlock.oversight.items import AGAIN, STATUSES, YES, Decision, Item, Kind, check_output
from interlock.oversight.need import separated
from interlock.oversight.pages import Page, check_choice, check_limit, position
from interlock.oversight.participants import informed, preparers
from interlock.oversight.policy import Edition, Policies
from interlock.storage.claim import Apply
from interlock.storage.database import Database, Reader, Transaction

__all__ = ["Decision", "Granted", "Inbox", "Item", "Page", "separated"]

Items = list[Item]  # inside `Inbox`, `list` is its method


@dataclass(frozen=True)
class Granted:
    """The approvals that count for one call: how many by authority, and their items (to be used with it)."""

    approvals: dict[str, int]
    items: list[Item]


class Inbox(Custody):
    """Questions to people. The engine sets `wake`, the gateway `digest_of` and `request_of`, the plane `owner_of`.

    `digest_of(item, args)` and `request_of(item, args)` give digest and request of an edited action; they raise
    InputError on arguments that do not fit.
    """

    def __init__(  # noqa: PLR0917  # the layers below, in their order
        self, db: Database, ledger: Ledger, policies: Policies, actors: Actors, clock: Clock, tenant: str = "default"
    ) -> None:
        super().__init__(db, ledger, policies, actors, clock, tenant)
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

    def _shown(self, item: Item) -> Item:
        """An item with whom it asks now, where it names nobody itself."""
        return replace(item, eligible=self._eligibility.asked(item))

    def _for_role(self, items: Iterator[Item], role: str | None) -> Iterator[Item]:
        return items if role is None else (item for item in items if self._eligibility.concerns(item, role))

    def asking(self, item: Item, policies: Edition) -> Item:
        """A question as it is to be opened: see `Eligibility.asking`."""
        return self._eligibility.asking(item, policies)

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
        # Another action is for those to choose who may approve it.
        asked = as_approval(item) if decision.kind == "edit" else item
        decision = replace(decision, acting_for=await self._permitted(asked, by, request))
        if expired(item, self._clock.now()):
            raise errors.Expired(f"{item.id} was due {item.last_due}", "ask again")
        bound = self._bound(item, decision, by)
        return await self._settle(item, bound, "inbox.decided", request, by=by, comment=comment)

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
        decision = replace(decision, acting_for=await self._permitted(item, by, None))
        check_output(item, output)
        return await self._settle(item, decision, "inbox.completed", None, by=by, comment=comment)

    def _asked(self, item: Item, decision: Decision) -> Request | None:
        """The request that a decision is about: that of the edited action after an edit."""
        if decision.kind != "edit":
            return item.request
        edited = self.request_of if item.grants else _no_edit
        return edited(item, decision.args or {})

    def _bound(self, item: Item, decision: Decision, by: str) -> Decision:
        """The decision with the digest of what it decides. Raises InputError on a response that does not fit."""
        if decision.kind == "edit":
            return replace(decision, digest=self.digest_of(item, decision.args or {}))
        if item.stuck and decision.kind == "approve" and self._again(item, by):
            return replace(decision, digest=AGAIN)
        if decision.kind == "respond" and item.kind == "exception":
            check_output(item, decision.value)
        return replace(decision, digest=item.digest)

    def _again(self, item: Item, by: str) -> bool:
        """Whether the yes of this person only says that the question is to be asked anew."""
        return self._eligibility.approves(item, self._eligibility.person(by), item.request) is None

    async def _settle(
        self, item: Item, decision: Decision, event_type: str, request: Request | None, *, by: str, comment: str
    ) -> Item:
        """One commit: the answer, the case back in the queue, the ledger. Then the engine is woken."""
        at = iso(self._clock.now())
        status = "completed" if event_type == "inbox.completed" else "decided"
        version, over = self._policies.version, self._eligibility.absent(item, self._clock.now())
        answer = rows.Answer(decision, by, at, comment or decision.why, version, status, over)

        def apply(tx: Transaction) -> Item:
            self._check_apart(tx, item, decision, by, request)
            settled, first = rows.settle(tx, item, answer)
            if first:
                told = (
                    inbox_events.decided(settled, request) if status == "decided" else inbox_events.completed(settled)
                )
                tx.append(self._event(event_type, settled, by, at, f"{status}:{item.id}", **told))
            return settled

        async with self._refusing(item, by):  # another stage was decided by the same person
            return await asyncio.shield(self._commit(apply))
        raise AssertionError("unreachable")

    def _check_apart(self, tx: Transaction, item: Item, decision: Decision, by: str, request: Request | None) -> None:
        """Who has worked on the case since the question was asked does not answer it. Raises NotAuthorized."""
        if not item.effect_key or item.kind == "task":
            return
        edition, worked = self._policies.edition, preparers(tx, item.tenant, item.case_id)
        now = informed(tx, request, item.tenant, item.case_id, edition) if request is not None else None
        acted = now is not None and request is not None and now.acted != request.acted
        if worked.isdisjoint({by, decision.acting_for}) and not acted:
            return
        apart = replace(item, excluded=separated(item.excluded, worked))
        asked = as_approval(apart) if item.stuck and decision.kind in YES and decision.digest != AGAIN else apart
        self._eligibility.check(asked, self._eligibility.acting(item, by), now)

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
            others = {one for other in counted for one in other.deciders}
            if others.isdisjoint(item.deciders) and self._eligibility.still(item, request, others):
                counted.append(item)
        names = [item.authority for item in counted]
        return Granted({name: names.count(name) for name in dict.fromkeys(names)}, counted)

    def hold(self, items: Items, request: Request) -> bool:
        """Whether approvals that were found valid still are. No I/O."""
        others = {item.id: {one for other in items if other is not item for one in other.deciders} for item in items}
        return all(self._eligibility.still(item, request, others[item.id]) for item in items)

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


def _no_edit(item: Item, args: Mapping[str, Any]) -> NoReturn:
    raise errors.InputError(f"{item.id} cannot be edited", "approve, reject or respond")
