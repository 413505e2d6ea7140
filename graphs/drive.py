"""A drive: one stretch of work on one case, and where in it a node finds itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langchain_core.runnables import RunnableConfig

from interlock import clock, errors
from interlock.graphs.services import Services
from interlock.graphs.state import TASKS
from interlock.ids import digest
from interlock.oversight.escalation import Deadlines
from interlock.storage.claim import CLAIM, TENANT, Apply, Claim
from interlock.storage.database import Row
from interlock.tools.facts import Found
from interlock.tools.site import CallSite

DRIVE: ContextVar[Drive | None] = ContextVar("interlock_drive", default=None)


@dataclass(frozen=True)
class CaseInfo:
    """What nodes need to know of their case; fixed for a drive. `assign` forces actors by task name.

    `asking` are the deadlines of what people are asked about its calls.
    """

    tenant: str
    case_id: str
    workflow: str
    version: str
    requester: str
    owner: str
    started_at: datetime
    due: datetime | None
    trusted: bool
    snapshot: int
    autonomy: str
    input: Any
    assign: Mapping[str, str]
    asking: Deadlines | None = None


@dataclass(frozen=True)
class Drive:
    """Services, case and claim, handed to nodes by a context variable that is set before the graph runs."""

    services: Services
    case: CaseInfo
    claim: Claim


@dataclass(frozen=True)
class Here:
    """Where a governed node runs: its namespace (with task ids) and the attempt of LangGraph's retry."""

    drive: Drive
    ns: str
    attempt: int

    def note(self, kind: str, /, *, actor: str, identity: str | None = None, **data: Any) -> None:
        """Put an event into the commit of this node's task; without an identity it gets that of its turn."""
        case, ledger = self.drive.case, self.drive.services.ledger
        where = {"tenant": case.tenant, "case_id": case.case_id}
        ledger.defer(
            ledger.event(kind, **where, actor=actor, data={"actor": actor, **data}, identity=identity),
            self.ns,
            self.attempt,
        )

    def later(self, apply: Apply) -> None:
        """Put rows into the commit of this node's task."""
        self.drive.claim.later(self.ns, apply)

    def learn(self, found: Sequence[Found]) -> None:
        """Keep facts with the case, in the commit of this node's task."""
        self.drive.services.gateway.learn(self.drive.claim, self.ns, found)

    def now(self) -> datetime:
        return self.drive.services.clock.now()

    def stamp(self) -> str:
        return clock.iso(self.now())


@contextmanager
def inside(drive: Drive) -> Iterator[None]:
    """Whatever is started in here belongs to the drive: set before LangGraph makes its tasks, so that all see it."""
    tokens = DRIVE.set(drive), CLAIM.set(drive.claim), TENANT.set(drive.claim.tenant)
    try:
        yield
    finally:
        DRIVE.reset(tokens[0])
        CLAIM.reset(tokens[1])
        TENANT.reset(tokens[2])


@asynccontextmanager
async def at_node(config: RunnableConfig) -> AsyncIterator[Here]:
    """Where the running node is. The drive is that of the engine, or a guest's, whose rows are committed at the end."""
    drive = DRIVE.get()
    if drive is None:
        raise errors.ConfigurationError("a governed node runs outside a case", "use ainvoke or astream of its graph")
    conf = config.get("configurable", {})
    info = getattr(conf.get("__pregel_runtime"), "execution_info", None)
    try:
        yield Here(drive, conf["checkpoint_ns"], info.node_attempt if info is not None else 1)
    finally:
        if drive.claim.guest:
            await asyncio.shield(write_left(drive))


async def write_left(drive: Drive) -> None:
    """Commit the rows that wait for no task any more."""
    left = drive.claim.take_all()
    if left:
        await drive.services.db.commit(lambda tx: [apply(tx) for apply in left])


def preparers(state: Mapping[str, Any], but: str) -> frozenset[str]:
    """Who has performed the other tasks of this case so far."""
    tasks = state.get(TASKS, {})
    return frozenset(t["actor"] for name, t in tasks.items() if name != but and t.get("actor"))


def site(here: Here, state: Mapping[str, Any], *, task: str, actor: str, allowed: frozenset[str] | None) -> CallSite:
    """The call site of a task, for the gateway."""
    case = here.drive.case
    return CallSite(
        tenant=case.tenant,
        case_id=case.case_id,
        workflow=case.workflow,
        version=case.version,
        task=task,
        visit=state.get(TASKS, {}).get(task, {}).get("visit", 1),
        actor=actor,
        requester=case.requester,
        preparers=preparers(state, task),
        owner=case.owner,
        allowed=allowed,
        ns=here.ns,
        attempt=here.attempt,
        snapshot=case.snapshot,
        autonomy=case.autonomy,
        guest=here.drive.claim.guest,
        trusted=case.trusted,
        deadline=case.due,
        asking=case.asking,
    )


def info_of(row: Row, owner: str, assign: Mapping[str, str], value: Any, asking: Deadlines | None = None) -> CaseInfo:
    """Read a row of `cases`."""
    return CaseInfo(
        tenant=row["tenant"],
        case_id=row["case_id"],
        workflow=row["workflow"],
        version=row["version"],
        requester=row["requester"],
        owner=owner,
        started_at=clock.parse(row["started_at"]),
        due=clock.parse(row["due"]) if row["due"] else None,
        trusted=bool(row["trusted"]),
        snapshot=row["snapshot"] or 0,
        autonomy=row["autonomy"] or "autonomous",
        input=value,
        assign=assign,
        asking=asking,
    )


def item_id(here: Here, *parts: str) -> str:
    """A stable id for what a node asks of people: the same on every restart of the node."""
    return digest([here.drive.case.case_id, here.ns, *parts])[:32]
