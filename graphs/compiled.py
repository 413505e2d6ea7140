"""The compiled graph of a workflow: a CompiledStateGraph that fixes durability, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from langgraph.graph.state import CompiledStateGraph

from interlock import errors
from interlock.graphs.drive import DRIVE, Drive, inside
from interlock.settings import Settings
from interlock.storage.checkpoints import Checkpoints

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from interlock.graphs.workflow import Workflow

_END = object()


class GovernedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """Whatever durability a caller asks for, every step is durable before the next one begins."""

    @property
    def workflow(self) -> Workflow:
        """The description that the graph was compiled from; copies of the graph have it as well."""
        return cast("Workflow", self.builder)

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:
        return super().stream(input, config, **self._sync(config, options))

    def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        options = self._sync(config, options)
        driven = DRIVE.get() is not None
        if not driven and isinstance(self.checkpointer, Checkpoints):
            raise errors.ConfigurationError("this graph belongs to a plane", "start a case: plane.start(...)")
        return super().astream(input, config, **options) if driven else self._as_guest(input, config, options)

    async def _as_guest(self, input: Any, config: RunnableConfig | None, options: dict[str, Any]) -> AsyncIterator[Any]:
        """Stream with the drive of a guest, which is set while the graph runs, and not while its consumer does."""
        host = await _host()
        async with host.guest(self, input, config) as visit:
            chunks = super().astream(visit.input, config, **options)
            while True:
                with inside(visit.drive):
                    chunk = await anext(chunks, _END)
                if chunk is _END:
                    return
                yield chunk

    def shown(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the output schema shows of a state."""
        names = [self.output_channels] if isinstance(self.output_channels, str) else self.output_channels
        return {name: values[name] for name in names if name in values}

    def _sync(self, config: RunnableConfig | None, options: dict[str, Any]) -> dict[str, Any]:
        options.pop("checkpoint_during", None)
        inherited = (config or {}).get("configurable", {}).get("__pregel_checkpointer")
        saver = self.checkpointer or inherited
        options["durability"] = "sync" if saver else None
        return options


def govern(graph: CompiledStateGraph[Any, Any, Any, Any]) -> GovernedGraph:
    """Turn the freshly compiled graph of a workflow into a governed one (in place; `copy` keeps the class)."""
    graph.__class__ = GovernedGraph
    assert isinstance(graph, GovernedGraph)  # for the type checkers
    return graph


@dataclass(frozen=True)
class Visit:
    """One run of a guest: its drive, and the input as the workflow's schema reads it."""

    drive: Drive
    input: Any


class Host(Protocol):
    """The plane of guest mode: gives a drive to a graph that runs under somebody else's checkpointer."""

    def guest(
        self, graph: GovernedGraph, input: Any, config: RunnableConfig | None
    ) -> AbstractAsyncContextManager[Visit]: ...


async def _host() -> Host:
    """The plane that the setting `guest` names; kept by whoever opens it. Files are read in a thread."""
    opening = await asyncio.to_thread(lambda: Settings.load().resolve("guest"))
    host: Host = await opening()
    return host
