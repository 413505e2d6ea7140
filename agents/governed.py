"""Finds the tools inside a compiled graph, to refuse those that would bypass the gateway."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from interlock.tools.adopted import adopted
from interlock.tools.tool import GovernedTool

__all__ = ["ungoverned"]

# Tools of well-known packages that only move the conversation or a list in the graph's state.
_HARMLESS = frozenset(
    {
        "langgraph_supervisor.handoff",
        "langgraph_swarm.handoff",
        "langchain.agents.middleware.todo",
        "deepagents.middleware.subagents",
    }
)
_FILES = "deepagents.middleware.filesystem"
_FILES_IN_STATE = ("deepagents.backends.state", "StateBackend")


def ungoverned(graph: Pregel[Any, Any, Any, Any], internal: frozenset[str] = frozenset()) -> list[str]:
    """Names of tools in the graph, its subgraphs and its nodes' closures that do not go through the gateway.

    What a node's own code does is beyond this check; there the credentials, which only the gateway has, are the guard.
    """
    tools = [thing for thing in _walk(graph, set()) if isinstance(thing, BaseTool)]
    return sorted({tool.name for tool in tools if not _accepted(tool, internal)})


def _accepted(tool: BaseTool, internal: frozenset[str]) -> bool:
    if isinstance(tool, GovernedTool) or adopted(tool) or tool.name in internal:
        return True
    function = _function(tool)
    module = getattr(function, "__module__", "")
    if module == _FILES:
        backend = type(getattr(_closure(function).get("self"), "backend", None))
        return (backend.__module__, backend.__name__) == _FILES_IN_STATE
    return module in _HARMLESS


def _function(tool: BaseTool) -> Any:
    return getattr(tool, "coroutine", None) or getattr(tool, "func", None)


def _walk(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Everything that may hold or be a tool, each object once."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, BaseTool):
        yield thing
    for inner in _inside(thing):
        yield from _walk(inner, seen)


def _inside(thing: Any) -> Iterator[Any]:
    match thing:
        case Pregel():
            yield from (node.bound for node in thing.nodes.values())
        case ToolNode():
            yield from thing.tools_by_name.values()
        case RunnableSequence():
            yield from thing.steps
        case RunnableBinding():
            yield thing.bound
        case BaseTool() if not isinstance(thing, GovernedTool):
            yield _function(thing)
        case Mapping():
            yield from thing.values()
        case list() | tuple() | set() | frozenset():
            yield from thing
        case _:
            yield from _behind(thing)


def _behind(thing: Any) -> Iterator[Any]:
    """Functions that a node wraps, and what they have closed over."""
    for name in ("func", "afunc"):
        if inspect.isroutine(inner := getattr(thing, name, None)):
            yield inner
    if inspect.isfunction(thing) or inspect.ismethod(thing):
        yield from _closure(thing).values()
        yield from _globals(thing)


def _globals(function: Any) -> Iterator[Any]:
    plain = getattr(inspect.unwrap(function), "__func__", function)
    named = (plain.__globals__.get(name) for name in plain.__code__.co_names)
    yield from (value for value in named if isinstance(value, Pregel | ToolNode | BaseTool))


def _closure(function: Any) -> dict[str, Any]:
    plain = inspect.unwrap(function) if callable(function) else function
    plain = getattr(plain, "__func__", plain)
    cells = getattr(plain, "__closure__", None) or ()
    names = plain.__code__.co_freevars if cells else ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True) if _filled(cell)}


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
