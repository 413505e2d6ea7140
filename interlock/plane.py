"""The control plane: one object that registers, starts, decides, calls, measures; every user comes in through it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar


from interlock import clock as clocks
from interlock import errors
from interlock.agents.agent import Agent
from interlock.graphs import cases, desk, starting
from interlock.graphs.cases import Case
from interlock.graphs.compiled import GovernedGraph
from interlock.graphs.drive import CaseInfo
from interlock.graphs.engine.embedded import EmbeddedEngine
from interlock.graphs.engine.lock import EngineLock
from interlock.graphs.engine.remote import CommandServer
from interlock.graphs.opening import Options, open_services
from interlock.graphs.registering import bind_policies, code_agents, compile_for
from interlock.graphs.registry import Registered, Registry
from interlock.graphs.services import Services
from interlock.graphs.workflow import Workflow
from interlock.observability.ledger import Ledger
from interlock.observability.metrics import Metrics
from interlock.oversight.actors import Actor
from interlock.oversight.inbox import Page
from interlock.oversight.policy import Policies
from interlock.settings import Settings
from interlock.tools.contract import ToolResult

__all__ = ["ControlPlane", "run"]

T = TypeVar("T")
DEFAULT_URL = "sqlite:///.interlock/interlock.db"


def run(coro: Awaitable[T]) -> T:
    """Run a coroutine from a script, on uvloop where it is there."""
    return asyncio.run(_await(coro))


async def _await(coro: Awaitable[T]) -> T:
    return await coro


class ControlPlane:
    """Open with `await ControlPlane.open(url)` or `async with ControlPlane.open(url) as plane`."""

    def __init__(self, services: Services, options: Options, lock: EngineLock | None, stack: AsyncExitStack) -> None:
        self.services = services
        self.tenant = options.tenant
        self.home = options.home
        self.registry = Registry()
        self.metrics = Metrics(services.db, services.clock)
        self.inbox = desk.InboxDesk(self, kind=None)
        self.approvals = desk.InboxDesk(self, kind="approval")
        self.context = desk.ContextDesk(self)
        self._engine = EmbeddedEngine(services, self.registry)
        self._lock, self._stack = lock, stack
        self._commands: CommandServer | None = None
        self._ready = asyncio.Lock()
        self._started = False
        services.start_child = self._start_child
        services.wake = services.inbox.wake = self._engine.wake

    @classmethod
    def open(
        cls,
        url: str = DEFAULT_URL,
        *,
        policies: Any = None,
        clock: clocks.Clock | None = None,
        engine: str = "embedded",
        tenant: str = "default",
        settings: Settings | None = None,
        read_only: bool = False,
    ) -> _Opening:
        """Open a database as a plane. `policies`: None for the shipped set, a folder, a file, or {name: text}.

        Raises DatabaseLocked when another engine holds it, StorageError, ConfigurationError.
        """
        if engine != "embedded":
            raise errors.ConfigurationError(f"there is no engine {engine!r}", 'use engine="embedded"')
        home = Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else None
        settings = settings or Settings.load(home)
        return _Opening(Options(url, policies, clock or clocks.SystemClock(), settings, tenant, home, read_only))

    @classmethod
    async def _open(cls, options: Options) -> ControlPlane:
        async with AsyncExitStack() as stack:
            lock = None
            if options.home is not None and not options.read_only:
                options.home.mkdir(parents=True, exist_ok=True)
                lock = EngineLock(options.home)
                await asyncio.to_thread(lock.take)
                stack.callback(lock.release)
            services = await open_services(options, stack)
            return cls(services, options, lock, stack.pop_all())
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Drain and close: running cases stop at their next step and stay queued."""
        if self._commands is not None:
            await self._commands.close()
        await self._engine.close()
        await self._stack.aclose()

    async def __aenter__(self) -> ControlPlane:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def ready(self) -> None:
        """Validate the policies, start the engine, listen for commands. Raises PolicyError."""
        async with self._ready:
            if not self._started:
                await bind_policies(self.services, self.registry)
                await self._engine.start()
                await self._listen()
                self._started = True

    async def _listen(self) -> None:
        if self._lock is not None:
            self._commands = CommandServer(desk.handlers(self))
            self._lock.publish(await self._commands.start())

    # registration

    def register(self, thing: Any, **options: Any) -> Registered:
        """Register a Workflow, its compiled graph, a governed graph, or a plain StateGraph with `name=`."""
        workflow, graph = compile_for(thing, self.services, options)
        for agent in code_agents(workflow):
            self.services.code_actors.add(agent.id)
            self.register_actor(agent)
        return self.registry.add(workflow, graph)

    def register_actor(self, actor: Actor) -> Actor:
        """Register an Agent or a Person. Raises Conflict unless new or identical."""
        self.services.actors.register(actor)
        return actor

    def register_tool(self, target: Any, **options: Any) -> Any:
        """Register a tool; see API.md for the options. Raises Conflict, ConfigurationError."""
        return self.services.tools.register(target, **options)

    def register_registry(self, kind: str, lookup: Callable[..., Any], *, source: str, canonical: Any = None) -> None:
        """Register known targets of a kind: `lookup(value, ctx)` gives labels, or None for an unknown value."""
        self.services.tools.register_registry(kind, lookup, source=source, canonical=canonical)

    def register_facts(self, name: str, fn: Callable[..., Any], *, actions: Iterable[str], types: Mapping[str, str]) -> None:
        """Register facts that are looked up before each decision on one of the actions."""
        self.services.tools.register_facts(name, fn, actions=actions, types=types)

    # cases

    async def start(
        self,
        workflow: str,
        value: Any,
        *,
        key: str | None = None,
        requester: str,
        tenant: str | None = None,
        priority: int = 0,
        trusted: bool = True,
        at: datetime | None = None,
        assign: Mapping[str, str] | None = None,
    ) -> Case:
        """Start a case; with a known `key` and the same input, the first case is given back.

        Raises InputError, NotFound, Denied, and Conflict for a known key with another input.
        """
        start = starting.Start(value, tenant or self.tenant, requester, key, priority, trusted, at, assign)
        return await self._start(workflow, start)

    async def start_many(
        self,
        workflow: str,
        inputs: Sequence[Any],
        *,
        key: Callable[[Any], str] | None = None,
        requester: str,
        tenant: str | None = None,
    ) -> list[Case | errors.InterlockError]:
        """Start a case per input, in order, once all are durable; an input that is refused gives its error."""
        await self.ready()
        entry = self.registry.get(workflow)
        starts = [starting.Start(v, tenant or self.tenant, requester, key(v) if key else None) for v in inputs]
        return await desk.start_many(self.services, self._engine, entry, starts)

    async def _start(self, workflow: str, start: starting.Start) -> Case:
        await self.ready()
        prepared = await starting.prepare(self.services, self.registry.get(workflow), start)
        case_id, seq = await self.services.db.commit(lambda tx: starting.write(tx, prepared))
        if seq is not None:
            self._engine.submit([prepared.ticket(seq)])
        return await self.case(case_id, tenant=start.tenant)

    async def _start_child(self, parent: CaseInfo, workflow: str, value: Any, key: str) -> Case:
        start = starting.Start(
            value, parent.tenant, parent.requester, key, trusted=parent.trusted, parent=parent.case_id,
            autonomy=parent.autonomy,
        )  # fmt: skip
        return await self._start(workflow, start)

    async def wait(self, case_id: str, until: str = "settled", timeout: float | None = None) -> Case:
        """The case once it has settled (completed, failed, cancelled, waiting) or "ended"; as it is at the timeout."""
        await self.ready()
        await self._engine.wait(self.tenant, case_id, until, timeout)
        return await self.case(case_id)

    async def wait_all(self, ids: Iterable[str], until: str = "ended", timeout: float | None = None) -> list[Case]:
        """`wait` for several cases; `timeout` holds for all together."""
        return list(await asyncio.gather(*(self.wait(case_id, until, timeout) for case_id in ids)))

    async def case(self, case_id: str, *, tenant: str | None = None) -> Case:
        """One case. Raises NotFound."""
        found = await self.services.db.read(lambda tx: cases.read(tx, tenant or self.tenant, case_id))
        if found is None:
            raise errors.NotFound(f"no case {case_id!r}", "see `interlock cases`")
        return found

    async def cases(
        self, status: str | None = None, workflow: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Case]:
        """A page of cases in start order. Raises InputError on a bad cursor."""
        after = desk.cursor_of(cursor)
        items, more = await self.services.db.read(
            lambda tx: cases.page(tx, self.tenant, status, workflow, limit, after)
        )
        return Page(items, None if more is None else str(more))

    async def cancel(self, case_id: str, *, by: str, comment: str = "") -> Case:
        """End a case now; effects in flight are waited for. Raises NotFound, Conflict when it has ended."""
        await self._engine.stop(self.tenant, case_id, drain=False)
        await desk.cancel(self.services, self.tenant, case_id, by, comment)
        self._engine.notify(case_id)
        return await self.case(case_id)

    async def pause(self, case_id: str, *, by: str, comment: str = "") -> Case:
        """Stop driving a case at its next step."""
        await desk.set_paused(self.services, self.tenant, case_id, True, by, comment)
        await self._engine.stop(self.tenant, case_id, drain=True)
        return await self.case(case_id)

    async def resume(self, case_id: str, *, by: str, comment: str = "") -> Case:
        """Drive a paused case again."""
        await self.ready()
        if await desk.set_paused(self.services, self.tenant, case_id, False, by, comment):
            self._engine.wake(self.tenant, case_id)
        return await self.case(case_id)

    async def fork(self, case_id: str, *, checkpoint_id: str | None = None, by: str, comment: str = "") -> Case:
        """A new case from a checkpoint of another one; its writing tools act in shadow: nothing happens outside."""
        await self.ready()
        forked, ticket = await desk.fork(self.services, self.registry, self.tenant, case_id, checkpoint_id, by, comment)
        self._engine.submit([ticket])
        return await self.case(forked)

    async def switch(self, target: str, state: str, *, by: str, comment: str = "") -> None:
        """Set a switch ("agent:x", "tool:y", "system:z", "workflow:w", "tenant:t", "all") to on, off or drain."""
        await self.services.switches.set(self.tenant, target, state, by=by, comment=comment)
        if state == "on":
            await desk.wake_switched(self.services, self._engine, self.tenant)

    async def call_tool(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        actor: str,
        case_id: str | None = None,
        task: str | None = None,
        approval: str | None = None,
        key: str | None = None,
    ) -> ToolResult:
        """Call a tool from outside a node. Never raises for a governance outcome; see `ToolResult`."""
        await self.ready()
        return await desk.call_tool(self.services, self.tenant, name, args, actor, case_id, task, approval, key)

    # what is there to look at

    @property
    def policies(self) -> Policies:
        return self.services.policies

    @property
    def ledger(self) -> Ledger:
        return self.services.ledger

    @property
    def agents(self) -> list[Agent]:
        return [actor for actor in self.services.actors if isinstance(actor, Agent)]

    def graph(self, workflow: str) -> GovernedGraph:
        """The compiled graph of a workflow's latest version. Raises NotFound."""
        return self.registry.get(workflow).graph

    def workflow(self, name: str) -> Workflow:
        return self.registry.get(name).workflow


class _Opening:
    """What `ControlPlane.open` gives: to be awaited, or entered."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._plane: ControlPlane | None = None

    def __await__(self) -> Generator[Any, None, ControlPlane]:
        return ControlPlane._open(self._options).__await__()

    async def __aenter__(self) -> ControlPlane:
        self._plane = await ControlPlane._open(self._options)
        return self._plane

    async def __aexit__(self, *exc: object) -> None:
        if self._plane is not None:
            await self._plane.close()


