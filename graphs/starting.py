"""Starting a case: case row, ledger event and first checkpoint are one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from interlock import clock, errors
from interlock.graphs import cases
from interlock.graphs.engine.queue import Ticket
from interlock.graphs.intake import closed
from interlock.graphs.registry import Registered
from interlock.graphs.services import Services
from interlock.graphs.workflow import OnDuplicate, Workflow
from interlock.ids import check_actor, digest, keyed_id, uuid7
from interlock.storage.chain import Event
from interlock.storage.claim import TENANT, Apply
from interlock.storage.transaction import Transaction

__all__ = ["Start", "Started", "derived", "event_of", "new_case", "permitted", "prepare", "write"]

_PRIORITIES = 2**31
_OPEN = (
    "SELECT case_id FROM cases WHERE tenant = ? AND workflow = ? AND object = ?"
    " AND status NOT IN ('completed', 'failed', 'cancelled') ORDER BY seq LIMIT 1"
)
_SET_OBJECT = "UPDATE cases SET object = ? WHERE tenant = ? AND case_id = ?"


@dataclass(frozen=True)
class Start:
    """What a caller asks for; see `ControlPlane.start`."""

    value: Any
    tenant: str
    requester: str
    key: str | None = None
    priority: int = 0
    trusted: bool = True
    at: datetime | None = None
    assign: Mapping[str, str] | None = None
    parent: str | None = None
    autonomy: str = "autonomous"


@dataclass(frozen=True)
class Started:
    """A start that is ready to be written: one unit."""

    new: cases.NewCase
    event: Event
    checkpoint: tuple[Apply, ...]
    object: str | None = None
    on_duplicate: OnDuplicate = "allow"

    def ticket(self, seq: int) -> Ticket:
        new = self.new
        return Ticket(seq, new.case_id, new.tenant, new.priority, new.sequence)


async def prepare(services: Services, entry: Registered, start: Start) -> Started:
    """Validate input and permission, and build the unit. Raises InputError, Denied, NotFound."""
    _check(start, entry, services.clock.now())
    value = entry.checked(start.value)
    await permitted(services, entry, start)
    new = await new_case(services, entry, start, value)
    checkpoint, workflow = await _first_checkpoint(services, entry, new, entry.as_state(value)), entry.workflow
    return Started(new, event_of(new), checkpoint, _object(workflow, value), workflow.on_duplicate)


def _check(start: Start, entry: Registered, now: datetime) -> None:
    """Raises InputError on options that cannot be meant."""
    if not isinstance(start.priority, int) or abs(start.priority) >= _PRIORITIES:
        raise errors.InputError(f"priority is {start.priority!r}", "give a small integer; higher goes first")
    if start.at is not None and not _past(start.at, now):
        raise errors.InputError(f"at is {start.at!r}", "give an aware datetime that is not after the plane's clock")
    if not isinstance(start.assign or {}, Mapping):
        raise errors.InputError(f"assign is {start.assign!r}", 'write assign={"task": "person:ana"}')
    for task, actor in (start.assign or {}).items():
        if task not in entry.workflow.tasks:
            raise errors.InputError(f"{entry.workflow.name!r} has no task {task!r}", f"{sorted(entry.workflow.tasks)}")
        check_actor(actor)


def _past(at: Any, now: datetime) -> bool:
    return isinstance(at, datetime) and at.tzinfo is not None and at <= now


def event_of(new: cases.NewCase) -> Event:
    """The ledger's record of a start."""
    data = {
        "workflow": new.workflow, "version": new.version, "graph_digest": new.graph_digest, "key": new.key,
        "input_digest": new.input_digest, "requester": new.requester, "parent": new.parent_id,
        "priority": new.priority, "trusted": new.trusted, "due": new.due, "sequence": new.sequence,
    }  # fmt: skip
    return Event("case.started", new.tenant, new.case_id, new.requester, data, new.at, f"{new.case_id}:start")


def write(tx: Transaction, started: Started) -> tuple[str, int | None]:
    """Write a start; gives the case id, and its seq, or None when there is a case already that it comes to.

    Raises Conflict for a known key with another input, and for an object with an open case where that is not allowed.
    """
    new = started.new
    if new.key is not None and (row := cases.known(tx, new)) is not None:
        return cases.same_start(row, new), None
    twin = _open_case(tx, started)
    if twin is not None and started.on_duplicate == "join":
        return twin, None
    if twin is not None and started.on_duplicate == "reject":
        raise errors.Conflict(f"case {twin} of {new.workflow!r} on {started.object} is open", "wait until it has ended")
    seq = tx.append(_about(started, twin))
    assert seq is not None, "a case id is new"
    cases.insert(tx, new, seq)
    if started.object is not None:
        tx.execute(_SET_OBJECT, (started.object, new.tenant, new.case_id))
    for apply in started.checkpoint:
        apply(tx)
    return new.case_id, seq


def _object(workflow: Workflow, value: Any) -> str | None:
    """What a case is about, if anything. Raises InputError when `object=` fails, or gives no text."""
    if workflow.object is None or value is None:
        return None
    try:
        about = workflow.object(value)
    except Exception as exc:
        raise errors.InputError(f"object= does not take this input: {exc!r}", "correct either") from exc
    if about is not None and not isinstance(about, str):
        raise errors.InputError(f"object= gave {about!r}", 'give text, as "asset/7", or None')
    return about or None


def _open_case(tx: Transaction, started: Started) -> str | None:
    """The oldest open case of the workflow on the same object."""
    new = started.new
    row = None if started.object is None else tx.row(_OPEN, (new.tenant, new.workflow, started.object))
    return None if row is None else str(row["case_id"])


def _about(started: Started, twin: str | None) -> Event:
    """The ledger's record of a start, with the object it is about and the case that is open on it already."""
    event = started.event
    if started.object is None:
        return event
    return replace(event, data={**event.data, "object": started.object, "duplicate_of": twin})


async def permitted(services: Services, entry: Registered, start: Start) -> None:
    """Raises Denied, recorded, when the requester may not start the workflow, or it takes no new cases; NotFound.

    A child belongs to a case that is open already: it begins, and waits where something is off.
    """
    actor = services.actors.get(start.requester)
    facts = {"workflow": entry.workflow.name, "tenant": start.tenant, "requester": start.requester}
    verdict = services.verdict("case.start", actor, {**facts, "registered": True, "trusted": start.trusted})
    if not verdict.allowed:
        await _refused(services, start, verdict.reasons[0].text)
        raise errors.Denied(
            f"{actor.id} may not start {entry.workflow.name!r}: {'; '.join(r.text for r in verdict.reasons)}",
            "ask the owner of the workflow, or see `interlock policy explain`",
            reasons=verdict.reasons,
        )
    if start.parent is None and (why := closed(services, entry, start.tenant)):
        await _refused(services, start, why)
        raise errors.Denied(f"{entry.workflow.name!r} takes no new cases: {why}", "see `interlock switch`")


async def _refused(services: Services, start: Start, why: str) -> None:
    data = {"what": "case.start", "why": why}
    event = services.ledger.event("access.denied", tenant=start.tenant, actor=start.requester, data=data)
    await services.ledger.record(event)


async def new_case(services: Services, entry: Registered, start: Start, value: Any) -> cases.NewCase:
    """The row of a case that starts with a validated input, or, of a guest that goes on with a thread, with none."""
    workflow, as_json = entry.workflow, {} if value is None else entry.as_json(value)
    key = start.key if start.key is not None else derived("key", workflow.key, value)
    at = start.at or services.clock.now()
    return cases.NewCase(
        tenant=start.tenant,
        case_id=keyed_id(start.tenant, workflow.name, key) if key is not None else uuid7(int(at.timestamp() * 1000)),
        workflow=workflow.name,
        version=workflow.version,
        graph_digest=entry.digest,
        key=key,
        input_digest=digest(as_json),
        input=as_json,
        requester=start.requester,
        trusted=start.trusted and not start.requester.startswith("agent:"),
        at=clock.iso(at),
        parent_id=start.parent,
        priority=start.priority,
        sequence=derived("sequence", workflow.sequence, value),
        assign=start.assign or {},
        snapshot=await services.context.snapshot_at(at, start.tenant),
        autonomy=start.autonomy,
        due=clock.iso(at + workflow.sla) if workflow.sla else None,
    )


def derived(option: str, derive: Callable[[Any], str] | None, value: Any) -> str | None:
    """What a function of the workflow, or of the caller, makes of an input. Raises InputError when it fails."""
    if derive is None or value is None:
        return None
    try:
        return str(derive(value))
    except Exception as exc:
        raise errors.InputError(f"{option}= does not take this input: {exc!r}", "correct either") from exc


async def _first_checkpoint(
    services: Services, entry: Registered, new: cases.NewCase, state: dict[str, Any]
) -> tuple[Apply, ...]:
    """The input as LangGraph's first checkpoint, collected instead of committed."""
    config: Any = {"configurable": {"thread_id": new.case_id}}
    token = TENANT.set(new.tenant)
    try:
        async with services.saver.collecting() as applies:
            await entry.graph.aupdate_state(config, state, as_node="__input__")
        return tuple(applies)
    finally:
        TENANT.reset(token)
