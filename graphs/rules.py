"""Rules by which a workflow steers who performs a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interlock.oversight.actors import Actor

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """One rule of a workflow: `when(task, case)` true, then prefer, exclude or assign; `why` is shown to people.

    `prefer` and `exclude` are actor ids or kinds ("agent", "person"); `assign` is an actor id, {"skill": ...}, or
    "person".
    """

    when: Callable[[Any, Any], bool]
    prefer: str | None = None
    exclude: str | None = None
    assign: str | dict[str, str] | None = None
    why: str = ""

    def matches(self, actor: Actor, pattern: str | dict[str, str]) -> bool:
        if isinstance(pattern, dict):
            return pattern["skill"] in actor.skills
        return pattern in (actor.id, actor.id.partition(":")[0])
