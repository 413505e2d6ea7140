"""What would go wrong in a plane as it is registered, found before the first case meets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from interlock.agents.agent import Agent
from interlock.graphs.map import describe
from interlock.graphs.registry import Registered
from interlock.graphs.task import ApprovalSpec, TaskSpec
from interlock.oversight.actors import Actor, Person
from interlock.oversight.escalation import names_of
from interlock.settings import Settings
from interlock.tools.contract import ToolSpec
from interlock.tools.registry import Tools

__all__ = ["Finding", "findings"]


@dataclass(frozen=True)
class Finding:
    """`error`: cases will fail or stand still; `warning`: it works, and something is left open."""

    level: Literal["error", "warning"]
    where: str
    what: str
    hint: str


def findings(
    workflows: Sequence[Registered], tools: Tools, actors: Sequence[Actor], code: Iterable[str], settings: Settings
) -> list[Finding]:
    """Everything that is wrong, tools first. `code` are the agents behind code tasks."""
    own = frozenset(code)
    free = [actor for actor in actors if actor.id not in own]
    found = [finding for tool in tools for finding in _tool(tool)]
    for entry in workflows:
        found += _workflow(entry, free, settings)
        found += [f for task in entry.workflow.tasks.values() for f in _task(task, tools, free, settings)]
        found += [f for gate in entry.workflow.approvals.values() for f in _gate(gate, actors)]
    return found


def _tool(spec: ToolSpec) -> Iterator[Finding]:
    where = f"tool {spec.name}"
    if not spec.system:
        yield Finding("warning", where, "names no system", "give system=, so that it can be switched and measured")
    if not spec.scope:
        yield Finding("warning", where, "asks for no scope, so every actor may try it", "give scope=")
    if spec.writes and not spec.idempotent and spec.reconcile is None:
        hint = "give idempotent= or reconcile=; until then a person has to say what happened after a crash"
        yield Finding("error", where, "writes, and can be neither repeated nor probed", hint)


def _workflow(entry: Registered, actors: list[Actor], settings: Settings) -> Iterator[Finding]:
    workflow = entry.workflow
    where = f"workflow {workflow.name}"
    if not workflow.owner:
        yield Finding("warning", where, "has no owner", "give owner=: exceptions go there")
    if workflow.sla is None:
        yield Finding("warning", where, "has no SLA", "give sla=, or nothing is ever late")
    for name in describe(workflow, entry.graph, actors).unreachable():
        yield Finding("error", f"{where}, step {name}", "cannot be reached from the start", "put it into the flow")


def _task(task: TaskSpec, tools: Tools, actors: list[Actor], settings: Settings) -> Iterator[Finding]:
    where = f"task {task.workflow}.{task.name}"
    for name in task.tools:
        if name not in tools:
            yield Finding("error", where, f"names the tool {name!r}, which is not registered", "register it")
    if task.run is None and not any(_performs(task, actor, settings) for actor in actors):
        hint = f"register an agent or a person with the skill {task.skill!r}, and the task's roles and scopes"
        yield Finding("error", where, "nobody can perform it", hint)


def _performs(task: TaskSpec, actor: Actor, settings: Settings) -> bool:
    if task.skill not in actor.skills or not task.roles <= actor.all_roles:
        return False
    return not isinstance(actor, Agent) or (actor.available(settings) and task.scopes <= actor.scopes)


def _gate(gate: ApprovalSpec, actors: Sequence[Actor]) -> Iterator[Finding]:
    where = f"approval {gate.workflow}.{gate.name}"
    people = [actor for actor in actors if isinstance(actor, Person)]
    for authority, count in gate.needed.items():
        holders = sum(authority in person.all_roles for person in people)
        hint = f"register persons with authorities={{{authority!r}: Money(...)}}"
        if not holders:
            yield Finding("error", where, f"nobody holds the authority {authority!r}", hint)
        elif holders < count:
            yield Finding("error", where, f"asks {count} persons, and {holders} hold {authority!r}", hint)
    if gate.deadlines is None:
        yield Finding("warning", where, "has no SLA, so it never expires", "give sla=")
        return
    for to, _ in gate.deadlines.chain:
        if not any(_may_approve(person, to, gate) for person in people):
            what = f"escalates to {to}, and nobody there holds the authority"
            yield Finding("warning", where, what, "an escalation gives no authority: give it to a person there")


def _may_approve(person: Person, to: str, gate: ApprovalSpec) -> bool:
    return to in names_of(person) and not person.all_roles.isdisjoint(gate.stages)
