"""How cases end. One that fails or is cancelled first finds out what it did outside, and undoes it, last effect first.

Until then its graph is no longer driven: `cases.ending` says how it is to end, and every engine goes on from what the
rows of `effects` and the answers of people say. One that completes with a call of which nobody knows finds out as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from interlock import clock
from interlock.graphs import cases
from interlock.graphs.engine.timers import arm
from interlock.tools import effects
from interlock.tools.compensation import key_of, stuck_id
from interlock.tools.gateway import passing
from interlock.tools.site import CallSite

if TYPE_CHECKING:
    from langgraph.runtime import RunControl

    from interlock.graphs.drive import Drive
    from interlock.graphs.services import Services
    from interlock.storage.claim import Claim
    from interlock.storage.database import Reader, Row
    from interlock.storage.transaction import Transaction
    from interlock.tools.contract import ToolResult

__all__ = ["ENDING", "Ending", "close", "closing", "end", "wind_up", "write_left"]

# What a drive gives whose case is to be wound up: it is claimed again for that.
ENDING = "ending"


class Ending(NamedTuple):
    """How a case ends: its status, the data of the event, its result or error, and who ended it.

    `effects` is what has become of its effects so far; see `Case`.
    """

    status: str
    data: dict[str, Any]
    result: Any = None
    error: Any = None
    by: str = ""
    effects: dict[str, Any] | None = None


class _Step(NamedTuple):
    """What comes next: `conclude` or `undo` an effect, `wait` for a person, or `end`."""

    kind: str
    row: Any = None
    turn: int = 0


def close(tx: Transaction, services: Services, tenant: str, case_id: str, ending: Ending) -> cases.Freed | None:
    """End a case; None when something is to be found out or undone first, which an engine then does."""
    at = clock.iso(services.clock.now())
    if _is_to_wind_up(tx, services, tenant, case_id, ending):
        cases.set_ending(tx, tenant, case_id, orjson.dumps(ending._asdict()), at=at)
        return None
    told = {} if ending.status == "completed" else _told(tx, services, tenant, case_id)
    event = services.ledger.event(
        f"case.{ending.status}", tenant=tenant, case_id=case_id, actor=ending.by, data={**ending.data, **told},
        identity=f"{case_id}:end", at=at,
    )  # fmt: skip
    tx.append(event)
    freed = services.gateway.leases.release_all(tx, tenant, case_id, at)
    parent = cases.end(
        tx, tenant, case_id, ending.status, at=at, result=ending.result, error=ending.error, effects=told
    )
    return cases.Freed(freed, parent)


def _is_to_wind_up(tx: Transaction, services: Services, tenant: str, case_id: str, ending: Ending) -> bool:
    if ending.status == "completed":
        return effects.has_open(tx, tenant, case_id)
    return _next(tx, services, tenant, case_id, ending).kind != "end"


async def end(services: Services, claim: Claim, ending: Ending) -> str:
    """End the case of a drive, or leave it to be wound up: its status then, or ENDING."""

    def unit(tx: Transaction) -> cases.Freed | None:
        write_left(tx, claim)
        return close(tx, services, claim.tenant, claim.case_id, ending)

    freed = await asyncio.shield(closing(services, claim.tenant, unit, claim))
    return ENDING if freed is None else ending.status


async def closing(
    services: Services,
    tenant: str,
    unit: Callable[[Transaction], cases.Freed | None],
    claim: Claim | None = None,
) -> cases.Freed | None:
    """Commit an end by `close`, and tell those who waited for it; to be shielded, so that both are done."""
    freed = await services.db.commit(unit, claim=claim)
    if freed is not None:
        services.freed(tenant, freed)
    return freed


def write_left(tx: Transaction, claim: Claim) -> None:
    """Write the rows that wait for no task any more."""
    for apply in claim.take_all():
        apply(tx)


async def wind_up(drive: Drive, ending: Ending, control: RunControl) -> str:
    """Find out and undo, one effect after the other, until the case can end or has to wait; gives its status."""
    services, tenant, case_id = drive.services, drive.case.tenant, drive.case.case_id
    await services.gateway.drain(case_id)
    while not control.drain_requested:
        step = await services.db.read(lambda tx: _next(tx, services, tenant, case_id, ending))
        if step.kind == "end":
            return await end(services, drive.claim, _as_of_now(drive, ending))
        if step.kind == "wait":
            if await _waits(drive, ending):
                return "waiting"
            continue
        ended = await _take(drive, step)
        if passing(ended) or (step.kind, ended.status) == ("conclude", "denied"):
            return await _park(drive, "; ".join(reason.text for reason in ended.reasons))
    return await _park(drive, None)


def _as_of_now(drive: Drive, ending: Ending) -> Ending:
    """The same end, with the time that it took to wind up."""
    cycle = (drive.services.clock.now() - drive.case.started_at).total_seconds()
    return ending._replace(data={**ending.data, "cycle_s": cycle} if "cycle_s" in ending.data else ending.data)


async def _take(drive: Drive, step: _Step) -> ToolResult:
    services, case = drive.services, drive.case
    who = await services.db.read(lambda tx: cases.worked_on(tx, case.tenant, case.case_id))
    site = _site(drive, step.row, who)
    if step.kind == "conclude":
        return await services.gateway.conclude(step.row, site)
    told = await services.db.read(lambda tx: _told(tx, services, case.tenant, case.case_id))
    return await services.gateway.undo(step.row, site, step.turn, told)


async def _waits(drive: Drive, ending: Ending) -> bool:
    """Set the case to waiting, unless people have answered meanwhile."""
    services, tenant, case_id = drive.services, drive.case.tenant, drive.case.case_id
    at = clock.iso(services.clock.now())

    def unit(tx: Transaction) -> bool:
        waits = _next(tx, services, tenant, case_id, ending).kind == "wait"
        if waits:
            told = _told(tx, services, tenant, case_id) if ending.status != "completed" else None
            cases.keep_ending(tx, tenant, case_id, orjson.dumps(ending._replace(effects=told)._asdict()))
            cases.set_status(tx, tenant, case_id, "waiting", at=at)
            arm(tx, tenant, case_id)
        return waits

    return await services.db.commit(unit, claim=drive.claim)


async def _park(drive: Drive, reason: str | None) -> str:
    """The case waits for what the plane lacks; without a reason the next engine takes it up."""
    claim, at = drive.claim, clock.iso(drive.services.clock.now())
    status = "queued" if reason is None else "waiting"
    await drive.services.db.commit(
        lambda tx: cases.set_status(tx, claim.tenant, claim.case_id, status, at=at, reason=reason), claim=claim
    )
    return status


def _next(tx: Reader, services: Services, tenant: str, case_id: str, ending: Ending) -> _Step:
    """The next step, by what is written: what happened is known before anything is undone, and order is kept."""
    left = effects.left_by(tx, tenant, case_id)
    asked = [row for row in left.open if _said(tx, services, tenant, row["effect_key"]) == "open"]
    for row in left.open:
        if row not in asked:
            return _Step("conclude", row)
    if asked:
        return _Step("wait")
    for row in left.done if ending.status != "completed" else ():
        step = None if row["effect_key"] in left.undone else _undoing(tx, services, tenant, row)
        if step is not None:
            return step
    return _Step("end")


def _undoing(tx: Reader, services: Services, tenant: str, row: Row) -> _Step | None:
    """How the undoing of an effect goes on; None when it stays, by its tool or by the word of a person."""
    if not _can_undo(services, row):
        return None
    turn, said = _standing(tx, services, tenant, row)
    if said is None:
        return _Step("undo", row, turn)
    return _Step("wait") if said == "open" else None


def _can_undo(services: Services, row: Row) -> bool:
    return row["tool"] in services.tools and services.tools.get(row["tool"]).compensate is not None


def _standing(tx: Reader, services: Services, tenant: str, row: Row) -> tuple[int, str | None]:
    """The turn in which an effect is being undone, and what was said of that: open, respond, reject; None: nothing."""
    turn = 0
    while (said := _said(tx, services, tenant, key_of(row["effect_key"], turn))) == "approve":
        turn += 1
    return turn, said


def _said(tx: Reader, services: Services, tenant: str, effect_key: str) -> str | None:
    """Whether a person has still to answer about a call (open), or the answer that ends its turn; None otherwise.

    That is any answer to a compensation that did not go through, and an answer instead of the call.
    """
    items = services.inbox.items_of(tx, tenant, effect_key)
    if any(item.open for item in items):
        return "open"
    for item in items:
        stuck, decision = item.id == stuck_id(effect_key), item.decision
        if decision is not None and (stuck or (item.kind, decision.kind) == ("approval", "respond")):
            return decision.kind
    return None


def _told(tx: Reader, services: Services, tenant: str, case_id: str) -> dict[str, Any]:
    """What of a case's effects is undone, what a person saw to, what is left, and what stays; nothing done, nothing."""
    left = effects.left_by(tx, tenant, case_id)
    told: dict[str, list[dict[str, Any]]] = {"compensated": [], "by_person": [], "remaining": [], "stays": []}
    for row in left.done:
        told[_fate(tx, services, tenant, row, left)].append({"tool": row["tool"], "effect_key": row["effect_key"]})
    return {name: rows for name, rows in told.items() if rows}


def _fate(tx: Reader, services: Services, tenant: str, row: Row, left: effects.Left) -> str:
    if row["effect_key"] in left.undone:
        return "compensated"
    if not _can_undo(services, row):
        return "stays"
    _, said = _standing(tx, services, tenant, row)
    return {"respond": "by_person", "reject": "stays"}.get(said or "", "remaining")


def _site(drive: Drive, row: Row, worked_on: frozenset[str]) -> CallSite:
    """The place of an effect, outside its node: what is asked is asked in the inbox at once."""
    case = drive.case
    return CallSite(
        tenant=case.tenant,
        case_id=case.case_id,
        workflow=case.workflow,
        version=case.version,
        task=row["task"] or "",
        visit=1,
        actor=row["actor"],
        requester=case.requester,
        preparers=worked_on - {row["actor"]},
        owner=case.owner,
        allowed=None,
        ns="",
        attempt=1,
        snapshot=case.snapshot,
        autonomy=case.autonomy,
        guest=False,
        trusted=case.trusted,
        deadline=None,
        asking=case.asking,
    )
