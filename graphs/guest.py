"""Guest mode: a governed graph under somebody else's checkpointer, as in Studio. For looking; not crash-safe.

The case is ours, its steps are theirs: rows are units of their own, effects stay in sandboxes, and raw resume values
become checked decisions of the dev user.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from interlock import clock, errors
from interlock.graphs import cases, starting
from interlock.graphs.compiled import GovernedGraph, Visit
from interlock.graphs.drive import Drive, info_of, write_left
from interlock.graphs.engine.ending import Ending, close, closing
from interlock.graphs.registry import Registered
from interlock.graphs.services import Services
from interlock.ids import keyed_id, uuid7
from interlock.storage.claim import Claim
from interlock.storage.database import Row
from interlock.storage.transaction import Transaction

__all__ = ["STUDIO", "visit"]

STUDIO = "person:studio"
# Names under which development servers run a graph for whoever sits in front of them.
_NOBODY = frozenset({"", "langgraph-studio-user"})
_THREAD = ("thread_id", "checkpoint_ns", "__pregel_checkpointer")
_CLAIM = (
    "UPDATE cases SET epoch = epoch + 1, status = 'running', ended_at = NULL, result = NULL, error = NULL,"
    " ending = NULL, paused = ?, updated_at = ? WHERE tenant = ? AND case_id = ?"
)


@asynccontextmanager
async def visit(
    services: Services, entry: Registered, graph: GovernedGraph, input: Any, config: RunnableConfig | None
) -> AsyncIterator[Visit]:
    """One run of a guest. Its case opens with the first run, and after each stands as the thread does.

    Raises InputError when the input does not fit, Denied when the requester may not start the workflow, NotFound when
    the requester is not registered, Conflict when what the thread did has been undone.
    """
    given = entry.checked(input) if isinstance(input, (Mapping, BaseModel)) else None
    row = await _opened(services, entry, _visitor(config), given)
    claim = Claim(row["tenant"], row["case_id"], row["epoch"], guest=True)
    drive = Drive(services, info_of(row, entry.workflow.owner, {}, orjson.loads(row["input"])), claim)
    try:
        yield Visit(drive, input if given is None else entry.as_state(given))
    except Exception as exc:
        await _end(drive, "failed", None, {"code": type(exc).__name__, "message": str(exc)})
        raise
    else:
        await _leave(drive, graph, config)


@dataclass(frozen=True)
class _Visitor:
    """Who runs the graph, and as which case."""

    tenant: str
    requester: str
    case_id: str


def _visitor(config: RunnableConfig | None) -> _Visitor:
    conf = (config or {}).get("configurable", {})
    user = conf.get("langgraph_auth_user")
    identity, tenant = str(_of(user, "identity") or ""), str(_of(user, "tenant") or "default")
    known = identity.startswith(("person:", "agent:"))
    requester = STUDIO if identity in _NOBODY else identity if known else f"person:{identity}"
    return _Visitor(tenant, requester, _case_id(tenant, conf.get("thread_id")))


def _of(user: Any, name: str) -> Any:
    return user.get(name) if isinstance(user, Mapping) else getattr(user, name, None)


def _case_id(tenant: str, thread: Any) -> str:
    """The thread's id where it is a UUID; a run without a thread is a case of its own."""
    if thread is None:
        return uuid7()
    try:
        return str(uuid.UUID(str(thread)))
    except ValueError:
        return keyed_id(tenant, "guest", str(thread))


async def _opened(services: Services, entry: Registered, visitor: _Visitor, given: Any) -> Row:
    """The row of the visitor's case, under a new epoch."""
    at = clock.iso(services.clock.now())
    row = await services.db.read(lambda tx: cases.get(tx, visitor.tenant, visitor.case_id))
    started = None if row is not None else await _started(services, entry, visitor, given)

    def claim(tx: Transaction) -> Row:
        if started is not None and cases.get(tx, visitor.tenant, visitor.case_id) is None:
            starting.write(tx, started)
        _check_not_undone(cases.get(tx, visitor.tenant, visitor.case_id))
        tx.execute(_CLAIM, (cases.OUTSIDE, at, visitor.tenant, visitor.case_id))
        found = cases.get(tx, visitor.tenant, visitor.case_id)
        assert found is not None, "it was just written"
        return found

    return await services.db.commit(claim)


def _check_not_undone(row: Row | None) -> None:
    """Where its steps are done and its effects are not, the thread cannot go on. Raises Conflict."""
    if row is None or row["ending"] is None:
        return
    effects = orjson.loads(row["ending"])["effects"] or {}
    if row["ended_at"] is None or effects.keys() & {"compensated", "by_person"}:
        raise errors.Conflict(f"what case {row['case_id']} did is undone, or being undone", "begin another thread")


async def _started(services: Services, entry: Registered, visitor: _Visitor, given: Any) -> starting.Started:
    start = starting.Start(given, visitor.tenant, visitor.requester, key=visitor.case_id)
    await starting.permitted(services, entry, start)
    new = await starting.new_case(services, entry, start, given)
    new = replace(new, case_id=visitor.case_id, key=None, sequence=None, paused=cases.OUTSIDE)
    return starting.Started(new, starting.event_of(new), ())


async def _leave(drive: Drive, graph: GovernedGraph, config: RunnableConfig | None) -> None:
    """The run is over: the thread has finished, or waits."""
    conf = (config or {}).get("configurable", {})
    kept: dict[str, Any] = {name: conf[name] for name in _THREAD if name in conf}
    if not (graph.checkpointer or "__pregel_checkpointer" in kept):
        return await _end(drive, "completed", None, None)
    snapshot = await graph.aget_state({"configurable": kept})
    if snapshot.next:
        return await _wait(drive)
    values = graph.shown(snapshot.values)
    return await _end(drive, "completed", to_jsonable_python(values, fallback=repr), None)


async def _wait(drive: Drive) -> None:
    await write_left(drive)
    case, at = drive.case, clock.iso(drive.services.clock.now())
    await drive.services.db.commit(lambda tx: cases.set_status(tx, case.tenant, case.case_id, "waiting", at=at))


async def _end(drive: Drive, status: str, result: Any, error: dict[str, Any] | None) -> None:
    services, case, now = drive.services, drive.case, drive.services.clock.now()
    await write_left(drive)
    cycle = (now - case.started_at).total_seconds()
    data = {"cycle_s": cycle, **(error or {"sla_met": None if case.due is None else now <= case.due, "measures": {}})}
    ending = Ending(status, data, result, error)
    unit = partial(close, services=services, tenant=case.tenant, case_id=case.case_id, ending=ending)
    if await asyncio.shield(closing(services, case.tenant, unit)) is None:
        services.wake(case.tenant, case.case_id)
