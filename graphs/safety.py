"""What LangGraph may do with governed nodes: no cache, no time-out around effects, no retry of our errors.

A retried node finds its subgraphs where it left them: LangGraph counts subgraphs on from one attempt to the next, so
each attempt would begin them anew in a namespace of its own, and repeat their effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph import StateGraph
from langgraph.types import RetryPolicy

from interlock import errors

__all__ = ["make_safe", "runnable_of"]

_SCRATCHPAD = "__pregel_scratchpad"


def make_safe(graph: StateGraph[Any, Any, Any, Any], governed: Iterable[str], *, writes: bool) -> None:
    """Check the policies of a graph's nodes, and keep its retries away from our errors.

    `writes`: the governed nodes may change outside systems. Raises ConfigurationError.
    """
    names, defaults = set(governed), graph._node_defaults
    for name in names:
        _check(name, graph.nodes[name], writes)
    if names:
        _check("set_node_defaults", defaults, writes)
    for name, spec in graph.nodes.items():
        if spec.retry_policy or defaults.retry_policy:
            spec.runnable = _counting_anew(name, spec.runnable)
        spec.retry_policy = _patient(spec.retry_policy)
    defaults.retry_policy = _patient(defaults.retry_policy)


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


def _patient(policy: RetryPolicy | Sequence[RetryPolicy] | None) -> RetryPolicy | Sequence[RetryPolicy] | None:
    if policy is None:
        return None
    if isinstance(policy, RetryPolicy):
        return policy._replace(retry_on=_Theirs(policy.retry_on))
    return tuple(one._replace(retry_on=_Theirs(one.retry_on)) for one in policy)


def _counting_anew(name: str, inner: Any) -> Any:
    """A node each attempt of which counts its subgraphs from the first one."""

    async def node(state: Any, config: RunnableConfig) -> Any:
        fresh = _anew(config)
        token = var_child_runnable_config.set(fresh)  # which a graph inherits that is invoked without a config
        try:
            return await inner.ainvoke(state, fresh)
        finally:
            var_child_runnable_config.reset(token)

    return runnable_of(name, node)


def _anew(config: RunnableConfig) -> RunnableConfig:
    conf = config.get("configurable", {})
    pad = conf[_SCRATCHPAD]
    counters = {name: type(getattr(pad, name))() for name in ("subgraph_counter", "call_counter")}
    return {**config, "configurable": {**conf, _SCRATCHPAD: replace(pad, **counters)}}


class _Theirs:
    """Retries what the graph's author wanted retried, and none of our errors: they were decided."""

    def __init__(self, wanted: Any) -> None:
        self._wanted: Callable[[Exception], bool] = wanted._wanted if isinstance(wanted, _Theirs) else _test(wanted)

    def __call__(self, exc: Exception) -> bool:
        return not isinstance(exc, errors.InterlockError) and self._wanted(exc)


def _test(wanted: Any) -> Callable[[Exception], bool]:
    if callable(wanted) and not isinstance(wanted, type):
        return lambda exc: bool(wanted(exc))
    kinds = wanted if isinstance(wanted, type) else tuple(wanted)
    return lambda exc: isinstance(exc, kinds)
