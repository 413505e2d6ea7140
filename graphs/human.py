"""The human node of a task: the router picked a person, nobody could be picked, or the agent's work did not do."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic_core import to_jsonable_python

from interlock import clock, errors
from interlock.agents.output import accept
from interlock.graphs.drive import Here, at_node, item_id, site
from interlock.graphs.perform import contract_of, finish
from interlock.graphs.state import TASKS, TaskState, emitted, own
from interlock.graphs.task import TaskSpec
from interlock.ids import Reason
from interlock.oversight.escalation import opened
from interlock.oversight.inbox import Item
from interlock.oversight.policy import OPERATOR
from interlock.tools.gateway import DEV_USER
from interlock.tools.tool import performing

__all__ = ["person_node"]


def person_node(spec: TaskSpec) -> Any:
    """The node `<task>.person`."""

    async def person(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        async with at_node(config) as here:
            item = await _answered(here, spec, state)
            return emitted(state, _after(here, spec, state[TASKS][spec.name], item))

    return person


async def _answered(here: Here, spec: TaskSpec, state: dict[str, Any]) -> Item:
    """The item once a person has answered it; the answer is the row, whatever resumed the graph."""
    services, case = here.drive.services, here.drive.case
    actor = state[TASKS][spec.name]["actor"] or case.requester
    where = site(here, state, task=spec.name, actor=actor, allowed=frozenset())
    async with performing(services.gateway, where) as performance:
        item = await _known(here, _item(here, spec, state))
        while item.open:
            await performance.ask(item, performance.here())
            item = await services.inbox.get(item.id, tenant=case.tenant)
        return item


async def _known(here: Here, item: Item) -> Item:
    """The item as it lies in the inbox, or, before it was asked, as it will."""
    try:
        return await here.drive.services.inbox.get(item.id, tenant=item.tenant)
    except errors.NotFound:
        return item


def _item(here: Here, spec: TaskSpec, state: dict[str, Any]) -> Item:
    case, assigned = here.drive.case, state[TASKS][spec.name]
    problem, guest = assigned.get("problem") or {}, here.drive.claim.guest
    shown = to_jsonable_python(own(state), fallback=repr)
    due, chain = opened(spec.deadlines, here.now(), here.drive.services.actors.people(), f"role:{OPERATOR}")
    return Item(
        id=item_id(here, "person"),
        tenant=case.tenant,
        kind="exception" if problem else "task",
        case_id=case.case_id,
        workflow=case.workflow,
        task=spec.name,
        checkpoint_ns=here.ns,
        action={
            "skill": spec.skill,
            "roles": sorted(spec.roles),
            "instructions": spec.instructions,
            "money": None,
            "digest": "",
        },
        requester=case.requester,
        eligible=[DEV_USER] if guest else [],
        reasons=[Reason(problem["code"], problem["message"])] if problem else _why(assigned),
        evidence={"state": shown, "found": problem.get("found")},
        output_schema=spec.output.model_json_schema() if spec.output else None,
        assignee=None if problem else assigned["actor"],
        due=due,
        chain=chain,
        policy_version=here.drive.services.policies.version,
    )


def _why(assigned: TaskState) -> list[Reason]:
    return [Reason("router", why) for why in assigned["why"]]


def _after(here: Here, spec: TaskSpec, assigned: TaskState, item: Item) -> dict[str, Any]:
    decision = item.decision
    assert decision is not None, "an item that is no longer open, and no approval, has its decision"
    by, work = item.decided_by or "", _work_s(item)
    if decision.kind == "approve":
        finish(here, spec.name, assigned, "again", work, actor=by)
        return {TASKS: {spec.name: {"status": "again"}}}
    if decision.kind == "reject":
        finish(here, spec.name, assigned, "rejected", work, actor=by, error=decision.why)
        raise errors.Rejected(f"{by} gave up {spec.name!r}: {decision.why}", by=by, why=decision.why)
    return _output(here, spec, assigned, item)


def _output(here: Here, spec: TaskSpec, assigned: TaskState, item: Item) -> dict[str, Any]:
    """The person's output as a state update; what the task's own model does not take is asked again."""
    by, work, value = item.decided_by or "", _work_s(item), item.decision and item.decision.value
    try:
        update = accept(contract_of(spec), value).update
    except errors.OutputInvalid as exc:
        finish(here, spec.name, assigned, "failed", work, actor=by, error=str(exc))
        problem = {"code": exc.code, "message": exc.message, "found": value}
        return {TASKS: {spec.name: {"status": "escalated", "problem": problem}}}
    finish(here, spec.name, assigned, "done", work, actor=by)
    return {**update, TASKS: {spec.name: {"status": "done", "actor": by}}}


def _work_s(item: Item) -> float:
    """From claim to answer, in seconds; an item that nobody claimed counts none."""
    if item.claimed_at is None or item.decided_at is None:
        return 0.0
    return (clock.parse(item.decided_at) - clock.parse(item.claimed_at)).total_seconds()
