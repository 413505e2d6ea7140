"""The desks of a plane: inbox, delegations, switches and context as callers see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from interlock import errors
from interlock.context.context import Context
from interlock.context.ingest import Ingested, RawDocument
from interlock.context.retrieve import Fact
from interlock.graphs.tenants import Tenants
from interlock.oversight.delegation import Delegation, Delegations
from interlock.oversight.inbox import Decision, Inbox, Item, Page
from interlock.oversight.items import Kind
from interlock.oversight.switches import History, Switch, Switches

__all__ = ["ContextDesk", "DelegationDesk", "InboxDesk", "SwitchDesk"]

Ready = Callable[[], Awaitable[None]]
Answers = list[Item | errors.InterlockError]  # inside the desks, `list` is a method


class InboxDesk:
    """`plane.inbox`, and `plane.approvals` with its own kind. It makes the plane ready before anything is decided."""

    def __init__(self, inbox: Inbox, ready: Ready, tenants: Tenants, kind: Kind | None = None) -> None:
        self._inbox = inbox
        self._ready = ready
        self._tenants = tenants
        self._kind: Kind | None = kind

    async def list(  # noqa: PLR0917  # the public interface
        self,
        kind: Kind | None = None,
        status: str | None = "open",
        role: str | None = None,
        case_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Item]:
        """A page of items, in the order in which they were opened. Raises InputError on a bad cursor or limit."""
        await self._ready()
        kind = kind if kind is not None else self._kind
        whose = self._tenants.own if case_id is None else await self._tenants.of_case(case_id)
        return await self._inbox.list(kind, status, role, case_id, limit, cursor, tenant=whose)

    async def get(self, item_id: str) -> Item:
        """One item. Raises NotFound."""
        return await self._inbox.get(item_id, tenant=await self._tenants.of_item(item_id))

    async def claim(self, item_id: str, *, by: str) -> Item:
        """Take an item. Raises NotAuthorized, Conflict, AlreadyDecided, NotFound."""
        await self._ready()
        return await self._inbox.claim(item_id, by=by, tenant=await self._tenants.of_item(item_id))

    async def release(self, item_id: str, *, by: str, comment: str = "") -> Item:
        """Give a claimed item back. Raises NotAuthorized, AlreadyDecided, NotFound."""
        await self._ready()
        whose = await self._tenants.of_item(item_id)
        return await self._inbox.release(item_id, by=by, comment=comment, tenant=whose)

    async def delegate(self, item_id: str, *, to: str, by: str, comment: str = "") -> Item:
        """Hand one item to another person, who may answer it themselves, or has the skill of the task.

        Raises NotAuthorized, Conflict, InputError, AlreadyDecided, NotFound.
        """
        await self._ready()
        whose = await self._tenants.of_item(item_id)
        return await self._inbox.delegate(item_id, to=to, by=by, comment=comment, tenant=whose)

    async def complete(self, item_id: str, output: Any, *, by: str, comment: str = "") -> Item:
        """Hand in the output of a task. Raises NotAuthorized, AlreadyDecided, Conflict, InputError, NotFound."""
        await self._ready()
        whose = await self._tenants.of_item(item_id)
        return await self._inbox.complete(item_id, output, by=by, comment=comment, tenant=whose)

    async def decide(
        self, item_id: str, decision: Decision, *, by: str, comment: str = "", digest: str | None = None
    ) -> Item:
        """Answer an approval or an exception. Raises NotAuthorized, AlreadyDecided, Expired, Conflict, NotFound."""
        await self._ready()
        whose = await self._tenants.of_item(item_id)
        return await self._inbox.decide(item_id, decision, by=by, comment=comment, digest=digest, tenant=whose)

    async def decide_many(self, item_ids: Iterable[str], decision: Decision, *, by: str, comment: str = "") -> Answers:
        """Answer many items alike, each checked and recorded by itself: in their order, the item or why it was not.

        Raises StorageError; whatever is wrong with one item leaves the others alone.
        """
        return [await self._one_of_many(one, decision, by, comment) for one in dict.fromkeys(item_ids)]

    async def _one_of_many(
        self, item_id: str, decision: Decision, by: str, comment: str
    ) -> Item | errors.InterlockError:
        try:
            return await self.decide(item_id, decision, by=by, comment=comment)
        except errors.StorageError:
            raise
        except errors.InterlockError as exc:
            return exc


class DelegationDesk:
    """`plane.delegations`: who stands in for whom, in the plane's tenant."""

    def __init__(self, delegations: Delegations, ready: Ready, tenant: str) -> None:
        self._delegations = delegations
        self._ready = ready
        self._tenant = tenant

    async def give(
        self, giver: str, taker: str, authority: str | None = None, *,
        until: datetime, by: str, start: datetime | None = None, comment: str = "",
    ) -> Delegation:  # fmt: skip
        """Let `taker` decide for `giver` from `start` to before `until`; see `Delegations.give`."""
        await self._ready()
        return await self._delegations.give(
            self._tenant, giver, taker, authority, until=until, by=by, start=start, comment=comment
        )

    async def revoke(self, delegation_id: str, *, by: str, comment: str = "") -> Delegation:
        """End a delegation now. Raises NotFound, NotAuthorized."""
        await self._ready()
        return await self._delegations.revoke(self._tenant, delegation_id, by=by, comment=comment)

    def list(self) -> list[Delegation]:
        """Every delegation that was ever made, the oldest first."""
        return self._delegations.list(self._tenant)


class SwitchDesk:
    """`plane.switches`: what is off or drained, and what has been set; `plane.switch` sets it."""

    def __init__(self, switches: Switches, tenant: str) -> None:
        self._switches = switches
        self._tenant = tenant

    def list(self) -> list[Switch]:
        """Every switch that was ever set, as it stands, by target."""
        return self._switches.list(self._tenant)

    async def history(self, target: str | None = None) -> History:
        """Every setting of a switch, or of all, the oldest first: from what to what, who, why, when.

        Raises InputError on a target that is none.
        """
        return await self._switches.history(self._tenant, target)


class ContextDesk:
    """`plane.context`: the documents of the plane's tenant."""

    def __init__(self, context: Context, ready: Ready, tenant: str) -> None:
        self._context = context
        self._ready = ready
        self._tenant = tenant

    async def ingest(self, source: str, documents: Iterable[RawDocument]) -> Ingested:
        """Add and update documents. Raises InputError on a bad source name."""
        return await self._context.ingest(source, documents, self._tenant)

    async def query(  # noqa: PLR0917  # the public interface
        self,
        text: str,
        k: int = 5,
        actor: str | None = None,
        case_id: str | None = None,
        where: Mapping[str, Any] | None = None,
        as_of: datetime | str | None = None,
        chunks: bool = False,
    ) -> list[Fact]:
        """The best facts that the actor may see, best first. Raises InputError, NotFound."""
        await self._ready()
        return await self._context.query(
            text, k, actor, self._tenant, where=where, as_of=as_of, chunks=chunks, case_id=case_id
        )

    async def delete(self, source: str, ids: Iterable[str]) -> int:
        """Close documents for later snapshots; gives how many there were."""
        return await self._context.delete(source, ids, self._tenant)

    async def erase(self, source: str, ids: Iterable[str]) -> int:
        """Remove documents from every snapshot; gives how many there were."""
        return await self._context.erase(source, ids, self._tenant)
