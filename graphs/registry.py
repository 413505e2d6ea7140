"""Which workflows and versions this process knows, and the digest that tells whether a graph has changed."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from langchain_core.messages import convert_to_messages
from langgraph.channels.last_value import LastValue
from pydantic import BaseModel, TypeAdapter, ValidationError

from interlock import errors
from interlock.graphs.compiled import GovernedGraph
from interlock.graphs.workflow import Workflow
from interlock.ids import digest

__all__ = ["Registered", "Registry", "graph_digest"]


@dataclass(frozen=True)
class Registered:
    """A workflow, its compiled graph and the digest of the graph's structure."""

    workflow: Workflow
    graph: GovernedGraph
    digest: str

    def checked(self, value: Any) -> Any:
        """The validated input (model instance where the input is typed). Raises InputError naming each bad field."""
        try:
            return self._input.validate_python(_talk(value))
        except (TypeError, NotImplementedError) as exc:  # LangChain's messages refuse in their own way
            raise errors.InputError(f"input of {self.workflow.name!r}: {exc}", "correct it") from exc
        except ValidationError as exc:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}" for e in exc.errors())
            raise errors.InputError(f"input of {self.workflow.name!r}: {wrong}", "correct the fields named") from exc

    def as_state(self, value: Any) -> dict[str, Any]:
        """A validated input as the first values of the channels; None is no news for one that has a reducer."""
        names = type(value).model_fields if isinstance(value, BaseModel) else value
        names = [field.name for field in fields(value)] if is_dataclass(value) else names
        given = {name: value[name] if isinstance(value, Mapping) else getattr(value, name) for name in names}
        channels = self.workflow.channels
        return {n: v for n, v in given.items() if v is not None or isinstance(channels.get(n), LastValue)}

    def missing(self, tools: Container[str]) -> list[str]:
        """The tools that its tasks name and that are not registered."""
        named = {tool for task in self.workflow.tasks.values() for tool in task.tools}
        return sorted(tool for tool in named if tool not in tools)

    def as_json(self, value: Any) -> Any:
        """A validated input as JSON values."""
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        return self._input.dump_python(value, mode="json")

    @cached_property
    def _input(self) -> TypeAdapter[Any]:
        """Made once: it costs as much as a step of a case."""
        return TypeAdapter(self.workflow.input_type or self.workflow.schema)


class Registry:
    """Workflows by name and version; the one registered last is the one new cases start with."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Registered] = {}
        self._latest: dict[str, str] = {}

    def add(self, workflow: Workflow, graph: GovernedGraph) -> Registered:
        """Register a version. Raises Conflict when the same version exists with other tasks or another structure."""
        entry = Registered(workflow, graph, graph_digest(graph))
        known = self._known.get((workflow.name, workflow.version))
        if known is not None and (known.digest != entry.digest or not _same(known.workflow, workflow)):
            raise errors.Conflict(
                f"workflow {workflow.name!r} version {workflow.version!r} is registered with other content",
                "give the changed workflow a new version",
            )
        self._known[workflow.name, workflow.version] = known or entry
        self._latest[workflow.name] = workflow.version
        return self._known[workflow.name, workflow.version]

    def get(self, name: str, version: str | None = None) -> Registered:
        """A workflow. Raises NotFound."""
        entry = self.find(name, version or self._latest.get(name, ""))
        if entry is None:
            which = f"{name!r} version {version!r}" if version else f"{name!r}"
            raise errors.NotFound(f"no workflow {which} is registered", f"registered: {sorted(self._latest)}")
        return entry

    def find(self, name: str, version: str) -> Registered | None:
        return self._known.get((name, version))

    def latest(self) -> Mapping[str, Registered]:
        """By name, the version that new cases start with."""
        return {name: self._known[name, version] for name, version in self._latest.items()}

    def all(self) -> list[Registered]:
        return list(self._known.values())


def _talk(value: Any) -> Any:
    """An input whose messages are messages: LangGraph takes them as dicts, pairs and texts as well."""
    if isinstance(value, Mapping) and isinstance(value.get("messages"), (list, tuple)):
        return {**value, "messages": convert_to_messages(value["messages"])}
    return value


def _same(one: Workflow, other: Workflow) -> bool:
    return one is other or (one.tasks, one.approvals) == (other.tasks, other.approvals)


def graph_digest(graph: GovernedGraph) -> str:
    """Digest of nodes, edges and channels, subgraphs included: what a waiting case relies on."""
    drawn = graph.get_graph(xray=True)
    edges = sorted([e.source, e.target, bool(e.conditional)] for e in drawn.edges)
    channels = sorted((name, type(channel).__name__) for name, channel in graph.channels.items())
    return digest([sorted(drawn.nodes), edges, channels])
