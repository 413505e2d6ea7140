"""What LangGraph may do with governed nodes: no cache, no time-out around effects. Retries: `agents/retries.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from langgraph.graph import StateGraph

from interlock import errors

__all__ = ["check_safe", "runnable_of"]


def check_safe(graph: StateGraph[Any, Any, Any, Any], governed: Iterable[str], *, writes: bool) -> None:
    """Check the policies of a graph's nodes.

    `writes`: the governed nodes may change outside systems. Raises ConfigurationError.
    """
    names, defaults = set(governed), graph._node_defaults
    for name in names:
        _check(name, graph.nodes[name], writes)
    if names:
        _check("set_node_defaults", defaults, writes)


def runnable_of(name: str, node: Callable[..., Any]) -> Any:
    """What LangGraph makes of a function that is added as a node."""
    scratch: StateGraph[Any, Any, Any, Any] = StateGraph(dict)  # the public way to it
    scratch.add_node(name, node)
    return scratch.nodes[name].runnable


def _check(where: str, spec: Any, writes: bool) -> None:
    if spec.cache_policy is not None:
        raise errors.ConfigurationError(
            f"{where} has a cache policy", "a governed node runs each time; cache in a tool"
        )
    if spec.timeout is not None and writes:
        raise errors.ConfigurationError(
            f"{where} has a time-out of LangGraph and may write", "set timeout= of the tool, or the budget of the task"
        )
