"""What LangGraph does when it tries a node again: never after our errors, and with its subgraphs where they were.

LangGraph counts the subgraphs of a node on from one attempt to the next, so each attempt would begin them anew in a
namespace of its own, and repeat their effects. `mend` changes that in every compiled graph that it can reach; a
graph that is made while a case runs is caught when its subgraph looks for its checkpoint (`storage/retried.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, var_child_runnable_config
from langgraph.pregel import Pregel
from langgraph.types import RetryPolicy

from interlock import errors
from interlock.agents.governed import walk
from interlock.storage.retried import MENDED

__all__ = ["mend"]

_SCRATCHPAD = "__pregel_scratchpad"


def mend(*things: Any) -> None:
    """Make retries safe in these graphs, or in those that these functions have at hand. Twice is once."""
    for graph in walk(list(things)):
        if isinstance(graph, Pregel):
            graph.retry_policy = _patient(graph.retry_policy)
            for node in graph.nodes.values():
                _mend_node(node, graph.retry_policy)


def _mend_node(node: Any, default: Sequence[RetryPolicy]) -> None:
    if not (node.retry_policy or default):
        return
    if node.retry_policy:
        node.retry_policy = _patient(node.retry_policy)
    if not isinstance(node.bound, _CountingAnew):
        node.bound = _CountingAnew(node.bound)
        vars(node).pop("node", None)  # what it has cached of itself


def _patient(policies: Sequence[RetryPolicy]) -> tuple[RetryPolicy, ...]:
    return tuple(one._replace(retry_on=_Theirs(one.retry_on)) for one in policies)


class _CountingAnew(Runnable[Any, Any]):
    """A node each attempt of which counts its subgraphs from the first one."""

    def __init__(self, inner: Runnable[Any, Any]) -> None:
        self.inner = inner

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with _anew(config) as fresh:
            return self.inner.invoke(input, fresh, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with _anew(config) as fresh:
            return await self.inner.ainvoke(input, fresh, **kwargs)


@contextmanager
def _anew(config: RunnableConfig | None) -> Iterator[RunnableConfig]:
    """The config of a new attempt, which is also the one that a graph inherits that is invoked without any."""
    fresh = _fresh(ensure_config(config))
    token = var_child_runnable_config.set(fresh)
    try:
        yield fresh
    finally:
        var_child_runnable_config.reset(token)


def _fresh(config: RunnableConfig) -> RunnableConfig:
    conf = config.get("configurable", {})
    pad = conf.get(_SCRATCHPAD)
    if pad is None:
        return config
    counters = {name: type(getattr(pad, name))() for name in ("subgraph_counter", "call_counter")}
    mended = {_SCRATCHPAD: replace(pad, **counters), MENDED: conf.get("checkpoint_ns", "")}
    return {**config, "configurable": {**conf, **mended}}


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
