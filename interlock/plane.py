"""The control plane: one object that registers, starts, decides, calls, measures; every user comes in through it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig

from interlock import clock as clocks
from interlock import errors
from interlock.agents.agent import Agent
from interlock.graphs import adhoc, guest, starting
from interlock.graphs.case_desk import CaseDesk
from interlock.graphs.cases import Case
from interlock.graphs.commands import commands
from interlock.graphs.compiled import GovernedGraph, Visit
from interlock.graphs.desk import ContextDesk, DelegationDesk, InboxDesk, SwitchDesk
from interlock.graphs.engine.embedded import EmbeddedEngine
from interlock.graphs.engine.lock import EngineLock
from interlock.graphs.engine.remote import CommandServer
from interlock.graphs.opening import Options, open_services
from interlock.graphs.registering import (
    bind_policies,
    compile_for,
    raise_problems,
    register_code_agents,
    tell_edition,
    told,
)
from interlock.graphs.registry import Registered, Registry
from interlock.graphs.retention import Retention
from interlock.graphs.services import Services
from interlock.graphs.tenants import Tenants
from interlock.graphs.workflow import Workflow
from interlock.observability.ledger import Ledger
from interlock.observability.metrics import Metrics
from interlock.oversight.actors import Actor
from interlock.oversight.pages import Page
from interlock.oversight.policy import Policies
from interlock.settings import Settings
from interlock.tools.contract import ToolResult
from interlock.tools.logs import LogFilter

__all__ = ["ControlPlane", "run"]

T = TypeVar("T")
_LOOP = importlib.import_module("uvloop").new_event_loop if find_spec("uvloop") else None
DEFAULT_URL = "sqlite:///.interlock/interlock.db"


def run(coro: Awaitable[T]) -> T:
    """Run a coroutine from a script, on uvloop where it is there."""
    with asyncio.Runner(loop_factory=_LOOP) as runner:
        return runner.run(_await(coro))


async def _await(coro: Awaitable[T]) -> T:
    return await coro


class ControlPlane:
    """Open with `await ControlPlane.open(url)` or `async with ControlPlane.open(url) as plane`."""

    def __init__(self, services: Services, options: Options, lock: EngineLock | None, stack: AsyncExitStack) -> None:
        self.services = services
        self.tenant = options.tenant
        self.home = options.home
        self.registry = Registry()
        self.metrics = Metrics(services.db, services.clock, options.tenant)
        self._tenants = Tenants(services.db, options.tenant)
        services.ledger.tenants = self._tenants.served
        self.inbox = InboxDesk(services.inbox, self._begin, self._tenants)
        self.approvals = InboxDesk(services.inbox, self._begin, self._tenants, "approval")
        self.delegations = DelegationDesk(services.inbox.delegations, self._begin, options.tenant)
        self.switches = SwitchDesk(services.switches, options.tenant)
        self.context = ContextDesk(services.context, self._begin, options.tenant)
        self.retention = Retention(services, self._begin, options.tenant)
        self._engine = EmbeddedEngine(services, self.registry)
        self._lock, self._stack = lock, stack
        self._commands: CommandServer | None = None
        self._read_only = options.read_only
        self._beginning = asyncio.Lock()
        self._bound = self._told = self._started = self._closed = False
        self._cases = CaseDesk(
            services, self.registry, self._engine, self._tenants, self._begin, read_only=options.read_only
        )
        services.start_child = self._cases.start_child
        for policies in filter(None, (services.policies, services.policies.shadow)):
            policies.tell = partial(tell_edition, services, options.tenant, policies)
        services.policies.past = services.ledger.export
        services.wake = services.inbox.wake = services.gateway.leases.wake = self._engine.wake

    @classmethod
    def open(
        cls,
        url: str = DEFAULT_URL,
        *,
        policies: Any = None,
        shadow: Any = None,
        clock: clocks.Clock | None = None,
        engine: str = "embedded",
        tenant: str = "default",
        settings: Settings | None = None,
        read_only: bool = False,
    ) -> _Opening:
        """Open a database as a plane. `policies`: a folder, a file, {name: text}, or None for the setting.

        `shadow`: policies, given likewise, that are asked beside them; where they differ is recorded.

        Raises DatabaseLocked when another engine holds it, StorageError, ConfigurationError.
        """
        options = Options.of(
            url, policies=policies, shadow=shadow, clock=clock, engine=engine, tenant=tenant, settings=settings,
            read_only=read_only,
        )  # fmt: skip
        return _Opening(options)

    @classmethod
    async def _open(cls, options: Options) -> ControlPlane:
        async with AsyncExitStack() as stack:
            lock = None
            if options.home is not None and not options.read_only:
                lock = EngineLock(options.home)
                await asyncio.to_thread(lock.take)
                stack.push_async_callback(asyncio.to_thread, lock.release)
            services = await open_services(options, stack)
            return cls(services, options, lock, stack.pop_all())
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Drain and close: running cases stop at their next step and stay queued. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
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
        await self._begin()
        raise_problems(self.services.policies)

    async def _begin(self) -> None:
        """What every call does first. Invalid policies do not stop it: they deny every call.

        Raises StorageError when the plane is closed.
        """
        if self._closed:
            raise errors.StorageError("the plane is closed", "open it again with ControlPlane.open")
        async with self._beginning:
            self._bind()
            if self._read_only or self._told:
                return
            await self.services.ledger.record(*told(self.services, self.tenant))
            if self._started:
                await self._engine.unpark()
            else:
                await self._engine.start()
                await self._listen()
            self._started = self._told = True

    def _bind(self) -> None:
        if not self._bound:
            bind_policies(self.services, self.registry)
            self._bound, self._told = True, False

    async def _listen(self) -> None:
        if self._lock is not None:
            self._commands = CommandServer(commands(self))
            await asyncio.to_thread(self._lock.publish, await self._commands.start())

    # registration

    def register(self, thing: Any, **options: Any) -> Registered:
        """Register a Workflow, its compiled graph, a governed graph, or a plain StateGraph with `name=`."""
        workflow, graph = compile_for(thing, self.services, options)
        entry = self.registry.add(workflow, graph)
        register_code_agents(workflow, self.services)
        self._bound = False
        return entry

    def register_actor(self, actor: Actor) -> Actor:
        """Register an Agent or a Person. Raises Conflict unless new or identical."""
        self.services.actors.register(actor)
        self._bound = False
        return actor

    def register_tool(self, target: Any, **options: Any) -> Any:
        """Register a tool; see API.md for the options. Raises Conflict, ConfigurationError."""
        self._bound = False
        return self.services.tools.register(target, **options)

    def register_registry(
        self, kind: str, lookup: Callable[..., Any], *, source: str, canonical: Any = None, find: Any = None
    ) -> None:
        """Register known targets of a kind: `lookup(value, ctx)` gives labels, or None for an unknown value.

        `canonical(text)` brings a value into one form, `find(text)` gives the values of the kind that a text holds.
        """
        self.services.tools.register_registry(kind, lookup, source=source, canonical=canonical, find=find)

    def register_facts(
        self, name: str, fn: Callable[..., Any], *, actions: Iterable[str], types: Mapping[str, str]
    ) -> None:
        """Register facts that are looked up before each decision on one of the actions."""
        self._bound = False
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

        From then on the plane finds cases and inbox items of that `tenant` by their ids, beside those of its own.
        Raises InputError, NotFound, Denied, and Conflict for a known key with another input.
        """
        start = starting.Start(value, self._tenants.serve(tenant), requester, key, priority, trusted, at, assign)
        return await self._cases.start(workflow, start)

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
        whose = self._tenants.serve(tenant)
        return await self._cases.start_many(workflow, [starting.Start(one, whose, requester) for one in inputs], key)

    async def wait(
        self,
        case_id: str,
        until: str = "settled",
        timeout: float | None = None,  # noqa: ASYNC109  # it never raises for it
        *,
        tenant: str | None = None,
    ) -> Case:
        """The case once it has settled (completed, failed, cancelled, waiting) or "ended"; as it is at the timeout.

        Raises NotFound, and StorageError when the case cannot go on because its database fails.
        """
        return (await self.wait_all([case_id], until, timeout, tenant=tenant))[0]

    async def wait_all(
        self,
        ids: Iterable[str],
        until: str = "ended",
        timeout: float | None = None,  # noqa: ASYNC109  # it never raises for it
        *,
        tenant: str | None = None,
    ) -> list[Case]:
        """`wait` for several cases, in their order; `timeout` holds for all together."""
        return await self._cases.wait_all(ids, until, timeout, tenant)

    async def case(self, case_id: str, *, tenant: str | None = None) -> Case:
        """One case. Raises NotFound."""
        return await self._cases.read(case_id, tenant)

    async def cases(
        self, status: str | None = None, workflow: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Case]:
        """A page of cases in start order. Raises InputError on a status, limit or cursor that is none."""
        return await self._cases.page(status, workflow, limit, cursor)

    async def cancel(self, case_id: str, *, by: str, comment: str = "") -> Case:
        """End a case and its children now: effects in flight are waited for, and undone where their tools can.

        Raises NotFound, Conflict when it has ended.
        """
        return await self._cases.cancel(case_id, by=by, comment=comment)

    async def pause(self, case_id: str, *, by: str, comment: str = "") -> Case:
        """Stop driving a case at its next step."""
        return await self._cases.pause(case_id, by=by, comment=comment)

    async def resume(self, case_id: str, *, by: str, comment: str = "") -> Case:
        """Drive a paused case again."""
        return await self._cases.resume(case_id, by=by, comment=comment)

    async def fork(self, case_id: str, *, checkpoint_id: str | None = None, by: str, comment: str = "") -> Case:
        """A new case from a checkpoint of another one; its writing tools act in shadow: nothing happens outside."""
        return await self._cases.fork(case_id, checkpoint_id=checkpoint_id, by=by, comment=comment)

    async def switch(self, target: str, state: str, *, by: str, comment: str = "") -> list[str]:
        """Set a switch ("agent:x", "tool:y", "system:z", "workflow:w", "tenant:t", "all") to on, off or drain.

        Gives the cases that go on by it.
        """
        self.services.actors.get(by)
        queued = await self.services.switches.set(self.tenant, target, state, by=by, comment=comment)
        return queued + (await self._engine.unpark() if state != "off" and self._started else [])

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
        await self._begin()
        whose = self.tenant if case_id is None else await self._tenants.of_case(case_id)
        call = adhoc.OutsideCall(whose, name, args, actor, case_id, task, approval, key)
        result = await adhoc.call_tool(self.services, self.registry, call)
        if result.status == "asked" and result.items:
            await self._engine.arm(whose, result.items[-1].case_id)
        return result

    def guest(
        self, graph: GovernedGraph, input: Any, config: RunnableConfig | None
    ) -> AbstractAsyncContextManager[Visit]:
        """One run of a graph under somebody else's checkpointer; see `graphs/guest.py`."""
        known = self.registry.find(graph.workflow.name, graph.workflow.version)
        entry = known or self.register(graph)
        self._bind()
        return guest.visit(self.services, entry, graph, input, config)

    # what is there to look at

    @property
    def policies(self) -> Policies:
        """The policies, bound to what is registered by now."""
        self._bind()
        return self.services.policies

    @property
    def ledger(self) -> Ledger:
        return self.services.ledger

    @property
    def agents(self) -> list[Agent]:
        return [actor for actor in self.services.actors if isinstance(actor, Agent)]

    @property
    def log_filter(self) -> LogFilter:
        """For handlers of `logging`: cuts known credentials out of what they write."""
        return LogFilter(self.services.gateway.credentials.redact)

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
