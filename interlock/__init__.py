"""Interlock: an autonomy control plane on LangGraph. Its public names are loaded when first used."""

from __future__ import annotations

from importlib import import_module as _load
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlock import errors as errors
    from interlock import testing as testing
    from interlock.agents.agent import Agent as Agent
    from interlock.graphs.governed import governed as governed
    from interlock.graphs.rules import Rule as Rule
    from interlock.graphs.workflow import Workflow as Workflow
    from interlock.ids import Reason as Reason
    from interlock.money import Money as Money
    from interlock.oversight.actors import Person as Person
    from interlock.oversight.authority import Authority as Authority
    from interlock.oversight.inbox import Decision as Decision
    from interlock.oversight.inbox import Page as Page
    from interlock.plane import ControlPlane as ControlPlane
    from interlock.plane import run as run
    from interlock.tools.tool import DidNotHappen as DidNotHappen
    from interlock.tools.tool import Happened as Happened
    from interlock.tools.tool import ToolContext as ToolContext
    from interlock.tools.tool import ToolResult as ToolResult
    from interlock.tools.tool import Unsure as Unsure
    from interlock.tools.tool import tool as tool
    from interlock.tools.untrusted import Untrusted as Untrusted

__all__ = [
    "Agent",
    "Authority",
    "ControlPlane",
    "Decision",
    "DidNotHappen",
    "Happened",
    "Money",
    "Page",
    "Person",
    "Reason",
    "Rule",
    "ToolContext",
    "ToolResult",
    "Unsure",
    "Untrusted",
    "Workflow",
    "errors",
    "governed",
    "run",
    "testing",
    "tool",
]

if not TYPE_CHECKING:  # types stay exact, `import interlock` stays fast, and no layer imports the entrance
    _MODULES = {
        "interlock.agents.agent": ("Agent",),
        "interlock.graphs.governed": ("governed",),
        "interlock.graphs.rules": ("Rule",),
        "interlock.graphs.workflow": ("Workflow",),
        "interlock.ids": ("Reason",),
        "interlock.money": ("Money",),
        "interlock.oversight.actors": ("Person",),
        "interlock.oversight.authority": ("Authority",),
        "interlock.oversight.inbox": ("Decision", "Page"),
        "interlock.plane": ("ControlPlane", "run"),
        "interlock.tools.tool": ("DidNotHappen", "Happened", "ToolContext", "ToolResult", "Unsure", "tool"),
        "interlock.tools.untrusted": ("Untrusted",),
    }
    _SOURCES = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name: str) -> object:
        if name in ("errors", "testing"):
            return _load(f"interlock.{name}")
        if name not in _SOURCES:
            raise AttributeError(f"module 'interlock' has no attribute {name!r}")
        value = getattr(_load(_SOURCES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
