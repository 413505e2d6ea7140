"""The contract of a task: what it needs, what it gives, who may perform it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from interlock import errors
from interlock.agents.guardrails import Budget
from interlock.graphs.rules import Rule
from interlock.oversight.escalation import Deadlines

Code = Callable[[Any, Any], Awaitable[Any]]


def names_of(field: str, given: Iterable[str]) -> tuple[str, ...]:
    """The names in a list. Raises ConfigurationError for a single text, which would be the list of its letters."""
    if isinstance(given, str):
        raise errors.ConfigurationError(f"{field}={given!r} is one name, not a list", f"write {field}=[{given!r}]")
    return tuple(given)


def stages_of(authority: str | Sequence[str]) -> tuple[str, ...]:
    """The authorities of a gate, in order. Raises ConfigurationError on none, on one twice, and on what is no name."""
    stages = (authority,) if isinstance(authority, str) else tuple(authority)
    if not stages or not all(isinstance(one, str) and one for one in stages) or len(set(stages)) < len(stages):
        raise errors.ConfigurationError(f"authority is {authority!r}", "name one, or several in their order")
    return stages


@dataclass(frozen=True)
class TaskSpec:
    """One task of a workflow. `run` is set for code tasks, which act as `agent:<workflow>.<task>`.

    `bounded`: its author gave `tools`, be it an empty list. `deadlines` are those of what people are asked in it.
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
    deadlines: Deadlines | None = None
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

    @property
    def sla(self) -> timedelta | None:
        return self.deadlines.sla if self.deadlines else None


@dataclass(frozen=True)
class ApprovalSpec:
    """A gate of the flow: the action `<workflow>.<task>`, asked of people who hold `authority`.

    `stages` are the authorities in the order in which they are asked, each by `quorum` persons; `authority` is the
    last of them.
    """

    name: str
    workflow: str
    stages: tuple[str, ...]
    quorum: int = 1
    amount: Callable[[Any], Any] | str | None = None
    show: tuple[str, ...] = ()
    deadlines: Deadlines | None = None
    call: Callable[[Any], tuple[str, dict[str, Any]]] | None = None
    for_task: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.quorum, int) or isinstance(self.quorum, bool) or self.quorum < 1:
            raise errors.ConfigurationError(f"the quorum of {self.name!r} is {self.quorum!r}", "give at least 1")

    @property
    def needed(self) -> dict[str, int]:
        """How many persons of each authority the gate itself asks for."""
        return dict.fromkeys(self.stages, self.quorum)

    @property
    def action(self) -> str:
        return f"{self.workflow}.{self.name}"

    @property
    def authority(self) -> str:
        return self.stages[-1]

    @property
    def sla(self) -> timedelta | None:
        return self.deadlines.sla if self.deadlines else None

    def metadata(self, owner: str) -> Mapping[str, Any]:
        sla = str(self.sla) if self.sla else ""
        return {"kind": "approval", "task": self.name, "authority": self.authority, "owner": owner, "sla": sla}
