"""What a task asks of an actor, and what it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from interlock.agents.guardrails import Budget

__all__ = ["Contract", "Outcome"]


@dataclass(frozen=True)
class Contract:
    """The task as an agent sees it.

    `reads`: keys of the state shown to a model, None shows all. `context`: sources to retrieve `facts` facts from
    before the first model call, searched by `query(state)`. `into`: the state key of the result.
    """

    task: str
    skill: str = ""
    instructions: str = ""
    output: type[BaseModel] | None = None
    into: str | None = None
    tools: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    facts: int = 5
    query: Callable[[Mapping[str, Any]], str] | None = None
    reads: tuple[str, ...] | None = None
    budget: Budget = field(default_factory=Budget)
    min_confidence: float | None = None


@dataclass(frozen=True)
class Outcome:
    """A result: `update` goes to the state; `found` is what the agent saw on its way, as plain JSON.

    A code agent may return one itself, to give `confidence` (0 to 1) and `evidence` beside its update.
    """

    update: dict[str, Any]
    confidence: float | None = None
    evidence: Any = None
    found: dict[str, Any] = field(default_factory=dict)
