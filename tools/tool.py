"""Calling tools from inside a case: `invoke` for code, `GovernedTool` for everything that takes LangChain tools."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphInterrupt
from pydantic import Field

from interlock import errors
from interlock.ids import canonical
from interlock.tools.contract import DidNotHappen, Happened, ToolContext, ToolResult, ToolSpec, Unsure, tool
from interlock.tools.waiting import PERFORMANCE, Performance, Suspended, performing

__all__ = [
    "DidNotHappen",
    "GovernedTool",
    "Happened",
    "Suspended",
    "ToolContext",
    "ToolResult",
    "ToolSpec",
    "Unsure",
    "governed_tool",
    "invoke",
    "performing",
    "tool",
]


async def invoke(name: str, args: Any, key: str | int | None = None) -> ToolResult:
    """Call a tool from the code of a task; give `key` to tell parallel calls of one tool apart.

    Never gives `asked`: a call that has to wait raises Suspended, which no `except Exception` catches.
    Raises ConfigurationError outside a governed task, InputError on a key that is none.
    """
    try:
        return await _invoke(_performance(name), name, args, key, in_place=False)
    except GraphInterrupt as signal:
        raise Suspended(signal) from None


def _named(key: Any) -> str:
    """The caller's key as text: the number 3 is a key like any other, and not the fourth call without one."""
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise errors.InputError(f"key is {key!r}", "give text or a number that stays the same after a restart")
    return str(key)


def _performance(name: str) -> Performance:
    performance = PERFORMANCE.get()
    if performance is None:
        raise errors.ConfigurationError(
            f"{name} was called outside a governed task", "use plane.call_tool, or a node of a governed graph"
        )
    return performance


async def _invoke(
    performance: Performance, name: str, args: Any, key: str | int | None, *, in_place: bool
) -> ToolResult:
    site = performance.here()
    named = None if key is None else _named(key)
    slot = performance.slot(name) if named is None else named
    if signal := performance.swallowed(site.ns):
        raise signal
    with performance.flying():
        used = 0
        while True:
            result = await performance.gateway.call(name, args, site, key=named, slot=slot)
            if result.hold is not None:
                performance.hold(result.hold, site)
            waits = result.status == "asked" or (result.status == "unknown" and (in_place or site.guest))
            decided = result.items[:-1] if waits else result.items
            performance.replayed(decided[used:], site)
            if not waits:
                return result
            await performance.ask(result.items[-1], site)
            used = len(result.items)


class GovernedTool(BaseTool):
    """A registered tool as LangChain knows tools; each use of it is a call through the gateway.

    To a model a denial or failure is a ToolMessage with status error; to code it raises, as `call` does.
    """

    tool: str = Field(description="The registered name; `name` is the one a model sees.")
    args_schema: Any = None

    def _run(self, /, **args: Any) -> Any:
        raise errors.ConfigurationError(f"{self.tool} was called without await", "use ainvoke: the plane is async")

    async def _arun(self, /, **args: Any) -> Any:
        result = await _invoke(_performance(self.tool), self.tool, args, None, in_place=True)
        return result.unwrap()

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        try:
            return await super().ainvoke(input, config, **kwargs)
        except (errors.GovernanceError, errors.ToolFailed) as exc:
            if not (isinstance(input, dict) and input.get("type") == "tool_call"):
                raise
            return ToolMessage(_told(exc), tool_call_id=input["id"], name=self.name, status="error")


def governed_tool(spec: ToolSpec) -> GovernedTool:
    """The tool object to give to `create_agent`, ToolNode, supervisors and the like."""
    description = spec.description or spec.name
    schema = {"title": spec.shown, "description": description, **spec.arguments.schema}
    return GovernedTool(name=spec.shown, description=description, args_schema=schema, tool=spec.name)


def _told(exc: errors.InterlockError) -> str:
    reasons = [list(reason) for reason in getattr(exc, "reasons", [])]
    return canonical({"error": exc.code, "message": exc.message, "reasons": reasons}).decode()
