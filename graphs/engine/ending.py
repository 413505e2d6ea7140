"""How cases end. One that fails or is cancelled first finds out what it did outside, and undoes it, last effect first.

Until then it is no longer driven: `cases.ending` says how it is to end, and every engine goes on from what the rows of
`effects` and the answers of people say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
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

    from interlock.graphs.engine.segment import Segment
    from interlock.graphs.services import Services
    from interlock.storage.database import Reader, Row
    from interlock.storage.transaction import Transaction
    from interlock.tools.contract import ToolResult

__all__ = ["ENDING", "Ending", "close", "end", "wind_up", "write_left"]

# What a drive gives whose case is to be wound up: it is claimed again for that.
ENDING = "ending"
_OPEN = ("open", "claimed")
_ITEM = "SELECT status, decision FROM inbox WHERE tenant = ? AND id = ?"


class Ending(NamedTuple):
    """How a case ends: its status, the data of the event, its result or error, and who ended it."""

    status: str
    data: dict[str, Any]
    result: Any = None
    error: Any = None
    by: str = ""


class _Step(NamedTuple):
    """What comes next: `conclude` or `undo` an effect, `wait` for a person, or `end`."""

    kind: str
    row: Any = None
    turn: int = 0


def close(tx: Transaction, services: Services, tenant: str, case_id: str, ending: Ending) -> cases.Freed | None:
    """End a case; None when something is to be found out or undone first, which the engine then does."""
    at = clock.iso(services.clock.now())
    if ending.status != "completed" and _is_to_wind_up(tx, services, tenant, case_id):
        cases.set_ending(tx, tenant, case_id, orjson.dumps(ending._asdict()), at=at)
        return None
    told = {} if ending.status == "completed" else _told(tx, services, tenant, case_id)
    event = services.ledger.event(
        f"case.{ending.status}", tenant=tenant, case_id=case_id, actor=ending.by,
        data={**ending.data, **told}, identity=f"{case_id}:end", at=at,
    )  # fmt: skip
    tx.append(event)
    freed = services.gateway.leases.release_all(tx, tenant, case_id, at)
    parent = cases.end(tx, tenant, case_id, ending.status, at=at, result=ending.result, error=ending.error)
    return cases.Freed(freed, parent)


def _is_to_wind_up(tx: Transaction, services: Services, tenant: str, case_id: str) -> bool:
    """Whether there is something to do first, and an engine that does it: none drives the calls of guests."""
    row = cases.get(tx, tenant, case_id)
    driven = row is not None and row["paused"] != cases.OUTSIDE
    return driven and _next(tx, services, tenant, case_id).kind != "end"


async def end(segment: Segment, ending: Ending) -> str:
    """End the case of a drive, or leave it to be wound up."""
    claim, services = segment.claim, segment.services

    def unit(tx: Transaction) -> cases.Freed | None:
        write_left(tx, segment)
        return close(tx, services, claim.tenant, claim.case_id, ending)

    freed = await asyncio.shield(_free(segment, unit))
    return ENDING if freed is None else ending.status


async def _free(segment: Segment, unit: Callable[[Transaction], cases.Freed | None]) -> cases.Freed | None:
    """Commit the end, and tell those who waited for it; both, also when the drive is cancelled meanwhile."""
    freed = await segment.services.db.commit(unit, claim=segment.claim)
    if freed is not None:
        segment.services.freed(segment.claim.tenant, freed)
    return freed


def write_left(tx: Transaction, segment: Segment) -> None:
    for apply in segment.claim.take_all():
        apply(tx)


async def wind_up(segment: Segment, control: RunControl) -> str:
    """Find out and undo, one effect after the other, until the case can end or has to wait."""
    services, tenant, case_id = segment.services, segment.claim.tenant, segment.claim.case_id
    await services.gateway.drain(case_id=case_id)
    while not control.drain_requested:
        step = await services.db.read(lambda tx: _next(tx, services, tenant, case_id))
        if step.kind == "end":
            return await end(segment, Ending(**orjson.loads(segment.row["ending"])))
        if step.kind == "wait":
            if await _waits(segment):
                return "waiting"
            continue
        ended = await _take(segment, step)
        if passing(ended):
            return await _park(segment, "; ".join(reason.text for reason in ended.reasons))
    return await _park(segment, None)


async def _take(segment: Segment, step: _Step) -> ToolResult:
    gateway, site = segment.services.gateway, _site(segment, step.row)
    if step.kind == "conclude":
        return await gateway.conclude(step.row, site)
    claim, services = segment.claim, segment.services
    told = await services.db.read(lambda tx: _told(tx, services, claim.tenant, claim.case_id))
    return await gateway.undo(step.row, site, step.turn, told)


async def _waits(segment: Segment) -> bool:
    """Set the case to waiting, unless people have answered meanwhile."""
    tenant, case_id, services, at = segment.claim.tenant, segment.claim.case_id, segment.services, segment.stamp()

    def unit(tx: Transaction) -> bool:
        waits = _next(tx, services, tenant, case_id).kind == "wait"
        if waits:
            cases.set_status(tx, tenant, case_id, "waiting", at=at)
            arm(tx, tenant, case_id)
        return waits

    return await services.db.commit(unit, claim=segment.claim)


async def _park(segment: Segment, reason: str | None) -> str:
    """The case waits for what the plane lacks; without a reason the next engine takes it up."""
    claim, at, status = segment.claim, segment.stamp(), "queued" if reason is None else "waiting"
    await segment.services.db.commit(
        lambda tx: cases.set_status(tx, claim.tenant, claim.case_id, status, at=at, reason=reason), claim=claim
    )
    return status


def _next(tx: Reader, services: Services, tenant: str, case_id: str) -> _Step:
    """The next step, by what is written: what happened is known before anything is undone, and order is kept."""
    left = effects.left_by(tx, tenant, case_id)
    asked = {row["effect_key"]: _asked(tx, services, tenant, row["effect_key"]) for row in left.open}
    for row in left.open:
        if not asked[row["effect_key"]]:
            return _Step("conclude", row)
    if asked:
        return _Step("wait")
    for row in left.done:
        step = None if row["effect_key"] in left.undone else _undoing(tx, services, tenant, row)
        if step is not None:
            return step
    return _Step("end")


def _undoing(tx: Reader, services: Services, tenant: str, row: Row) -> _Step | None:
    """How the undoing of an effect goes on; None when it stays, by its tool or by the word of a person."""
    if not _can_undo(services, row):
        return None
    turn = 0
    while (said := _stuck(tx, tenant, row, turn)) is not None:
        if said == "open":
            return _Step("wait")
        if said != "approve":
            return None
        turn += 1
    return _Step("wait") if _asked(tx, services, tenant, key_of(row["effect_key"], turn)) else _Step("undo", row, turn)


def _can_undo(services: Services, row: Row) -> bool:
    return row["tool"] in services.tools and services.tools.get(row["tool"]).compensate is not None


def _asked(tx: Reader, services: Services, tenant: str, effect_key: str) -> bool:
    """Whether a person has still to answer about a call."""
    return any(item.status in _OPEN for item in services.inbox.items_of(tx, tenant, effect_key))


def _stuck(tx: Reader, tenant: str, row: Row, turn: int) -> str | None:
    """What was said of a compensation that did not go through: open, or a decision; None when nobody was asked."""
    item = tx.row(_ITEM, (tenant, stuck_id(key_of(row["effect_key"], turn))))
    if item is None:
        return None
    return str(orjson.loads(item["decision"])["kind"]) if item["decision"] else "open"


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
    if _can_undo(services, row) and _undoing(tx, services, tenant, row) is not None:
        return "remaining"
    said = next(said for turn in count() if (said := _stuck(tx, tenant, row, turn)) != "approve")
    return "by_person" if said == "respond" else "stays"


def _site(segment: Segment, row: Row) -> CallSite:
    """The place of an effect, outside its node: what is asked is asked in the inbox at once."""
    case = segment.row
    return CallSite(
        tenant=case["tenant"],
        case_id=case["case_id"],
        workflow=case["workflow"],
        version=case["version"],
        task=row["task"] or "",
        visit=1,
        actor=row["actor"],
        requester=case["requester"],
        preparers=frozenset(),
        owner=segment.entry.workflow.owner,
        allowed=None,
        ns="",
        attempt=1,
        snapshot=case["snapshot"] or 0,
        autonomy=case["autonomy"],
        guest=False,
        trusted=bool(case["trusted"]),
        deadline=None,
    )
