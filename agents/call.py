"""`call`: what a code agent gets to act with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from langchain_core.tools import BaseTool

from interlock import errors
from interlock.agents.models import Models
from interlock.clock import Clock
from interlock.observability.ledger import Ledger
from interlock.tools.site import SITE
from interlock.tools.tool import invoke

__all__ = ["Call", "Fact"]

Retrieve = Callable[[str, int, Mapping[str, Any] | None], Awaitable[Sequence["Fact"]]]
Launch = Callable[[str, Any, bool], Awaitable[Any]]


class Fact(Protocol):
    """What this layer needs of a retrieved fact."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def version(self) -> Any: ...
    @property
    def as_of(self) -> Any: ...
    @property
    def trust(self) -> Any: ...


@dataclass
class Call:
    """One performance of one task. `await call("tool.name", {...})` returns the tool's plain result.

    It raises Denied, Rejected, ToolFailed or UnknownOutcome; a call that waits for a person suspends the case.
    The callables come from the plane: `retrieve(text, k, where)` reads under the actor's labels and the case's
    snapshot, `launch(workflow, input, wait)` starts a child case, `governed(name)` gives the tool object for models.
    """

    case_id: str
    task: str
    actor: str
    requester: str
    tenant: str
    clock: Clock
    models: Models
    governed: Callable[[str], BaseTool]
    retrieve: Retrieve
    launch: Launch
    ledger: Ledger
    deadline: datetime | None = None
    done: list[dict[str, Any]] = field(default_factory=list, init=False)

    async def __call__(self, tool: str, args: Mapping[str, Any] | None = None, *, key: str | int | None = None) -> Any:
        """Call a governed tool. Parallel calls of one tool need `key`, so that a restart can tell them apart."""
        given = {} if args is None else args
        result = await invoke(tool, given, key)
        self.done.append({"tool": tool, "args": given, "status": result.status, "value": result.value})
        return result.unwrap()

    async def context(self, text: str, k: int = 5, where: Mapping[str, Any] | None = None) -> list[Any]:
        """The k best facts this actor may read, as the case's snapshot knows them."""
        facts = list(await self.retrieve(text, k, where))
        site = SITE.get()
        snapshot = site.snapshot if site is not None else 0
        self.note("context.retrieved", {"query": text, "facts": [fact.id for fact in facts], "snapshot": snapshot})
        self.done.append({"context": text, "facts": [fact.id for fact in facts]})
        return facts

    async def start(self, workflow: str, input: Any, *, wait: bool = True) -> Any:
        """Start a child case, with no more rights than this case's requester has."""
        return await self.launch(workflow, input, wait)

    def note(self, kind: str, data: Mapping[str, Any], ns: str | None = None) -> None:
        """Put a ledger event into the commit of the running task. Raises ConfigurationError outside a case."""
        site = SITE.get()
        if site is None:
            raise errors.ConfigurationError(f"{kind} outside a case", "perform agents inside a governed node")
        about = {"task": self.task, **data}
        event = self.ledger.event(kind, tenant=self.tenant, case_id=self.case_id, actor=self.actor, data=about)
        self.ledger.defer(event, ns or site.ns, site.attempt)
