"""The router node of a task: gathers what the router needs to know, lets it choose, and records the choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from langchain_core.runnables import RunnableConfig

from interlock.agents.agent import Agent
from interlock.graphs.drive import Here, at_node, item_id
from interlock.graphs.router import Choice, Facts, choose
from interlock.graphs.state import TASKS, TaskState, emitted, view
from interlock.graphs.task import TaskSpec
from interlock.ids import canonical, digest
from interlock.oversight.actors import Actor, Person
from interlock.oversight.holds import HOLD, Hold
from interlock.oversight.switches import Switch, Switches
from interlock.storage.database import Reader
from interlock.storage.transaction import Transaction
from interlock.tools.waiting import rest

_LOAD = "SELECT actor, COUNT(*) AS n FROM tasks WHERE tenant = ? AND status IN ('routed', 'started') GROUP BY actor"
_ROUTED = (
    "INSERT INTO tasks (tenant, case_id, task, visit, checkpoint_ns, actor, kind, skill, status, reasons, routed_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'routed', ?, ?) ON CONFLICT (tenant, case_id, task, visit) DO NOTHING"
)


def route_node(spec: TaskSpec, schema: type[Any]) -> Any:
    """The node `<task>.route`."""

    async def route(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        visit = state.get(TASKS, {}).get(spec.name, {}).get("visit", 0) + 1
        async with at_node(config) as here:
            choice, off = await _choose(here, spec, view(schema, state))
            if choice.actor is None and off and not here.drive.claim.guest:
                _wait(here, spec, visit, choice, off[0])
            _record(here, spec, visit, choice)
        return emitted(state, {TASKS: {spec.name: _routed(visit, choice)}})

    return route


async def predicted(here: Here, spec: TaskSpec, state: Any) -> str:
    """Who would perform a task if it were routed now; for code tasks that is certain, unless a person has to."""
    choice, _ = await _choose(here, spec, state)
    return choice.actor or spec.code_actor


def _routed(visit: int, choice: Choice) -> TaskState:
    nobody = {"code": "no_actor", "message": "; ".join(choice.why), "found": choice.considered}
    return {
        "visit": visit,
        "actor": choice.actor,
        "kind": choice.kind if choice.actor else "person",
        "why": choice.why,
        "status": "routed",
        "problem": {} if choice.actor else nobody,
    }


async def _choose(here: Here, spec: TaskSpec, state: Any) -> tuple[Choice, list[Switch]]:
    """Who performs the task, and the switches that keep somebody from it who could."""
    services = here.drive.services
    candidates = _candidates(here, spec)
    crowded = len(candidates) > 1 or any(a.capacity is not None for a in candidates)
    load = await services.db.read(lambda tx: _load(tx, here.drive.case.tenant)) if crowded else {}
    forced, by = _forced(here, spec, state)
    off: dict[str, Switch] = {}

    def chosen(drained: bool) -> Choice:
        facts = Facts(lambda a: _forbidden(here, spec, a, off, drained), load, here.drive.case, forced, by)
        return choose(spec, candidates, facts)

    choice = chosen(drained=False)
    if choice.kind != "agent" and any(_state(here, actor) == "drain" for actor in candidates):
        choice = chosen(drained=True)  # an open case goes on, if only its agent can do it
    return choice, [switch for actor, switch in off.items() if forced in (None, actor)]


def _state(here: Here, actor: Actor) -> str:
    return here.drive.services.switches.state(here.drive.case.tenant, [actor.id])


def _candidates(here: Here, spec: TaskSpec) -> list[Actor]:
    services = here.drive.services
    if spec.run is not None:
        people: list[Actor] = [a for a in services.actors.find(spec.skill) if a.id.startswith("person:")]
        return [services.actors.get(spec.code_actor), *people]
    return [a for a in services.actors.find(spec.skill) if not isinstance(a, Agent) or _free(a, here)]


def _free(agent: Agent, here: Here) -> bool:
    """Agents behind code tasks perform their own task only."""
    return agent.id not in here.drive.services.code_actors and agent.available(here.drive.services.settings)


def _forced(here: Here, spec: TaskSpec, state: Any) -> tuple[str | None, str]:
    if (actor := here.drive.case.assign.get(spec.name)) is not None:
        return actor, "assigned at start"
    if spec.assignee is not None and (actor := spec.assignee(state)) is not None:
        return actor, "assigned by the workflow"
    return None, ""


def _forbidden(here: Here, spec: TaskSpec, actor: Actor, off: dict[str, Switch], drained: bool) -> str | None:
    """Why policy or a switch keeps an actor from this task; a switch that does is put into `off`."""
    services, case = here.drive.services, here.drive.case
    objection = _objection(here, spec, actor)
    if objection is None and (switch := services.switches.off(case.tenant, [actor.id])) is not None:
        off[actor.id] = switch
        return f"is switched off: {switch}"
    if objection is None and not drained and _state(here, actor) == "drain":
        return "is drained"
    return objection


def _objection(here: Here, spec: TaskSpec, actor: Actor) -> str | None:
    services, case = here.drive.services, here.drive.case
    if isinstance(actor, Person) and actor.away(here.now()):
        return "is on leave"
    context = {
        "workflow": case.workflow, "task": spec.name, "tenant": case.tenant, "requester": case.requester,
        "skill": spec.skill, "skills": sorted(actor.skills),
    }  # fmt: skip
    verdict = services.verdict("task.perform", actor, context)
    return None if verdict.allowed else "; ".join(r.text for r in verdict.reasons)


def _wait(here: Here, spec: TaskSpec, visit: int, choice: Choice, off: Switch) -> NoReturn:
    """Nobody can perform the task while a switch is off: the case waits for it. Raises GraphInterrupt."""
    case, at = here.drive.case, here.stamp()
    hold = Hold(case.tenant, item_id(here, "switch"), case.case_id, "switch", off.target, str(off))
    here.note(
        "task.routed", task=spec.name, visit=visit, actor="", kind="none", skill=spec.skill, why=[hold.why],
        considered=choice.considered, identity=f"{hold.id}:{digest(hold.why)[:16]}",
    )  # fmt: skip
    here.later(lambda tx: Switches.hold(tx, hold, at))
    rest(hold.why, HOLD + hold.id)


def _load(tx: Reader, tenant: str) -> Mapping[str, int]:
    return {row["actor"]: row["n"] for row in tx.rows(_LOAD, (tenant,)) if row["actor"]}


def _record(here: Here, spec: TaskSpec, visit: int, choice: Choice) -> None:
    case, at = here.drive.case, here.stamp()
    here.note(
        "task.routed", task=spec.name, visit=visit, actor=choice.actor or "", kind=choice.kind, skill=spec.skill,
        why=choice.why, considered=choice.considered,
    )  # fmt: skip
    row = (
        case.tenant, case.case_id, spec.name, visit, here.ns, choice.actor, choice.kind, spec.skill,
        canonical(choice.why), at,
    )  # fmt: skip

    def routed(tx: Transaction) -> None:
        tx.execute(_ROUTED, row)

    here.later(routed)
