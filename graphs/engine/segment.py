"""A segment: one claim on a case, driven until nothing in it is runnable. Every engine drives cases through here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from langgraph.errors import GraphDrained
from langgraph.types import Command, GraphOutput, Interrupt
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from interlock import clock, errors
from interlock.graphs import cases
from interlock.graphs.cases import CHILD, HOLD
from interlock.graphs.drive import Drive, info_of, inside
from interlock.graphs.engine.ending import ENDING, Ending, end, wind_up, write_left
from interlock.graphs.engine.foreign import foreign_id, foreign_item, resume_value, understands_no
from interlock.graphs.engine.timers import arm
from interlock.graphs.state import view
from interlock.observability import trace
from interlock.oversight import holds
from interlock.storage.claim import Claim

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.runtime import RunControl

    from interlock.graphs.registry import Registered, Registry
    from interlock.graphs.services import Services
    from interlock.storage.database import Reader, Row
    from interlock.storage.transaction import Transaction

_ITEM = "SELECT status, decision, decided_by FROM inbox WHERE tenant = ? AND case_id = ? AND id = ?"
_CLOSED = frozenset({"decided", "completed", "expired"})
_ROUNDS = 1000


@dataclass(frozen=True)
class Segment:
    """One claim: the case's row as claimed, its workflow, and the claim that every commit carries."""

    services: Services
    entry: Registered
    row: Row
    claim: Claim

    @property
    def config(self) -> RunnableConfig:
        limit = max(10_000, 20 * len(self.entry.graph.nodes))
        tags = trace.run_config(
            self.services.settings, workflow=self.row["workflow"], version=self.row["version"],
            case_id=self.claim.case_id, tenant=self.claim.tenant,
        )  # fmt: skip
        return {"configurable": {"thread_id": self.claim.case_id}, "recursion_limit": limit, **tags}  # type: ignore[typeddict-item]  # keys of a config

    def stamp(self) -> str:
        return clock.iso(self.services.clock.now())


async def advance(services: Services, registry: Registry, tenant: str, case_id: str, control: RunControl) -> str:
    """Claim a case, if it is to be driven, and drive it; returns its status afterwards.

    Raises StorageError when a commit failed: the case then stands at its last durable step and can be claimed again.
    """
    at = clock.iso(services.clock.now())
    row, claimed = await services.db.commit(lambda tx: cases.claim(tx, tenant, case_id, at))
    if row is None or not claimed:
        return "gone" if row is None else str(row["status"])
    claim, entry = Claim(tenant, case_id, row["epoch"]), registry.find(row["workflow"], row["version"])
    if obstacle := "" if row["ending"] else _obstacle(services, entry, row):
        return await _park(services, claim, obstacle)
    about = {"case_id": case_id, "version": row["version"], "tenant": tenant, "epoch": row["epoch"]}
    drive = _drive_of(services, entry, row, claim)
    with inside(drive), trace.invoke_workflow(row["workflow"], **about):
        try:
            status = await _go(drive, entry, row, control)
        except asyncio.CancelledError:
            await asyncio.shield(_flush(services, claim))
            raise
    return await advance(services, registry, tenant, case_id, control) if status == ENDING else status


async def _go(drive: Drive, entry: Registered | None, row: Row, control: RunControl) -> str:
    """Drive the graph; a case that is to end needs none, it is wound up."""
    if row["ending"]:
        return await wind_up(drive, Ending(**orjson.loads(row["ending"])), control)
    assert entry is not None, "without its workflow a case waits"
    return await _drive(Segment(drive.services, entry, row, drive.claim), control)


def _drive_of(services: Services, entry: Registered | None, row: Row, claim: Claim) -> Drive:
    owner, asking = (entry.workflow.owner, entry.workflow.asking) if entry is not None else ("", None)
    assign, value = orjson.loads(row["assign"] or b"{}"), orjson.loads(row["input"] or b"null")
    return Drive(services, info_of(row, owner, assign, value, asking), claim)


async def _drive(segment: Segment, control: RunControl) -> str:
    answers, finished = await _where_it_stands(segment)
    if finished is not None:
        return await _complete(segment, finished)
    for _ in range(_ROUNDS):
        try:
            out = await _invoke(segment, control, answers)
        except GraphDrained:
            return await _set(segment, "queued")
        except errors.StorageError:
            raise
        except Exception as exc:  # whatever user code raises ends this case, not the engine
            return await _fail(segment, exc)
        if not out.interrupts:
            return await _complete(segment, out.value)
        answers = await _settle(segment, out.interrupts, out.value)
        if not answers:
            return "waiting"
        segment.claim.rewind()
    return await _fail(segment, errors.AgentFailed("the same questions came back again and again", "see the inbox"))


async def _invoke(segment: Segment, control: RunControl, answers: Mapping[str, Any]) -> GraphOutput[Any]:
    """One run of the graph, resumed with the answers that are there. Raises Rejected for a no to a plain node."""
    if refused := [answer for answer in answers.values() if isinstance(answer, errors.Rejected)]:
        raise refused[0]
    command: Command[Any] | None = Command(resume=dict(answers)) if answers else None
    graph, shown = segment.entry.graph, list(segment.entry.graph.stream_channels_list)
    out = await graph.ainvoke(command, segment.config, version="v2", control=control, output_keys=shown)
    if segment.claim.poison is not None:
        raise errors.Stale(f"a write of the case failed: {segment.claim.poison.message}") from segment.claim.poison
    return out


async def _where_it_stands(segment: Segment) -> tuple[dict[str, Any], Any]:
    """The answers to resume the graph with, and its values when the thread has already finished."""
    if segment.row["epoch"] == 1:
        return {}, None
    snapshot = await segment.entry.graph.aget_state(segment.config)
    if not snapshot.tasks:  # not `next`: it leaves out a task whose writes are durable and not applied yet
        return {}, snapshot.values
    interrupts = [i for task in snapshot.tasks for i in task.interrupts]
    return await segment.services.db.read(lambda tx: _answers(tx, segment.claim, interrupts)), None


def _answers(tx: Reader, claim: Claim, interrupts: Sequence[Interrupt]) -> dict[str, Any]:
    """By interrupt id, the answers that are there. Governed nodes read the row; foreign ones take the value."""
    found = ((interrupt.id, _answer(tx, claim, interrupt)) for interrupt in interrupts)
    return {id_: answer for id_, answer in found if answer is not None}


def _answer(tx: Reader, claim: Claim, interrupt: Interrupt) -> Any:
    ours = _ours(tx, claim, interrupt)
    if ours is not None and ours.startswith(CHILD):
        child = cases.get(tx, claim.tenant, ours.removeprefix(CHILD))
        return True if child is not None and child["status"] in cases.ENDED else None
    if ours is not None and ours.startswith(HOLD):
        return holds.over(tx, claim.tenant, claim.case_id, ours.removeprefix(HOLD)) or None
    row = tx.row(_ITEM, (claim.tenant, claim.case_id, ours or foreign_id(claim.case_id, interrupt)))
    if row is None or row["status"] not in _CLOSED:
        return None
    decision = orjson.loads(row["decision"]) if row["decision"] else {"kind": row["status"]}
    if ours is not None:
        return decision
    if decision["kind"] == "reject" and not understands_no(interrupt.value):
        return errors.Rejected(f"{row['decided_by']} said no: {decision['why']}", why=decision["why"])
    return resume_value(interrupt.value, decision)


def _ours(tx: Reader, claim: Claim, interrupt: Interrupt) -> str | None:
    """The item, child or hold of this case that an interrupt names; None for a plain node's, whatever it says."""
    item = item_of(interrupt)
    if item is None:
        return None
    if item.startswith(CHILD):
        child = cases.get(tx, claim.tenant, item.removeprefix(CHILD))
        return item if child is not None and child["parent_id"] == claim.case_id else None
    if item.startswith(HOLD):
        known = holds.over(tx, claim.tenant, claim.case_id, item.removeprefix(HOLD))
        return item if known is not None else None
    return item if tx.row(_ITEM, (claim.tenant, claim.case_id, item)) is not None else None


def item_of(interrupt: Interrupt) -> str | None:
    """The inbox item, child case or hold that an interrupt names."""
    value = interrupt.value
    ours = value.get("interlock") if isinstance(value, Mapping) else None
    return str(ours["item"]) if isinstance(ours, Mapping) and "item" in ours else None


async def _settle(segment: Segment, interrupts: Sequence[Interrupt], values: Any) -> dict[str, Any]:
    """Set the case to waiting, unless an answer has arrived meanwhile: then give the answers there are."""
    tenant, case_id, at = segment.claim.tenant, segment.claim.case_id, segment.stamp()
    leases, again = segment.services.gateway.leases, list[str]()
    so_far = to_jsonable_python(segment.entry.graph.shown(dict(values)), fallback=repr)

    def settle(tx: Transaction) -> dict[str, Any]:
        write_left(tx, segment.claim)
        named = [_ours(tx, segment.claim, interrupt) for interrupt in interrupts]
        for interrupt, ours in zip(interrupts, named, strict=True):
            if ours is None:
                foreign_item(segment.services, segment.row, interrupt)(tx)
        answers = _answers(tx, segment.claim, interrupts)
        if not answers:
            besides = [ours for ours in named if ours is not None and ours.startswith((CHILD, HOLD))]
            cases.set_status(tx, tenant, case_id, "waiting", at=at, reason=" ".join(besides) or None)
            cases.set_values(tx, tenant, case_id, so_far)
            arm(tx, tenant, case_id)
            again[:] = leases.unravel(tx, tenant, case_id, at) if any(one.startswith(CHILD) for one in besides) else ()
        return answers

    answers = await segment.services.db.commit(settle, claim=segment.claim)
    leases.notify(tenant, again)
    return answers


async def _complete(segment: Segment, values: Any) -> str:
    try:
        result, measures = _result(segment, dict(values))
    except ValidationError as exc:
        return await _fail(segment, errors.OutputInvalid(f"the result does not fit the output schema: {exc}"))
    except Exception as exc:  # `measures` is the workflow's own code
        return await _fail(segment, exc)
    data = {"cycle_s": _cycle(segment), "sla_met": _sla_met(segment), "measures": measures}
    return await end(segment.services, segment.claim, Ending("completed", data, result))


def _result(segment: Segment, state: dict[str, Any]) -> tuple[Any, dict[str, float]]:
    """What a finished case gives, as JSON values, and what it measures."""
    workflow, result = segment.entry.workflow, segment.entry.graph.shown(state)
    checked = workflow.result_type.model_validate(result) if workflow.result_type else result
    measured = workflow.measures(view(workflow.schema, state)) if workflow.measures else {}
    return to_jsonable_python(checked, fallback=repr), {name: float(value) for name, value in measured.items()}


async def _fail(segment: Segment, exc: Exception) -> str:
    code = exc.code if isinstance(exc, errors.InterlockError) else type(exc).__name__
    message = str(exc) or type(exc).__name__
    data = {"code": code, "message": message, "cycle_s": _cycle(segment)}
    return await end(segment.services, segment.claim, Ending("failed", data, error={"code": code, "message": message}))


async def _set(segment: Segment, status: str, reason: str | None = None) -> str:
    tenant, case_id, at = segment.claim.tenant, segment.claim.case_id, segment.stamp()

    def change(tx: Transaction) -> None:
        write_left(tx, segment.claim)
        cases.set_status(tx, tenant, case_id, status, at=at, reason=reason)

    await segment.services.db.commit(change, claim=segment.claim)
    return status


def _obstacle(services: Services, entry: Registered | None, row: Row) -> str:
    """Why a case cannot be driven now; empty when it can."""
    which, targets = f"workflow {row['workflow']} version {row['version']}", [f"workflow:{row['workflow']}"]
    if entry is None:
        return f"{which} is not registered"
    if entry.digest != row["graph_digest"]:
        return f"{which} has another structure than the case began with"
    if missing := entry.missing(services.tools):
        return f"{which} needs tools that are not registered: {', '.join(missing)}"
    off = services.switches.state(row["tenant"], targets) == "off"
    return services.switches.why(row["tenant"], targets) if off else ""


async def _park(services: Services, claim: Claim, reason: str) -> str:
    """A case that cannot be driven now waits with that reason."""
    at = clock.iso(services.clock.now())
    await services.db.commit(
        lambda tx: cases.set_status(tx, claim.tenant, claim.case_id, "waiting", at=at, reason=reason), claim=claim
    )
    return "waiting"


async def _flush(services: Services, claim: Claim) -> None:
    """What tasks had noted before they were cancelled is kept."""
    if claim.poison is None:
        await services.db.commit(lambda tx: write_left(tx, claim), claim=claim)


def _cycle(segment: Segment) -> float:
    return (segment.services.clock.now() - clock.parse(segment.row["started_at"])).total_seconds()


def _sla_met(segment: Segment) -> bool | None:
    due = segment.row["due"]
    return None if due is None else segment.services.clock.now() <= clock.parse(due)
