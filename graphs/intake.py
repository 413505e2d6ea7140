"""Whether new cases of a workflow begin: not while it, or something that they would need, is drained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.graphs.governed import GovernedWorkflow

if TYPE_CHECKING:
    from interlock.graphs.registry import Registered
    from interlock.graphs.services import Services
    from interlock.graphs.task import TaskSpec
    from interlock.graphs.workflow import Workflow

__all__ = ["closed", "drained"]


def closed(services: Services, entry: Registered, tenant: str) -> str:
    """The switch for which no case begins, who set it and why; empty when there is none. No I/O.

    Off counts for the workflow, the tenant and all; a case that meets an agent, tool or system that is off waits.
    """
    workflow, switches = entry.workflow, services.switches
    own = [f"workflow:{workflow.name}"]
    if switches.state(tenant, own) != "on":
        return switches.why(tenant, own)
    needed = [target for tool in _tools(workflow) for target in _of_tool(services, tool)]
    return drained(services, tenant, needed) or _without_agent(services, workflow, tenant)


def drained(services: Services, tenant: str, targets: list[str]) -> str:
    """Of some targets the first that is drained, who said so and why; empty when none is."""
    switches = services.switches
    found = (target for target in targets if switches.state(tenant, [target]) == "drain")
    return next((switches.why(tenant, [target]) for target in found), "")


def _tools(workflow: Workflow) -> Iterator[str]:
    """The tools that its tasks name; what else a task finds to use, nobody knows before."""
    for task in workflow.tasks.values():
        yield from task.tools
    if isinstance(workflow, GovernedWorkflow):
        for node in workflow.node_tasks.values():
            yield from node.tools or ()


def _of_tool(services: Services, tool: str) -> list[str]:
    system = services.tools.get(tool).system if tool in services.tools else ""
    return [f"tool:{tool}", *([f"system:{system}"] if system else [])]


def _without_agent(services: Services, workflow: Workflow, tenant: str) -> str:
    """A task that only drained actors could perform would bring them new work."""
    for task in workflow.tasks.values():
        performers = _performers(services, task)
        why = drained(services, tenant, performers)
        if why and all(services.switches.state(tenant, [one]) != "on" for one in performers):
            return why
    nodes = workflow.node_tasks if isinstance(workflow, GovernedWorkflow) else {}
    return drained(services, tenant, [node.actor or f"agent:{workflow.name}.{name}" for name, node in nodes.items()])


def _performers(services: Services, task: TaskSpec) -> list[str]:
    """The agents that could perform a task, or, where there is none, the persons: these stand in at any time."""
    if task.run is not None:
        return [task.code_actor]
    found = [actor.id for actor in services.actors.find(task.skill) if actor.id not in services.code_actors]
    return [one for one in found if one.startswith("agent:")] or found
