"""A branch of a parallel list: a subgraph whose updates, not whose whole state, go back to the parent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.channels.last_value import LastValue
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from interlock.graphs.state import UPDATES

Branch = CompiledStateGraph[Any, Any, Any, Any]


def as_branch(branch: Branch, channels: Mapping[str, Any]) -> Any:
    """A node that runs `branch` on the parent's state and gives its updates, in order, to the parent's reducers."""

    async def run(state: dict[str, Any], config: RunnableConfig) -> list[Command[Any]]:
        done = await branch.ainvoke(state, config)
        return [Command(update=update) for update in _once_each(done.get(UPDATES, []), channels)]

    return run


def _once_each(updates: list[dict[str, Any]], channels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keep the last write to a channel without a reducer: it takes one value per step."""
    last = {name: i for i, update in enumerate(updates) for name in update}
    kept = [
        {n: v for n, v in update.items() if last[n] == i or not isinstance(channels.get(n), LastValue)}
        for i, update in enumerate(updates)
    ]
    return [update for update in kept if update]
