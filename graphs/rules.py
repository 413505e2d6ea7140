"""Rules by which a workflow steers who performs a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interlock import errors
from interlock.oversight.actors import Actor

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """One rule of a workflow: `when(task, case)` true, then prefer, exclude or assign; `why` is shown to people.

    `prefer` and `exclude` are actor ids or kinds ("agent", "person"); `assign` is an actor id, {"skill": ...}, or
    "person". Raises ConfigurationError for a rule that could not be applied.
    """

    when: Callable[[Any, Any], bool]
    prefer: str | None = None
    exclude: str | None = None
    assign: str | dict[str, str] | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if not callable(self.when):
            raise errors.ConfigurationError(f"when= of a rule is {self.when!r}", "give a function of (task, case)")
        given = [one for one in (self.prefer, self.exclude, self.assign) if one is not None]
        if not given or not all(isinstance(one, str) or (one is self.assign and _is_skill(one)) for one in given):
            raise errors.ConfigurationError(
                f"a rule with {given} changes nothing", 'give prefer=, exclude= or assign=, as "agent:x" or "person"'
            )

    def matches(self, actor: Actor, pattern: str | dict[str, str]) -> bool:
        if isinstance(pattern, dict):
            return pattern["skill"] in actor.skills
        return pattern in (actor.id, actor.id.partition(":")[0])


def _is_skill(pattern: Any) -> bool:
    return isinstance(pattern, dict) and list(pattern) == ["skill"] and isinstance(pattern["skill"], str)
