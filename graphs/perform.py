"""The work node of a task: the agent that the router picked performs it, and failures go to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from pydantic_core import to_jsonable_python

from interlock import errors
from interlock.agents.agent import Agent
from interlock.agents.call import Call
from interlock.agents.contract import Contract, Outcome
from interlock.agents.runtime import perform
from interlock.context.retrieve import Fact
from interlock.graphs.children import launcher
from interlock.graphs.drive import Here, at_node, site
from interlock.graphs.state import TASKS, TaskState, emitted, own, view
from interlock.graphs.task import TaskSpec
from interlock.storage.transaction import Transaction
from interlock.tools.facts import Found
from interlock.tools.site import CallSite
from interlock.tools.tool import governed_tool, performing

_STARTED = (
    "UPDATE tasks SET status = 'started', started_at = ? WHERE tenant = ? AND case_id = ? AND task = ? AND visit = ?"
)
_FINISHED = "UPDATE tasks SET status = ?, finished_at = ? WHERE tenant = ? AND case_id = ? AND task = ? AND visit = ?"


def work_node(spec: TaskSpec, schema: type[Any]) -> Any:
    """The node `<task>`. A failure of ours leaves the task escalated, with everything found, for the human node."""

    async def work(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        async with at_node(config) as here:
            return emitted(state, await _worked(here, spec, schema, state))

    return work


async def _worked(here: Here, spec: TaskSpec, schema: type[Any], state: dict[str, Any]) -> dict[str, Any]:
    assigned = state[TASKS][spec.name]
    began = _begin(here, spec, assigned)
    try:
        outcome = await _perform(here, spec, schema, state)
    except errors.StorageError:
        raise
    except errors.InterlockError as exc:
        return _escalated(here, spec, assigned, began, exc)
    finish(here, spec.name, assigned, "done", _since(here, began))
    return {**outcome.update, TASKS: {spec.name: {"status": "done"}}}


async def _perform(here: Here, spec: TaskSpec, schema: type[Any], state: dict[str, Any]) -> Outcome:
    actor = _agent(here, spec, state)
    where = site(here, state, task=spec.name, actor=actor.id, allowed=spec.allowed)
    where = replace(where, shown={n: to_jsonable_python(state[n], fallback=repr) for n in spec.show if n in state})
    call = _call(here, spec, where, actor)
    seen = view(schema, state) if actor.kind == "code" else own(state)
    async with performing(here.drive.services.gateway, where):
        return await perform(actor, contract_of(spec), seen, call)


def _agent(here: Here, spec: TaskSpec, state: dict[str, Any]) -> Agent:
    """Who performs it. Of a code task with several versions each runs its own code."""
    actor = here.drive.services.actors.get(cast("str", state[TASKS][spec.name]["actor"]))
    assert isinstance(actor, Agent), "the router sends people to the human node"
    return replace(actor, run=spec.run) if spec.run is not None else actor


def _call(here: Here, spec: TaskSpec, where: CallSite, actor: Agent) -> Call:
    services, case = here.drive.services, here.drive.case

    async def retrieve(text: str, k: int, filters: Mapping[str, Any] | None) -> Any:
        facts = await services.context.query(
            text, k=k, actor=actor, tenant=case.tenant, snapshot=case.snapshot, where=filters
        )
        here.learn([document(fact, here.stamp()) for fact in facts])
        return facts

    return Call(
        case_id=case.case_id,
        task=spec.name,
        actor=actor.id,
        requester=case.requester,
        tenant=case.tenant,
        clock=services.clock,
        models=services.models,
        governed=lambda name: governed_tool(services.tools.get(name)),
        retrieve=retrieve,
        launch=launcher(here, where),
        ledger=services.ledger,
        deadline=case.due,
    )


def document(fact: Fact, at: str) -> Found:
    """A retrieved fact as the case keeps it."""
    value, name = {"title": fact.title, "text": fact.text}, f"{fact.source}/{fact.document_id}"
    return Found("document", name, value, at, fact.version, fact.as_of, fact.trust, fact.labels, fact.hash)


def _begin(here: Here, spec: TaskSpec, assigned: TaskState) -> datetime:
    here.note("task.started", actor=assigned["actor"] or "", task=spec.name, visit=assigned["visit"])
    return here.now()


def _since(here: Here, began: datetime) -> float:
    return (here.now() - began).total_seconds()


def finish(
    here: Here, task: str, assigned: TaskState, status: str, work_s: float, *, actor: str = "", error: str | None = None
) -> None:
    """Record how a performance of a task ended, and how many seconds of work it took."""
    who = actor or assigned["actor"] or ""
    here.note("task.finished", actor=who, task=task, visit=assigned["visit"], status=status, work_s=work_s, error=error)
    case, at = here.drive.case, here.stamp()
    params = (status, at, case.tenant, case.case_id, task, assigned["visit"])

    def finished(tx: Transaction) -> None:
        tx.execute(_FINISHED, params)

    here.later(finished)


def _escalated(
    here: Here, spec: TaskSpec, assigned: TaskState, began: datetime, exc: errors.InterlockError
) -> dict[str, Any]:
    finish(here, spec.name, assigned, "failed", _since(here, began), error=f"{exc.code}: {exc}")
    found = to_jsonable_python(getattr(exc, "found", None), fallback=repr)
    problem = {"code": exc.code, "message": str(exc), "found": found}
    return {TASKS: {spec.name: {"status": "escalated", "problem": problem}}}


def contract_of(spec: TaskSpec) -> Contract:
    """The task as an agent sees it."""
    return Contract(
        task=spec.name,
        skill=spec.skill,
        instructions=spec.instructions,
        output=spec.output,
        into=spec.into,
        tools=spec.tools,
        context=spec.context,
        budget=spec.budget,
        min_confidence=spec.min_confidence,
    )
