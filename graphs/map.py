"""The map of a workflow: steps and ways as data first, from which Mermaid text and the picture are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END, START

from interlock.oversight.actors import Actor

if TYPE_CHECKING:
    from interlock.graphs.compiled import GovernedGraph
    from interlock.graphs.workflow import Workflow

__all__ = ["Edge", "Map", "Node", "describe", "mermaid"]

Kind = Literal["start", "end", "task", "approval", "node"]
Way = Literal["flow", "branch", "reject"]


@dataclass(frozen=True)
class Node:
    """A step. `performers` may do the task, or hold the authority; `free` branches may lead where nothing declares."""

    id: str
    kind: Kind
    skill: str = ""
    tools: tuple[str, ...] = ()
    sla: str = ""
    authority: str = ""
    performers: tuple[str, ...] = ()
    free: bool = False

    @property
    def label(self) -> str:
        return {"start": "start", "end": "end"}.get(self.kind, self.id)


@dataclass(frozen=True)
class Edge:
    """A way from step to step: always (flow), by a choice (branch), or after a no (reject)."""

    source: str
    target: str
    kind: Way = "flow"


@dataclass(frozen=True)
class Map:
    """Everything that a picture of a workflow shows."""

    workflow: str
    version: str
    owner: str
    sla: str
    nodes: list[Node]
    edges: list[Edge]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def unreachable(self) -> list[str]:
        """Steps to which no way leads, unless some branch may lead anywhere."""
        if any(node.free for node in self.nodes):
            return []
        seen, open_ = {START}, [START]
        while open_:
            here = open_.pop()
            ahead = {e.target for e in self.edges if e.source == here} - seen
            seen |= ahead
            open_.extend(ahead)
        return [node.id for node in self.nodes if node.id not in seen]


def describe(workflow: Workflow, graph: GovernedGraph, actors: Iterable[Actor] = ()) -> Map:
    """The map of a workflow; `actors` are those whom the router may choose."""
    known = list(actors)
    edges = list(dict.fromkeys(_edges(workflow, graph)))
    used = {end for edge in edges for end in (edge.source, edge.target)}
    names = [name for name in _names(workflow, graph) if name in used or name not in (START, END)]
    nodes = [_node(workflow, name, known) for name in names]
    return Map(workflow.name, workflow.version, workflow.owner, _span(workflow.sla), nodes, edges)


def _names(workflow: Workflow, graph: GovernedGraph) -> list[str]:
    """Steps in the order in which they were declared; the nodes inside a task stand for the task."""
    others = [_step(workflow, name) for name in graph.get_graph().nodes]
    return list(dict.fromkeys([START, *workflow.tasks, *workflow.approvals, *others, END]))


def _step(workflow: Workflow, name: str) -> str:
    task = name.rpartition(".")[0]
    return task if task in workflow.tasks else name


def _node(workflow: Workflow, name: str, actors: list[Actor]) -> Node:
    if name in workflow.tasks:
        task = workflow.tasks[name]
        able = [a.id for a in actors if task.skill in a.skills and (task.run is None or a.id.startswith("person:"))]
        performers = [task.code_actor, *able] if task.run is not None else able
        free = _is_free(workflow, name)
        return Node(name, "task", task.skill, task.tools, _span(task.sla), performers=tuple(performers), free=free)
    if name in workflow.approvals:
        gate = workflow.approvals[name]
        holders = tuple(a.id for a in actors if a.id.startswith("person:") and gate.authority in a.all_roles)
        return Node(name, "approval", "", (), _span(gate.sla), gate.authority, holders, _is_free(workflow, name))
    return Node(name, "start" if name == START else "end" if name == END else "node")


def _edges(workflow: Workflow, graph: GovernedGraph) -> Iterator[Edge]:
    described = {*workflow.tasks, *workflow.approvals}
    for here, then in workflow.links:
        for source in [here] if isinstance(here, str) else here:
            yield from (Edge(source, target) for target in ([then] if isinstance(then, str) else then))
    for source, routes in workflow.routes.items():
        for route, declared in routes:
            targets = declared if declared is not None else _mentioned(workflow, route)
            yield from (Edge(source, target, "branch") for target in targets)
    yield from (Edge(gate, step, "reject") for gate, step in workflow.rejected.items())
    linked = {source for here, _ in workflow.links for source in ([here] if isinstance(here, str) else here)}
    for edge in graph.get_graph().edges:
        source, target = _step(workflow, edge.source), _step(workflow, edge.target)
        if source not in described and (edge.conditional or source not in linked):
            yield Edge(source, target, "branch" if edge.conditional else "flow")
    yield from (Edge(name, END) for name in described - linked - set(workflow.routes))


def _is_free(workflow: Workflow, name: str) -> bool:
    routes = workflow.routes.get(name, ())
    return any(declared is None and not _mentioned(workflow, route) for route, declared in routes)


def _mentioned(workflow: Workflow, route: Callable[[Any], Any]) -> list[str]:
    """The steps that a route function names; a word that is also a key of the state is taken as the key."""
    if not inspect.isfunction(route):
        return []
    used = inspect.getclosurevars(route)
    spoken = [word for const in route.__code__.co_consts for word in (const if isinstance(const, tuple) else (const,))]
    words = {word for word in spoken if isinstance(word, str)} - set(workflow.channels)
    named = {_name(value) for value in (*used.globals.values(), *used.nonlocals.values())}
    return sorted((words | named) & _steps(workflow))


def _steps(workflow: Workflow) -> set[str]:
    return {*workflow.tasks, *workflow.approvals, END}


def _name(value: Any) -> str:
    found = value if isinstance(value, str) else getattr(value, "name", None) or getattr(value, "__name__", None)
    return found if isinstance(found, str) else ""


def _span(value: Any) -> str:
    """A duration in words: 1 day, 4 h, 30 min."""
    if value is None:
        return ""
    seconds = value.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def mermaid(chart: Map) -> str:
    """The map as a Mermaid flowchart; ids are numbers, so any name is safe."""
    ids = {node.id: f"n{number}" for number, node in enumerate(chart.nodes)}
    title = f"{chart.workflow} version {chart.version}"
    lines = ["---", f"title: {_quoted(title)}", "---", "flowchart TD"]
    lines += [f"    {ids[node.id]}{_shape(node)}" for node in chart.nodes]
    lines += [f"    {ids[e.source]} {_ARROWS[e.kind]} {ids[e.target]}" for e in chart.edges]
    lines += _classes(chart.nodes, ids)
    return "\n".join(lines) + "\n"


_ARROWS = {"flow": "-->", "branch": "-.->", "reject": "-- no -->"}
_STYLES = {"task": "fill:#e8f0fe,stroke:#3867d6,color:#111", "approval": "fill:#fff3d6,stroke:#c77700,color:#111"}


def _shape(node: Node) -> str:
    if node.kind in ("start", "end"):
        return f"([{node.label}])"
    lines = [node.label, *facts(node)]
    text = "<br/>".join(escape(" ".join(line.split()), quote=False).replace('"', "#quot;") for line in lines)
    return f'{{{{"{text}"}}}}' if node.kind == "approval" else f'["{text}"]'


def facts(node: Node) -> list[str]:
    """What is worth knowing of a step, a line each."""
    shown = [f"skill {node.skill}"] if node.skill and node.skill != node.id else []
    shown += [f"authority {node.authority}"] if node.authority else []
    shown += [", ".join(node.tools)] if node.tools else []
    shown += ["by " + ", ".join(node.performers)] if node.performers else []
    shown += [f"within {node.sla}"] if node.sla else []
    return shown + (["may lead anywhere"] if node.free else [])


def _classes(nodes: Collection[Node], ids: dict[str, str]) -> list[str]:
    lines = []
    for kind, style in _STYLES.items():
        members = [ids[node.id] for node in nodes if node.kind == kind]
        lines += [f"    classDef {kind} {style}", f"    class {','.join(members)} {kind}"] if members else []
    return lines


def _quoted(text: str) -> str:
    return '"' + " ".join(text.replace('"', "'").replace("\\", "/").split()) + '"'
