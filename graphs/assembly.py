"""How the description of a workflow becomes nodes and edges of LangGraph.

A task is three nodes: `<task>.route` picks who performs it, `<task>` performs it, `<task>.person` is entered only
when a person is needed. A member of a parallel list is a subgraph of its own, so that it runs on while another waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph

from interlock import errors
from interlock.graphs.branches import as_branch
from interlock.graphs.gate import approval_node
from interlock.graphs.human import person_node
from interlock.graphs.perform import work_node
from interlock.graphs.route import route_node
from interlock.graphs.state import TASKS, extended, view
from interlock.graphs.task import TaskSpec

if TYPE_CHECKING:
    from interlock.graphs.workflow import Workflow

Graph = StateGraph[Any, Any, Any, Any]
Leave = Callable[[Mapping[str, Any]], list[str]]


def assemble(wf: Workflow) -> None:
    """Add all nodes and edges of a workflow to itself. Raises ConfigurationError for steps that do not exist."""
    for name in [*wf.tasks, *wf.approvals]:
        if name in wf.parallel:
            _add_branch(wf, name)
        else:
            _add_nodes(wf, wf, name)
    following = _connect(wf)
    for name in [*wf.tasks, *wf.approvals]:
        if name not in wf.parallel:
            _leave(wf, name, following.get(name, [END]))


def _add_nodes(wf: Workflow, graph: Graph, name: str) -> str:
    """The nodes of a task or approval; returns the one that is entered first."""
    if name in wf.approvals:
        gate = wf.approvals[name]
        named = _named(wf, gate.for_task) if gate.for_task is not None else None
        graph.add_node(name, approval_node(gate, wf.schema, named), metadata=dict(gate.metadata(wf.owner)))
        return name
    spec = wf.tasks[name]
    graph.add_node(spec.route_node, route_node(spec, wf.schema), metadata=dict(spec.metadata("router", wf.owner)))
    graph.add_node(name, work_node(spec, wf.schema), metadata=dict(spec.metadata("agent", wf.owner)))
    graph.add_node(spec.person_node, person_node(spec), metadata=dict(spec.metadata("person", wf.owner)))
    graph.add_conditional_edges(spec.route_node, _performer(spec), [name, spec.person_node])
    return spec.route_node


def _named(wf: Workflow, task: str) -> TaskSpec:
    """The task whose call a gate approves."""
    if task not in wf.tasks:
        raise errors.ConfigurationError(f"{wf.name!r} has no task {task!r}", f"tasks are {sorted(wf.tasks)}")
    return wf.tasks[task]


def _performer(spec: TaskSpec) -> Leave:
    def performer(state: Mapping[str, Any]) -> list[str]:
        return [spec.name if state[TASKS][spec.name]["kind"] == "agent" else spec.person_node]

    return performer


def _add_branch(wf: Workflow, name: str) -> None:
    branch: Graph = StateGraph(extended(wf.schema, branch=True))
    entry = _add_nodes(wf, branch, name)
    branch.add_edge(START, entry)
    if name in wf.tasks:
        spec = wf.tasks[name]
        ways = {"person": spec.person_node, "again": spec.route_node}
        branch.add_conditional_edges(name, _leaving(name, ways, lambda _: [END]), [spec.person_node, END])
        branch.add_conditional_edges(spec.person_node, _leaving(name, ways, lambda _: [END]), [*ways.values(), END])
    meta = wf.tasks[name].metadata("branch", wf.owner) if name in wf.tasks else wf.approvals[name].metadata(wf.owner)
    wf.add_node(name, as_branch(branch.compile(name=name), wf.channels), metadata=dict(meta))


def _connect(wf: Workflow) -> dict[str, list[str]]:
    """Add the plain edges; return, per task or approval outside a list, the names that follow it in the flow."""
    following: dict[str, list[str]] = {}
    for here, then in wf.links:
        targets = then if isinstance(then, list) else [then]
        if isinstance(here, str) and (here in wf.tasks or here in wf.approvals) and here not in wf.parallel:
            following.setdefault(here, []).extend(targets)
            continue
        if isinstance(here, list) and (gates := [name for name in here if name in wf.approvals]):
            _join(wf, here, gates, targets)
            continue
        for target in targets:
            wf.plain_edge(here, entry(wf, target))
    return following


def _join(wf: Workflow, group: list[str], gates: list[str], targets: list[str]) -> None:
    """A parallel list with gates in it is joined by a node of its own, which looks whether one of them was refused."""
    name = f"{'+'.join(group)}.join"
    wf.add_node(name, _pass, metadata={"kind": "join"})
    wf.plain_edge(group, name)
    onward = [entry(wf, target) for target in targets]
    refused = {gate: entry(wf, wf.rejected.get(gate, END)) for gate in gates}

    def leave(state: Mapping[str, Any]) -> list[str]:
        tasks = state.get(TASKS, {})
        ways = [refused[gate] for gate in gates if tasks.get(gate, {}).get("status") == "rejected"]
        return ways[:1] or onward

    wf.add_conditional_edges(name, leave, sorted({*onward, *refused.values()}))


async def _pass(state: Any) -> dict[str, Any]:
    return {}


def entry(wf: Workflow, name: str) -> str:
    """The node by which a step is entered. Raises ConfigurationError when there is no such step."""
    if name in wf.tasks and name not in wf.parallel:
        return wf.tasks[name].route_node
    if name != END and name not in wf.nodes and name not in wf.approvals:
        raise errors.ConfigurationError(f"{wf.name!r} has no step {name!r}", f"steps are {sorted(wf.tasks)}")
    return name


def _leave(wf: Workflow, name: str, following: list[str]) -> None:
    onward = _onward(wf, name, following)
    ends = _ends(wf, name, following)
    if name in wf.approvals:
        wf.add_conditional_edges(name, _leaving(name, _rejection(wf, name), onward), ends)
        return
    spec = wf.tasks[name]
    ways = {"person": spec.person_node, "again": spec.route_node}
    wf.add_conditional_edges(name, _leaving(name, ways, onward), [spec.person_node, *ends])
    wf.add_conditional_edges(spec.person_node, _leaving(name, ways, onward), [*ways.values(), *ends])


def _rejection(wf: Workflow, name: str) -> dict[str, str]:
    return {"rejected": entry(wf, wf.rejected.get(name, END))}


def _leaving(name: str, ways: Mapping[str, str], onward: Leave) -> Leave:
    """Where to go after a node of a step: by the task's status, else onward in the flow."""

    def leave(state: Mapping[str, Any]) -> list[str]:
        status: str = state.get(TASKS, {}).get(name, {}).get("status", "done")
        way = "person" if status == "escalated" else status
        return [ways[way]] if way in ways else onward(state)

    return leave


def _onward(wf: Workflow, name: str, following: list[str]) -> Leave:
    def onward(state: Mapping[str, Any]) -> list[str]:
        for route, _ in wf.routes.get(name, []):
            chosen = route(view(wf.schema, state))
            if chosen is not None:
                return [entry(wf, wf.name_of(step)) for step in (chosen if isinstance(chosen, list) else [chosen])]
        return [entry(wf, step) for step in following]

    return onward


def _ends(wf: Workflow, name: str, following: list[str]) -> list[str]:
    """Every node that the edges after a step may lead to; without declared targets a branch may lead anywhere."""
    routes = wf.routes.get(name, [])
    steps = {*following, *(t for _, targets in routes if targets is not None for t in targets)}
    if any(targets is None for _, targets in routes):
        steps |= {END, *wf.tasks, *wf.approvals} - {name}
    if name in wf.approvals:
        steps.add(wf.rejected.get(name, END))
    return sorted(entry(wf, step) for step in steps)
