"""The desks of a plane: inbox and context as callers see them, and the commands that other processes send."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from interlock import clock, errors
from interlock.context.context import Context
from interlock.context.ingest import Ingested, RawDocument
from interlock.context.retrieve import Fact
from interlock.graphs.cases import Case
from interlock.graphs.tenants import Tenants
from interlock.oversight.delegation import Delegation, Delegations
from interlock.oversight.inbox import Decision, Inbox, Item, Page
from interlock.oversight.items import Kind

__all__ = ["ContextDesk", "DelegationDesk", "InboxDesk", "handlers", "told"]

Ready = Callable[[], Awaitable[None]]
Answers = list[Item | errors.InterlockError]  # inside `InboxDesk`, `list` is its method


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


def handlers(plane: Any) -> dict[str, Callable[..., Awaitable[Any]]]:
    """The commands of a live engine, with JSON in and out; see `engine/remote.py`. `plane` is a ControlPlane."""

    async def decide(
        item_id: str, decision: Mapping[str, Any], by: str, comment: str = "", digest: str | None = None
    ) -> Any:
        said = _decision(decision)
        return (await plane.inbox.decide(item_id, said, by=by, comment=comment, digest=digest)).as_json()

    async def claim(item_id: str, by: str) -> Any:
        return (await plane.inbox.claim(item_id, by=by)).as_json()

    async def release(item_id: str, by: str, comment: str = "") -> Any:
        return (await plane.inbox.release(item_id, by=by, comment=comment)).as_json()

    async def delegate(item_id: str, to: str, by: str, comment: str = "") -> Any:
        return (await plane.inbox.delegate(item_id, to=to, by=by, comment=comment)).as_json()

    async def decide_many(item_ids: list[str], decision: Mapping[str, Any], by: str, comment: str = "") -> Any:
        found = await plane.inbox.decide_many(item_ids, _decision(decision), by=by, comment=comment)
        return told(dict.fromkeys(item_ids), found)

    async def complete(item_id: str, output: Any, by: str, comment: str = "") -> Any:
        return (await plane.inbox.complete(item_id, output, by=by, comment=comment)).as_json()

    async def show(case_id: str) -> Any:
        return _case(await plane.case(case_id))

    async def cancel(case_id: str, by: str, comment: str = "") -> Any:
        return _case(await plane.cancel(case_id, by=by, comment=comment))

    async def pause(case_id: str, by: str, comment: str = "") -> Any:
        return _case(await plane.pause(case_id, by=by, comment=comment))

    async def resume(case_id: str, by: str, comment: str = "") -> Any:
        return _case(await plane.resume(case_id, by=by, comment=comment))

    async def fork(case_id: str, by: str, comment: str = "", checkpoint_id: str | None = None) -> Any:
        return _case(await plane.fork(case_id, checkpoint_id=checkpoint_id, by=by, comment=comment))

    async def switch(target: str, state: str, by: str, comment: str = "") -> Any:
        await plane.switch(target, state, by=by, comment=comment)
        return {"target": target, "state": state}

    async def entrust(  # noqa: PLR0917  # a command's fields
        giver: str, taker: str, until: str, by: str, authority: str | None = None, start: str | None = None,
        comment: str = "",
    ) -> Any:  # fmt: skip
        begins = clock.moment(start, "from") if start else None
        made = await plane.delegations.give(
            giver, taker, authority, until=clock.moment(until, "until"), start=begins, by=by, comment=comment
        )
        return {"delegation": dataclasses.asdict(made)}

    async def revoke(delegation: str, by: str, comment: str = "") -> Any:
        return {"delegation": dataclasses.asdict(await plane.delegations.revoke(delegation, by=by, comment=comment))}

    async def wait(case_id: str, until: str = "settled", timeout: float | None = None) -> Any:  # noqa: ASYNC109
        return _case(await plane.wait(case_id, until, timeout))

    async def reload(by: str = "") -> Any:
        if by:
            plane.services.actors.get(by)
        problems = await plane.policies.reload(by)
        told = [dataclasses.asdict(problem) for problem in problems]
        return {"taken": not problems, "version": plane.policies.version, "problems": told}

    return {
        "decide": decide, "decide_many": decide_many, "claim": claim, "release": release, "delegate": delegate,
        "complete": complete, "cancel": cancel, "pause": pause, "resume": resume, "fork": fork, "switch": switch,
        "show": show, "wait": wait, "reload": reload, "entrust": entrust, "revoke": revoke,
    }  # fmt: skip


def told(item_ids: Iterable[str], answers: Iterable[Item | errors.InterlockError]) -> dict[str, Any]:
    """What became of many answers, as JSON: the items that were answered, and the error of each other one."""
    pairs = list(zip(item_ids, answers, strict=True))
    refused = [{"item": one, **answer.error} for one, answer in pairs if isinstance(answer, errors.InterlockError)]
    return {"items": [answer.as_json() for _, answer in pairs if isinstance(answer, Item)], "errors": refused}


def _case(case: Case) -> dict[str, Any]:
    return dataclasses.asdict(case)


def _decision(said: Mapping[str, Any]) -> Decision:
    """A decision as JSON: {"kind": approve | reject | edit | respond, "why", "args", "value"}. Raises InputError."""
    match said.get("kind"):
        case "approve":
            return Decision.approve()
        case "reject":
            return Decision.reject(said.get("why", ""))
        case "edit":
            return Decision.edit(said.get("args") or {})
        case "respond":
            return Decision.respond(said.get("value"))
    raise errors.InputError(f"{said.get('kind')!r} is no decision", "say approve, reject, edit or respond")
