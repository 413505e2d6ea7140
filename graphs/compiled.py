"""The compiled graph of a workflow: a CompiledStateGraph that fixes durability, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from langgraph.graph.state import CompiledStateGraph

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from interlock.graphs.workflow import Workflow


class GovernedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """Whatever durability a caller asks for, every step is durable before the next one begins."""

    workflow: Workflow

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # type: ignore[override]  # one signature for all overloads
        return super().stream(input, config, **self._sync(config, options))

    def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # type: ignore[override]  # one signature for all overloads
        return super().astream(input, config, **self._sync(config, options))

    def _sync(self, config: RunnableConfig | None, options: dict[str, Any]) -> dict[str, Any]:
        options.pop("checkpoint_during", None)
        inherited = (config or {}).get("configurable", {}).get("__pregel_checkpointer")
        saver = self.checkpointer or inherited
        options["durability"] = "sync" if saver else None
        return options


def govern(graph: CompiledStateGraph[Any, Any, Any, Any], workflow: Workflow) -> GovernedGraph:
    """Turn a freshly compiled graph into a governed one (in place; `copy` keeps the class)."""
    graph.__class__ = GovernedGraph
    assert isinstance(graph, GovernedGraph)  # for the type checkers
    graph.workflow = workflow
    return graph
