"""The contract of a task: what it needs, what it gives, who may perform it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from interlock import errors
from interlock.agents.guardrails import Budget
from interlock.graphs.rules import Rule

Code = Callable[[Any, Any], Awaitable[Any]]


def names_of(field: str, given: Iterable[str]) -> tuple[str, ...]:
    """The names in a list. Raises ConfigurationError for a single text, which would be the list of its letters."""
    if isinstance(given, str):
        raise errors.ConfigurationError(f"{field}={given!r} is one name, not a list", f"write {field}=[{given!r}]")
    return tuple(given)


@dataclass(frozen=True)
class TaskSpec:
    """One task of a workflow. `run` is set for code tasks, which act as `agent:<workflow>.<task>`.

    `bounded`: its author gave `tools`, be it an empty list.
    """

    name: str
    workflow: str
    skill: str
    run: Code | None = None
    instructions: str = ""
    output: type[BaseModel] | None = None
    into: str | None = None
    tools: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    context: tuple[str, ...] = ()
    sla: timedelta | None = None
    rules: tuple[Rule, ...] = ()
    assignee: Callable[[Any], str | None] | None = None
    budget: Budget = field(default_factory=Budget)
    min_confidence: float | None = None
    show: tuple[str, ...] = ()
    bounded: bool = False

    @property
    def allowed(self) -> frozenset[str] | None:
        """The tools that may be called in it; None, when it names none, leaves that to scopes and policies."""
        return frozenset(self.tools) if self.bounded else None

    @property
    def route_node(self) -> str:
        return f"{self.name}.route"

    @property
    def person_node(self) -> str:
        return f"{self.name}.person"

    @property
    def code_actor(self) -> str:
        """As whom a code task acts."""
        return f"agent:{self.workflow}.{self.name}"

    def metadata(self, kind: str, owner: str) -> Mapping[str, Any]:
        """What Studio shows beside the node."""
        shown: dict[str, Any] = {"kind": kind, "task": self.name, "skill": self.skill, "owner": owner}
        shown["tools"] = list(self.tools)
        shown["sla"] = str(self.sla) if self.sla else ""
        return shown


@dataclass(frozen=True)
class ApprovalSpec:
    """A gate of the flow: the action `<workflow>.<task>`, asked of people who hold `authority`."""

    name: str
    workflow: str
    authority: str
    amount: Callable[[Any], Any] | str | None = None
    show: tuple[str, ...] = ()
    sla: timedelta | None = None
    escalate: tuple[str, ...] = ()
    call: Callable[[Any], tuple[str, dict[str, Any]]] | None = None
    for_task: str | None = None

    @property
    def action(self) -> str:
        return f"{self.workflow}.{self.name}"

    def metadata(self, owner: str) -> Mapping[str, Any]:
        sla = str(self.sla) if self.sla else ""
        return {"kind": "approval", "task": self.name, "authority": self.authority, "owner": owner, "sla": sla}
