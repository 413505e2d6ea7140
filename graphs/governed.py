"""Graphs in plain LangGraph, governed: each node is a task of its own agent, and its tools go to the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.graph import StateGraph

from interlock import errors, ids
from interlock.agents.agent import Agent
from interlock.agents.governed import ungoverned
from interlock.graphs.drive import at_node, site
from interlock.graphs.safety import check_safe, runnable_of
from interlock.graphs.workflow import Workflow
from interlock.tools.adopted import adopt
from interlock.tools.contract import MARK
from interlock.tools.registry import Tools
from interlock.tools.tool import performing

__all__ = ["Governed", "NodeTask", "governed", "governs"]

Graph = StateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class NodeTask:
    """What a node of a plain graph may do. `actor`: a registered agent it acts as, else `agent:<graph>.<node>`.

    `tools` None allows all tools of the graph; `scopes` None holds the scopes of the allowed tools.
    """

    skill: str = ""
    actor: str | None = None
    tools: tuple[str, ...] | None = None
    scopes: frozenset[str] | None = None
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Governed:
    """A described graph; `plane.register` takes it. It becomes a workflow when the tools are known."""

    builder: Graph
    name: str
    version: str = "1"
    input: type[Any] | None = None
    output: type[Any] | None = None
    owner: str = ""
    sla: timedelta | None = None
    tools: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, NodeTask] = field(default_factory=dict)
    internal: frozenset[str] = frozenset()

    def workflow(self, tools: Tools) -> Workflow:
        """Register and adopt the tools, wrap the nodes, and refuse what would bypass the gateway.

        Raises ConfigurationError for tools that are not registered or not named, caches, and time-outs around effects.
        """
        for name, target in self.tools.items():
            _adopt(tools, name, target)
        wf = GovernedWorkflow(self, {name: _allowed(self, tools, task) for name, task in self._every_task()})
        if foreign := ungoverned(wf.compile(), self.internal):
            raise errors.ConfigurationError(
                f"{self.name} has tools that are not governed: {', '.join(foreign)}",
                "name them in tools=, or pure hand-offs in internal=",
            )
        return wf

    def _every_task(self) -> Iterable[tuple[str, NodeTask]]:
        for name in self.builder.nodes:
            yield name, self.tasks.get(name, NodeTask(skill=name))


class GovernedWorkflow(Workflow):
    """A plain graph as a workflow: its own nodes and edges, each node inside `performing`."""

    def __init__(self, of: Governed, tasks: Mapping[str, NodeTask]) -> None:
        builder = of.builder
        shown = None if builder.input_schema is builder.state_schema else builder.input_schema
        given = None if builder.output_schema is builder.state_schema else builder.output_schema
        super().__init__(
            of.name, builder.state_schema, input=of.input or shown, output=of.output or given,
            context=builder.context_schema, version=of.version, owner=of.owner, sla=of.sla,
        )  # fmt: skip
        self.node_tasks = dict(tasks)
        self.schemas.update(
            {schema: fields for schema, fields in builder.schemas.items() if schema not in self.schemas}
        )
        self.channels.update({name: c for name, c in builder.channels.items() if name not in self.channels})
        self.managed.update(builder.managed)
        self.edges, self.waiting_edges = set(builder.edges), set(builder.waiting_edges)
        self.branches.update(builder.branches)
        self._node_defaults = replace(builder._node_defaults)
        for name, spec in builder.nodes.items():
            self.nodes[name] = replace(spec, runnable=_wrapped(name, tasks[name], spec.runnable, of))
        check_safe(self, tasks, writes=bool(of.tools))


def governed(
    builder: Graph,
    *,
    name: str,
    version: str = "1",
    input: type[Any] | None = None,
    output: type[Any] | None = None,
    owner: str = "",
    sla: timedelta | None = None,
    tools: Mapping[str, Any] | None = None,
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
    internal: Iterable[str] = (),
) -> Governed:
    """Describe a plain graph for `plane.register`.

    `tools` maps registered names to the tool objects in the graph (or to `{"target": ..., **options}` of
    `register_tool`); `tasks` maps nodes to skill, actor, tools, scopes, roles; `internal` names tools that touch
    only the graph's own state. Raises ConfigurationError for nodes that do not exist and keywords that mean nothing.
    """
    if not isinstance(builder, StateGraph):
        raise errors.ConfigurationError(f"{builder!r} is no StateGraph", "give the builder, before compile()")
    if unknown := sorted(set(tasks or {}) - set(builder.nodes)):
        raise errors.ConfigurationError(f"{name} has no node {unknown[0]!r}", f"nodes are {sorted(builder.nodes)}")
    described = {node: _task(node, contract) for node, contract in (tasks or {}).items()}
    return Governed(
        builder, ids.check_name(name), version, input, output, owner, sla, dict(tools or {}), described,
        frozenset(internal),
    )  # fmt: skip


def governs(workflow: Workflow) -> list[Agent]:
    """The agents as which the nodes of a governed plain graph act."""
    if not isinstance(workflow, GovernedWorkflow):
        return []
    return [
        Agent(
            f"{workflow.name}.{node}",
            skills={task.skill or node},
            scopes=set(task.scopes or ()),
            roles=set(task.roles),
            owner=workflow.owner,
        )
        for node, task in workflow.node_tasks.items()
        if task.actor is None
    ]


def _task(node: str, contract: Mapping[str, Any]) -> NodeTask:
    fields = dict(contract)
    for name, kind in (("tools", tuple), ("scopes", frozenset), ("roles", frozenset)):
        if name in fields:
            fields[name] = kind(fields[name])
    try:
        return NodeTask(**{"skill": node, **fields})
    except TypeError as exc:
        raise errors.ConfigurationError(f"task {node!r}: {exc}", "use skill, actor, tools, scopes, roles") from exc


def _adopt(tools: Tools, name: str, target: Any) -> None:
    """Make sure that a tool is registered, and that its object in the graph goes through the gateway."""
    described = isinstance(target, Mapping) and "target" in target
    thing = target["target"] if described else target
    options = {key: value for key, value in target.items() if key != "target"} if described else {}
    if name not in tools and (described or hasattr(thing, MARK)):
        tools.register(thing, **{**options, "name": name})
    if name not in tools:
        raise errors.ConfigurationError(
            f"tool {name!r} is not registered", "call plane.register_tool(..., name=) first"
        )
    if isinstance(thing, BaseTool):
        adopt(thing, tools.get(name))


def _allowed(of: Governed, tools: Tools, task: NodeTask) -> NodeTask:
    names = tuple(of.tools) if task.tools is None else task.tools
    if unknown := [name for name in names if name not in tools]:
        raise errors.ConfigurationError(f"tool {unknown[0]!r} is not registered", "register it, or leave it out")
    scopes = frozenset(filter(None, (tools.get(name).scope for name in names)))
    return replace(task, tools=names, scopes=scopes if task.scopes is None else task.scopes)


def _wrapped(name: str, task: NodeTask, inner: Any, of: Governed) -> Any:
    """The node inside `performing`."""
    actor = task.actor or f"agent:{of.name}.{name}"

    async def node(state: Any, config: RunnableConfig) -> Any:
        async with at_node(config) as here:
            where = site(here, {}, task=name, actor=actor, allowed=frozenset(task.tools or ()))
            began = here.now()
            here.note("task.started", actor=actor, task=name, visit=1)
            async with performing(here.drive.services.gateway, where):
                result = await inner.ainvoke(state, config)
            work = (here.now() - began).total_seconds()
            here.note("task.finished", actor=actor, task=name, visit=1, status="done", work_s=work, error=None)
            return result

    return runnable_of(name, node)
