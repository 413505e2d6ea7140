"""The work node of a task: the agent that the router picked performs it, and failures go to a person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from pydantic_core import to_jsonable_python

from interlock import errors
from interlock.agents.agent import Agent
from interlock.agents.call import Call
from interlock.agents.contract import Contract, Outcome
from interlock.agents.runtime import perform
from interlock.graphs.children import launcher
from interlock.graphs.drive import Here, current, site
from interlock.graphs.state import TASKS, TaskState, emitted, own, view
from interlock.graphs.task import TaskSpec
from interlock.oversight.actors import Actor
from interlock.storage.transaction import Transaction
from interlock.tools.site import CallSite
from interlock.tools.tool import governed_tool, performing

_STATUS = "UPDATE tasks SET status = ?, {column} = ? WHERE tenant = ? AND case_id = ? AND task = ? AND visit = ?"


def work_node(spec: TaskSpec, schema: type[Any]) -> Any:
    """The node `<task>`. A failure of ours leaves the task escalated, with everything found, for the human node."""

    async def work(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        here = current(config)
        assigned = state[TASKS][spec.name]
        actor = here.drive.services.actors.get(cast("str", assigned["actor"]))
        began = _begin(here, spec, assigned)
        try:
            outcome = await _perform(here, spec, schema, state, actor)
        except (errors.GovernanceError, errors.ToolFailed, errors.UnknownOutcome, errors.AgentFailed) as exc:
            return emitted(state, _escalated(here, spec, assigned, began, exc))
        finish(here, spec.name, assigned, "done", began)
        return emitted(state, {**outcome.update, TASKS: {spec.name: {"status": "done"}}})

    return work


async def _perform(here: Here, spec: TaskSpec, schema: type[Any], state: dict[str, Any], actor: Actor) -> Outcome:
    assert isinstance(actor, Agent), "the router sends people to the human node"
    where = site(here, state, task=spec.name, actor=actor.id, allowed=frozenset(spec.tools) if spec.tools else None)
    call = _call(here, spec, where, actor)
    seen = view(schema, state) if actor.kind == "code" else own(state)
    async with performing(here.drive.services.gateway, where):
        return await perform(actor, contract_of(spec), seen, call)


def _call(here: Here, spec: TaskSpec, where: CallSite, actor: Actor) -> Call:
    services, case = here.drive.services, here.drive.case

    async def retrieve(text: str, k: int, filters: Mapping[str, Any] | None) -> Any:
        return await services.context.query(
            text, k=k, actor=actor, tenant=case.tenant, snapshot=case.snapshot, where=filters
        )

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


def _begin(here: Here, spec: TaskSpec, assigned: TaskState) -> datetime:
    here.note("task.started", actor=assigned["actor"] or "", task=spec.name, visit=assigned["visit"])
    return here.now()


def finish(
    here: Here, task: str, assigned: TaskState, status: str, began: datetime, *, actor: str = "", error: str | None = None
) -> None:
    """Record how a performance of a task ended; `began` is when its work began."""
    who = actor or assigned["actor"] or ""
    work = (here.now() - began).total_seconds()
    here.note(
        "task.finished", actor=who, task=task, visit=assigned["visit"], status=status, work_s=work, error=error
    )
    case, at = here.drive.case, here.stamp()
    params = (status, at, case.tenant, case.case_id, task, assigned["visit"])

    def finished(tx: Transaction) -> None:
        tx.execute(_STATUS.format(column="finished_at"), params)

    here.later(finished)


def _escalated(
    here: Here, spec: TaskSpec, assigned: TaskState, began: datetime, exc: errors.InterlockError
) -> dict[str, Any]:
    finish(here, spec.name, assigned, "failed", began, error=f"{exc.code}: {exc}")
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
