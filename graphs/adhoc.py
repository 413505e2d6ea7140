"""Calls of tools from outside a node: each belongs to a case, its own of the built-in workflow `adhoc` if no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interlock import clock, errors
from interlock.graphs import cases, starting
from interlock.graphs.engine.ending import Ending, close, closing
from interlock.graphs.engine.timers import arm
from interlock.graphs.intake import drained
from interlock.ids import Reason, digest, keyed_id, uuid7
from interlock.tools.contract import ToolResult
from interlock.tools.site import CallSite

if TYPE_CHECKING:
    from interlock.graphs.registry import Registry
    from interlock.graphs.services import Services
    from interlock.storage.database import Reader, Row
    from interlock.storage.transaction import Transaction

__all__ = ["ADHOC", "OutsideCall", "call_tool"]

ADHOC = "adhoc"
_TASK = "SELECT 1 FROM tasks WHERE tenant = ? AND case_id = ? AND task = ? AND status IN ('routed', 'started')"
_RUNNING = "UPDATE cases SET status = 'running', updated_at = ? WHERE tenant = ? AND case_id = ?"


@dataclass(frozen=True)
class OutsideCall:
    """What a caller asks for; see `ControlPlane.call_tool`."""

    tenant: str
    name: str
    args: Mapping[str, Any]
    actor: str
    case_id: str | None = None
    task: str | None = None
    approval: str | None = None
    key: str | None = None


async def call_tool(services: Services, registry: Registry, call: OutsideCall) -> ToolResult:
    """Call a tool. Raises StorageError only: what is not let through is a result."""
    task = None if call.task is None else _text(call.task)
    call = replace(call, name=_text(call.name), actor=_text(call.actor), task=task)
    if not _is_key(call.key):
        return await _denied(services, call, "schema", f"key is {call.key!r}, no text that can be given again")
    if call.case_id is not None:
        refusal, row = await services.db.read(lambda tx: _in_case(tx, registry, call))
        if row is None or refusal is not None:
            return await _denied(services, call, "scope", refusal or f"there is no case {call.case_id!r}", row)
        apart = await services.db.read(lambda tx: cases.worked_on(tx, call.tenant, row["case_id"]))
        result = await _through(services, call, _site(services, registry, call, row, apart - {call.actor}))
        if result.status == "asked":
            await services.db.commit(lambda tx: arm(tx, call.tenant, row["case_id"]))
        return result
    case, fresh = await _own_case(services, call)
    why = _drained(services, call) if fresh else ""
    if why:
        result = await _denied(services, call, "switch", why, case)
    else:
        result = await _through(services, call, _site(services, registry, call, case))
    # A wrong call with the approval of another one leaves that one's case alone.
    if fresh or result.rejected_by or result.status != "denied":
        await _settle(services, case, result)
    return result


def _drained(services: Services, call: OutsideCall) -> str:
    """The switch for which a call begins no case of its own; one that was made before goes on."""
    tool = services.tools.get(call.name) if call.name in services.tools else None
    targets = [call.actor, f"tool:{call.name}", f"workflow:{ADHOC}"]
    return drained(services, call.tenant, targets + ([f"system:{tool.system}"] if tool and tool.system else []))


def _text(value: Any) -> str:
    """Anything as text that can be written down, so that a denial of it can be recorded."""
    return str(value).encode("utf-8", "replace").decode()


def _is_key(key: Any) -> bool:
    """Text that can be written down, a number, or none."""
    if isinstance(key, str):
        return key == _text(key)
    return key is None or (isinstance(key, int) and not isinstance(key, bool))


async def _through(services: Services, call: OutsideCall, site: CallSite) -> ToolResult:
    """A call without a key is a new one each time."""
    key = None if call.key is None else str(call.key)
    return await services.gateway.call(
        call.name, call.args, site, key=key, slot=uuid7() if key is None else key, approval=call.approval
    )


def _in_case(tx: Reader, registry: Registry, call: OutsideCall) -> tuple[str | None, Row | None]:
    """The case of a call, and why the call may not belong to it."""
    row = cases.get(tx, call.tenant, _text(call.case_id))
    if row is None:
        return None, None
    if row["status"] in cases.ENDED:
        return f"case {call.case_id} has {row['status']}", row
    if row["ending"] is not None:
        return f"case {call.case_id} is being ended", row
    if call.task is None:
        return None, row
    entry = registry.find(row["workflow"], row["version"])
    if entry is None or call.task not in entry.workflow.tasks:
        return f"{row['workflow']} has no task {call.task!r}", row
    is_open = tx.row(_TASK, (call.tenant, call.case_id, call.task)) is not None
    return (None if is_open else f"task {call.task!r} of case {call.case_id} is not open"), row


def _site(
    services: Services, registry: Registry, call: OutsideCall, row: Row, apart: frozenset[str] = frozenset()
) -> CallSite:
    """The place of a call outside a node: no namespace, so that it waits for nobody."""
    entry = registry.find(row["workflow"], row["version"])
    task = entry.workflow.tasks.get(call.task or "") if entry is not None else None
    return CallSite(
        tenant=call.tenant,
        case_id=row["case_id"],
        workflow=row["workflow"],
        version=row["version"],
        task=call.task or "",
        visit=1,
        actor=call.actor,
        requester=row["requester"],
        preparers=apart,
        owner=entry.workflow.owner if entry is not None else "",
        allowed=task.allowed if task is not None else None,
        ns="",
        attempt=1,
        snapshot=row["snapshot"] or 0,
        autonomy=row["autonomy"],
        guest=False,
        trusted=bool(row["trusted"]),
        deadline=None,
        asking=entry.workflow.asking if entry is not None else None,
    )


async def _own_case(services: Services, call: OutsideCall) -> tuple[Row, bool]:
    """The case of this call, and whether it is new: that of its approval, that of its key, or one of its own."""
    case_id = await _known(services, call)
    new = _new_case(services, call, case_id)
    started = starting.Started(new, starting.event_of(new), ())

    def take(tx: Transaction) -> tuple[Row, bool]:
        known = cases.get(tx, call.tenant, case_id)
        if known is not None:
            return known, False
        starting.write(tx, started)
        tx.execute(_RUNNING, (new.at, call.tenant, case_id))
        row = cases.get(tx, call.tenant, case_id)
        assert row is not None, "it was just written"
        return row, True

    return await services.db.commit(take)


async def _known(services: Services, call: OutsideCall) -> str:
    if call.approval is not None:
        try:
            item = await services.inbox.get(_text(call.approval), tenant=call.tenant)
        except errors.NotFound:
            return uuid7()  # the gateway says no to it
        return item.case_id if item.workflow == ADHOC else uuid7()
    return keyed_id(call.tenant, ADHOC, call.actor, call.name, str(call.key)) if call.key is not None else uuid7()


def _new_case(services: Services, call: OutsideCall, case_id: str) -> cases.NewCase:
    asked = {"tool": call.name, "actor": call.actor}
    return cases.NewCase(
        tenant=call.tenant,
        case_id=case_id,
        workflow=ADHOC,
        version="1",
        graph_digest="",
        key=None,
        input_digest=digest(asked),
        input=asked,
        requester=asked["actor"],
        trusted=not asked["actor"].startswith("agent:"),
        at=clock.iso(services.clock.now()),
        paused=cases.OUTSIDE,
    )


async def _settle(services: Services, case: Row, result: ToolResult) -> None:
    """The case waits with the question, or ends with the call; only its first end is recorded."""
    tenant, case_id, ending = case["tenant"], case["case_id"], _ending(services, case, result)

    def settle(tx: Transaction) -> cases.Freed | None:
        row = cases.get(tx, tenant, case_id)
        if row is None or row["status"] in cases.ENDED or row["ending"] is not None:
            return cases.Freed([], None)
        if result.status not in ("asked", "unknown"):
            return close(tx, services, tenant, case_id, ending)
        cases.set_status(tx, tenant, case_id, "waiting", at=clock.iso(services.clock.now()))
        arm(tx, tenant, case_id)
        return cases.Freed([], None)

    if await asyncio.shield(closing(services, tenant, settle)) is None:
        services.wake(tenant, case_id)


def _ending(services: Services, case: Row, result: ToolResult) -> Ending:
    """How the case of a call ends with it."""
    cycle = {"cycle_s": (services.clock.now() - clock.parse(case["started_at"])).total_seconds()}
    if result.status == "done":
        return Ending("completed", {"sla_met": None, "measures": {}, **cycle}, {"result": result.value})
    why = {"code": result.status, "message": result.error or "; ".join(r.text for r in result.reasons)}
    return Ending("failed", {**why, **cycle}, error=why)


async def _denied(services: Services, call: OutsideCall, check: str, text: str, row: Row | None = None) -> ToolResult:
    """A no before the gateway, recorded like one of its own."""
    reason, version = Reason(f"gateway.{check}", text), services.policies.version
    data: dict[str, Any] = {
        "tool": call.name, "task": call.task or "", "actor": call.actor, "decision": "denied",
        "reasons": [list(reason)], "policy_version": version, "digest": "", "effect_key": "", "money": None,
        "approvals": {}, "item": None, "request": None,
    }  # fmt: skip
    case_id = row["case_id"] if row is not None else None
    event = services.ledger.event("policy.decided", tenant=call.tenant, case_id=case_id, actor=call.actor, data=data)
    await services.ledger.record(event)
    return ToolResult("denied", reasons=[reason], policy_version=version)
