"""LangChain tools that a graph holds already: from now on each use of such an object goes through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool

from interlock import errors
from interlock.tools.tool import governed_tool
from interlock.tools.waiting import PERFORMANCE

if TYPE_CHECKING:
    from interlock.tools.contract import ToolSpec

__all__ = ["adopt", "adopted", "pristine"]

_MARK = "__interlock_adopted__"
_CHANGED = ("ainvoke", "invoke", _MARK)


def pristine(tool: BaseTool, **changes: Any) -> BaseTool:
    """A copy with other fields, which is itself again: for the gateway, which runs it."""
    copy = tool.model_copy(update=changes)
    for name in _CHANGED:
        vars(copy).pop(name, None)
    return copy


def adopted(tool: BaseTool) -> bool:
    """Whether a tool object was adopted."""
    return _MARK in vars(tool)


def adopt(tool: BaseTool, spec: ToolSpec) -> None:
    """Turn each `ainvoke` and `invoke` of this object into a call of the registered tool.

    The object is changed in place, since the graph's own code holds it. Outside governed tasks it then refuses.
    """
    stand_in = governed_tool(spec).model_copy(update={"name": tool.name})

    def invoke(input: Any, config: Any = None, **kwargs: Any) -> Any:
        return _from_thread(tool.name, stand_in.ainvoke(input, config, **kwargs))

    # Past pydantic, which takes only fields: an attribute of the object goes before the method of its class.
    for name, value in zip(_CHANGED, (stand_in.ainvoke, invoke, spec.name), strict=True):
        object.__setattr__(tool, name, value)


def _from_thread(name: str, call: Coroutine[Any, Any, Any]) -> Any:
    """Run a call on the loop of the task, from the thread in which LangGraph runs plain functions."""
    performance = PERFORMANCE.get()
    loop = performance.loop if performance is not None else None
    if loop is None or _runs_here(loop):
        call.close()
        raise errors.ConfigurationError(f"{name} was called without await", "use ainvoke, inside a governed task")
    return asyncio.run_coroutine_threadsafe(call, loop).result()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
