"""What people do to cases from outside: start many, cancel, pause, resume, fork."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from interlock import clock, errors
from interlock.graphs import cases, starting
from interlock.graphs.engine.ending import Ending, close
from interlock.graphs.engine.queue import Ticket
from interlock.graphs.registry import Registered, Registry
from interlock.graphs.services import Services
from interlock.ids import uuid7
from interlock.storage import thread_care

if TYPE_CHECKING:
    from interlock.graphs.engine.embedded import EmbeddedEngine
    from interlock.storage.database import Row
    from interlock.storage.transaction import Transaction

__all__ = ["begin", "cancel", "fork", "set_paused", "start_many"]

_PAUSE = "UPDATE cases SET paused = ?, updated_at = ? WHERE tenant = ? AND case_id = ?"
_DRIVEN_BEFORE = "UPDATE cases SET epoch = 1 WHERE tenant = ? AND case_id = ?"
_FORGET = "DELETE FROM checkpoints WHERE tenant = ? AND thread_id = ? AND checkpoint_id > ?"
_ONE = "SELECT 1 FROM checkpoints WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ?"
_REDO = "DELETE FROM writes WHERE tenant = ? AND thread_id = ? AND checkpoint_id >= ?"

Entry = cases.Case | errors.InterlockError


async def start_many(
    services: Services,
    engine: EmbeddedEngine,
    entry: Registered,
    starts: Sequence[starting.Start],
    key: Callable[[Any], str] | None,
) -> list[Entry]:
    """Start a case per input, in order, once all are durable; an input that is refused gives its error."""
    prepared = [await _prepared(services, entry, start, key) for start in starts]
    written = await asyncio.shield(asyncio.gather(*(_written(services, engine, one) for one in prepared)))
    ids = [one for one in written if isinstance(one, str)]
    tenant = starts[0].tenant if starts else ""
    known = dict(zip(ids, await cases.read_all(services.db, tenant, ids), strict=True))
    return [known[one] if isinstance(one, str) else one for one in written]


async def _prepared(
    services: Services, entry: Registered, start: starting.Start, key: Callable[[Any], str] | None
) -> starting.Started | errors.InterlockError:
    try:
        return await starting.prepare(services, entry, replace(start, key=starting.derived("key", key, start.value)))
    except (errors.InputError, errors.GovernanceError) as exc:
        return exc


async def _written(
    services: Services, engine: EmbeddedEngine, started: starting.Started | errors.InterlockError
) -> str | errors.InterlockError:
    if isinstance(started, errors.InterlockError):
        return started
    try:
        return await begin(services, engine, started)
    except errors.InputError as exc:
        return exc


async def begin(services: Services, engine: EmbeddedEngine, started: starting.Started) -> str:
    """Make a start durable and queue its case; gives the case id. To be shielded: a commit outlives its caller."""
    case_id, seq = await services.db.commit(lambda tx: starting.write(tx, started))
    if seq is not None:
        engine.submit([started.ticket(seq)])
    return case_id


async def cancel(
    services: Services, engine: EmbeddedEngine, tenant: str, case_id: str, *, by: str, comment: str
) -> None:
    """End a case, with its open children; returns once what they did is undone, or waits for a person.

    Raises NotFound, Conflict when it has ended.
    """
    services.actors.get(by)
    error = {"code": "cancelled", "message": comment or f"cancelled by {by}"}
    ending = Ending("cancelled", {"by": by, "comment": comment}, error=error, by=by)
    stopped: list[str] = []
    while more := [one for one in await _family(services, tenant, case_id) if one not in stopped]:
        await asyncio.gather(*(engine.stop(one, drain=False) for one in more))
        stopped += more
    woken = await asyncio.shield(_cancelled(services, engine, tenant, case_id, ending))
    await engine.wait(tenant, woken, "settled", None)


async def _family(services: Services, tenant: str, case_id: str) -> list[str]:
    return await services.db.read(lambda tx: cases.family(tx, tenant, case_id))


async def _cancelled(
    services: Services, engine: EmbeddedEngine, tenant: str, case_id: str, ending: Ending
) -> list[str]:
    """One commit for the whole family; what is to be wound up is queued, and given."""

    def unit(tx: Transaction) -> list[tuple[str, cases.Freed | None]]:
        _alive(tx, tenant, case_id)
        family = reversed(cases.family(tx, tenant, case_id))
        return [(one, close(tx, services, tenant, one, ending)) for one in family]

    closed = await services.db.commit(unit)
    for one, freed in closed:
        if freed is None:
            engine.wake(tenant, one)
        else:
            services.freed(tenant, freed)
            engine.tell(one, "cancelled")
    return [one for one, freed in closed if freed is None]


async def set_paused(services: Services, tenant: str, case_id: str, paused: bool, *, by: str, comment: str) -> bool:
    """Pause a case or let it go on; gives whether it can be driven now. Raises NotFound, Conflict when it has ended."""
    services.actors.get(by)
    at = clock.iso(services.clock.now())
    event = services.ledger.event(
        "case.paused" if paused else "case.resumed", tenant=tenant, case_id=case_id, actor=by,
        data={"by": by, "comment": comment}, at=at,
    )  # fmt: skip

    def change(tx: Transaction) -> bool:
        row = _alive(tx, tenant, case_id)
        if row["paused"] == cases.OUTSIDE:
            raise errors.Conflict(f"case {case_id} is not driven by the engine", "whoever drives it stops it")
        if bool(row["paused"]) != paused:
            tx.execute(_PAUSE, (cases.PAUSED if paused else 0, at, tenant, case_id))
            tx.append(event)
        return not paused and row["status"] in ("queued", "running")

    return await services.db.commit(change)


async def fork(
    services: Services,
    registry: Registry,
    tenant: str,
    case_id: str,
    *,
    checkpoint_id: str | None,
    by: str,
    comment: str,
) -> tuple[str, Ticket]:
    """A new case that goes on from a checkpoint of another, the latest without an id; its writing tools act in shadow.

    Raises NotFound (case, checkpoint, workflow), and Denied when `by` may not start cases of the workflow.
    """
    row = await services.db.read(lambda tx: cases.get(tx, tenant, case_id))
    if row is None:
        raise errors.NotFound(f"no case {case_id!r}", "see `interlock cases`")
    if not row["input_digest"]:
        raise errors.Conflict(f"case {case_id} was erased", "nothing is left to go on from")
    started = await _forked(services, registry.get(row["workflow"], row["version"]), row, by)
    event = services.ledger.event(
        "case.forked", tenant=tenant, case_id=case_id, actor=by,
        data={"by": by, "comment": comment, "checkpoint": checkpoint_id, "fork": started.new.case_id},
    )  # fmt: skip

    def write(tx: Transaction) -> int:
        _, seq = starting.write(tx, started)
        assert seq is not None, "a fork has no key"
        tx.execute(_DRIVEN_BEFORE, (tenant, started.new.case_id))
        _copy(tx, tenant, case_id, started.new.case_id, checkpoint_id)
        tx.append(event)
        return seq

    return started.new.case_id, started.ticket(await services.db.commit(write))


async def _forked(services: Services, entry: Registered, row: Row, by: str) -> starting.Started:
    """The new case: as the old one, started now by whoever forks it."""
    await starting.permitted(services, entry, starting.Start(None, row["tenant"], by, trusted=bool(row["trusted"])))
    now, workflow = services.clock.now(), entry.workflow
    new = cases.NewCase(
        tenant=row["tenant"],
        case_id=uuid7(int(now.timestamp() * 1000)),
        workflow=workflow.name,
        version=workflow.version,
        graph_digest=entry.digest,
        key=None,
        input_digest=row["input_digest"],
        input=orjson.loads(row["input"]),
        requester=by,
        trusted=bool(row["trusted"]),
        at=clock.iso(now),
        parent_id=row["case_id"],
        assign=orjson.loads(row["assign"]),
        snapshot=row["snapshot"],
        autonomy="shadow",
        due=clock.iso(now + workflow.sla) if workflow.sla else None,
    )
    return starting.Started(new, starting.event_of(new), ())


def _copy(tx: Transaction, tenant: str, source: str, target: str, checkpoint_id: str | None) -> None:
    """The thread up to a checkpoint; what was done from there on is done again."""
    thread_care.copy_thread(tx, tenant, source, target)
    if checkpoint_id is None:
        return
    if tx.row(_ONE, (tenant, target, checkpoint_id)) is None:
        raise errors.NotFound(f"case {source} has no checkpoint {checkpoint_id!r}", "see the case's history")
    tx.execute(_FORGET, (tenant, target, checkpoint_id))
    tx.execute(_REDO, (tenant, target, checkpoint_id))


def _alive(tx: Transaction, tenant: str, case_id: str) -> Row:
    row = cases.get(tx, tenant, case_id)
    if row is None:
        raise errors.NotFound(f"no case {case_id!r}", "see `interlock cases`")
    if row["status"] in cases.ENDED:
        raise errors.Conflict(f"case {case_id} has {row['status']}", "an ended case stays as it is; fork it")
    return row
