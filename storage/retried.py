"""Refuses a subgraph that LangGraph has moved: a node that is tried again would find it empty, and do it all again.

LangGraph numbers the subgraphs of a node on from one attempt to the next. Whoever makes a node count anew puts its
namespace under MENDED; any other node that is tried again cannot tell its second subgraph from its first, moved.
"""

from __future__ import annotations

from langchain_core.runnables import RunnableConfig

from interlock import errors

__all__ = ["MENDED", "refuse_moved"]

MENDED = "__interlock_mended"  # LangGraph keeps keys that begin so out of the metadata of checkpoints


def refuse_moved(config: RunnableConfig) -> None:
    """Raises ConfigurationError when this is the place of a subgraph that may have had another one before."""
    conf = config.get("configurable", {})
    node, _, number = conf.get("checkpoint_ns", "").rpartition("|")
    if not number.isdigit() or conf.get(MENDED) == node:
        return
    info = getattr(conf.get("__pregel_runtime"), "execution_info", None)
    if info is not None and info.node_attempt > 1:
        raise errors.ConfigurationError(
            f"{node.rpartition('|')[2].partition(':')[0]!r} was tried again around a graph that was made while it ran",
            "make the graph before the workflow is registered, or take the retry policy from the node around it",
        )
