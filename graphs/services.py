"""What nodes and engines share: the lower layers, opened once per plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interlock import errors
from interlock.agents.models import Models
from interlock.clock import Clock
from interlock.context.context import Context
from interlock.graphs.cases import Freed
from interlock.observability.ledger import Ledger
from interlock.oversight.actions import Request, Verdict
from interlock.oversight.actors import Actor, Actors
from interlock.oversight.inbox import Inbox
from interlock.oversight.policy import Policies
from interlock.oversight.switches import Switches
from interlock.settings import Settings
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.database import Database
from interlock.tools.gateway import Gateway
from interlock.tools.registry import Tools

StartChild = Callable[..., Awaitable[Any]]


async def _not_open(*_: Any) -> Any:
    raise errors.ConfigurationError("child cases need a plane", "open a ControlPlane")


def _nobody(tenant: str, case_id: str) -> None:
    """Without an engine nobody waits to be woken: a later engine recovers the case."""


@dataclass
class Services:
    """Everything below the graphs. `start_child` starts a case on behalf of a running one; `wake` tells the engine."""

    db: Database
    ledger: Ledger
    saver: Checkpoints
    tools: Tools
    gateway: Gateway
    policies: Policies
    actors: Actors
    inbox: Inbox
    switches: Switches
    context: Context
    clock: Clock
    settings: Settings
    models: Models
    start_child: StartChild = _not_open
    wake: Callable[[str, str], None] = _nobody
    code_actors: set[str] = field(default_factory=set)

    def verdict(self, action: str, actor: Actor, context: Mapping[str, Any]) -> Verdict:
        """What policy says to an action of an actor; the context is completed."""
        complete = self.policies.complete_context(action, {"now": self.clock.now(), **context})
        return self.policies.decide(Request(action, actor.id, actor.all_roles, context=complete))

    def freed(self, tenant: str, freed: Freed) -> None:
        """Tell those who waited for the end of a case; after the commit that ended it."""
        self.gateway.leases.notify(tenant, freed.handed)
        if freed.parent is not None:
            self.wake(tenant, freed.parent)
