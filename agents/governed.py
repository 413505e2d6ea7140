"""Finds the tools inside a compiled graph, to refuse those that would bypass the gateway."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.pregel import Pregel

from interlock.tools.adopted import adopted
from interlock.tools.tool import GovernedTool

__all__ = ["ungoverned", "walk"]

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
    tools = [thing for thing in walk(graph) if isinstance(thing, BaseTool)]
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


def walk(start: Any) -> Iterator[Any]:
    """All at hand that may be or hold a tool or graph, each once. `seen` keeps them, lest an id be used again."""
    left, seen = [start], dict[int, Any]()
    while left:
        thing = left.pop()
        if id(thing) not in seen:
            seen[id(thing)] = thing
            yield thing
            left.extend(_inside(thing))


def _inside(thing: Any) -> Iterator[Any]:
    match thing:
        case GovernedTool():
            return
        case BaseTool() if adopted(thing):
            return
        case Pregel():
            yield from (part for node in thing.nodes.values() for part in (node.bound, *node.writers))
        case Runnable():
            yield from vars(thing).values()
        case partial():
            yield from (thing.func, thing.args, thing.keywords)
        case Mapping():
            yield from thing.values()
        case list() | tuple() | set() | frozenset():
            yield from thing
        case FunctionType() | MethodType():
            yield from _behind(thing)
        case _ if callable(thing) and not isinstance(thing, type):
            yield from (type(thing).__call__, *getattr(thing, "__dict__", {}).values())


def _behind(function: FunctionType | MethodType) -> Iterator[Any]:
    """What a function has at hand: its object, what it wraps, its defaults, its closure, globals that it names."""
    if isinstance(function, MethodType):
        bound = function.__self__
        yield from (function.__func__, bound)
        yield from () if isinstance(bound, type) else getattr(bound, "__dict__", {}).values()
        return
    yield from vars(function).values()
    yield from (function.__defaults__, function.__kwdefaults__)
    yield from _closure(function).values()
    yield from _globals(function)


def _globals(function: FunctionType) -> Iterator[Any]:
    """Tools and graphs, lists of them, and functions of the same package; also as attributes of modules."""
    names = set(_names(function.__code__))
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    found += [vars(one)[name] for one in found if isinstance(one, ModuleType) for name in names if name in vars(one)]
    for value in found:
        near = isinstance(value, FunctionType) and _package(value) == _package(function)
        if near or isinstance(value, (Runnable, Mapping, list, tuple, set, frozenset, partial)):
            yield value


def _names(code: CodeType) -> Iterator[str]:
    """Names that a function uses, those of functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _package(function: FunctionType) -> str:
    return function.__module__.partition(".")[0]


def _closure(function: Any) -> dict[str, Any]:
    plain = getattr(inspect.unwrap(function), "__func__", function) if callable(function) else None
    cells = getattr(plain, "__closure__", None) or ()
    names = plain.__code__.co_freevars if plain is not None and cells else ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True) if _filled(cell)}


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
