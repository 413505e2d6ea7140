"""Waiting in place: how a call that has to wait suspends its task, and how a swallowed suspension is noticed.

LangGraph's GraphInterrupt is an `Exception`, which user code may swallow. So `call(...)` of code agents raises
`Suspended`, a BaseException, and `performing` turns it into the interrupt at the edge of the node. Governed tool
objects inside LangGraph agents raise the interrupt itself, since LangGraph passes it on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt

from interlock import errors
from interlock.oversight.holds import HOLD
from interlock.tools.answers import fits, parse_answer, payload
from interlock.tools.site import SITE, CallSite

if TYPE_CHECKING:
    from interlock.oversight.holds import Hold
    from interlock.oversight.inbox import Item
    from interlock.tools.gateway import Gateway

__all__ = ["PERFORMANCE", "Performance", "Suspended", "performing", "rest"]

Key = int | str


class Suspended(BaseException):
    """A pending question, or hold, on its way to the edge of the node. `signal` is LangGraph's interrupt."""

    def __init__(self, signal: GraphInterrupt) -> None:
        super().__init__("the task waits")
        self.signal = signal


@dataclass
class Performance:
    """One execution of one governed node: its call site, what it waits for, and its calls in flight."""

    gateway: Gateway
    site: CallSite
    void: bool = False
    loop: asyncio.AbstractEventLoop | None = None
    _pending: list[tuple[str, str, GraphInterrupt]] = field(default_factory=list)
    _flying: set[asyncio.Future[None]] = field(default_factory=set)
    _turns: dict[int, tuple[Any, Counter[str]]] = field(default_factory=dict)

    def here(self) -> CallSite:
        """The call site at the running LangGraph node, which may be one inside an agent's own graph."""
        conf = get_config().get("configurable", {})
        ns = conf.get("checkpoint_ns", "")
        inside = ns.startswith(self.site.ns + "|")
        info = getattr(conf.get("__pregel_runtime"), "execution_info", None)
        attempt = info.node_attempt if inside and info is not None else self.site.attempt
        durability = conf.get("__pregel_durability")
        return replace(self.site, ns=ns if inside else self.site.ns, attempt=attempt, durability=durability)

    def slot(self, tool: str) -> int:
        """The how-manieth call of a tool in the running execution of the running node.

        Counted per execution (its scratchpad): the namespace of an inner node stays the same when an outer one retries.
        """
        pad = get_config().get("configurable", {}).get("__pregel_scratchpad")
        counter = getattr(pad, "interrupt_counter", self)
        _, turns = self._turns.setdefault(id(counter), (counter, Counter()))
        turns[tool] += 1
        return turns[tool] - 1

    def swallowed(self, ns: str) -> GraphInterrupt | None:
        """The signal that code at this place, or around it, must have swallowed to come here."""
        for place, _, signal in self._pending:
            if place == ns or place.startswith(ns + "|"):
                return signal
        return None

    async def ask(self, item: Item, site: CallSite) -> None:
        """Wait for an open item: raises GraphInterrupt. In guest mode it returns once the item is decided."""
        await self.gateway.open(item, site, unless=lambda: self.void)
        question = payload(item)
        try:
            while True:
                answer = interrupt(question)
                refusal = await self._answered(item, answer) if site.guest else ""
                if site.guest and not refusal:
                    return
                question = payload(item, problem=refusal)
        except GraphInterrupt as signal:
            self._pending.append((site.ns, item.id, signal))
            raise

    def hold(self, hold: Hold, site: CallSite) -> NoReturn:
        """Wait until a switch is set anew, or an object is handed over: raises GraphInterrupt."""
        self.gateway.hold(hold, site, unless=lambda: self.void)
        try:
            rest(hold.why, HOLD + hold.id)
        except GraphInterrupt as signal:
            self._pending.append((site.ns, HOLD + hold.id, signal))
            raise

    async def _answered(self, item: Item, answer: Any) -> str:
        try:
            await self.gateway.answer(item, parse_answer(answer, item, self.gateway.schema_of(item)))
        except (errors.InputError, errors.GovernanceError) as exc:
            return str(exc)
        return ""

    def replayed(self, items: tuple[Item, ...], site: CallSite) -> None:
        """Use up the answers of items that are decided, so that later questions find theirs."""
        for item in items:
            with suppress(GraphInterrupt):
                while not fits(interrupt(payload(item)), item) and site.guest:
                    continue

    @contextmanager
    def flying(self) -> Iterator[None]:
        """Marks a call in flight: the node ends only after it, so that no row of it comes too late."""
        token = asyncio.get_running_loop().create_future()
        self._flying.add(token)
        try:
            yield
        finally:
            self._flying.discard(token)
            token.set_result(None)

    async def landed(self) -> None:
        while self._flying:
            await asyncio.wait(set(self._flying))

    def check_swallowed(self) -> None:
        """Raises AgentFailed when the task went on although one of its calls waits."""
        if self._pending:
            self.void = True
            waiting = [item for _, item, _ in self._pending]
            raise errors.AgentFailed(
                "the task went on although a call of it waits for a person, a switch or an object",
                "do not catch GraphInterrupt or BaseException around governed calls",
                found={"items": waiting},
            )


def rest(why: str, item: str) -> NoReturn:
    """Wait for something that is no answer, and pass over the answers of earlier questions: raises GraphInterrupt."""
    question = {"message": why, "interlock": {"item": item}}
    while True:
        interrupt(question)


PERFORMANCE: ContextVar[Performance | None] = ContextVar("interlock_performance", default=None)


class performing:  # reads as a verb: `async with performing(gateway, site):`
    """Everything a governed node does runs inside this, once per attempt; it must be entered inside the node.

    Leaves by GraphInterrupt when a call waits, and by AgentFailed when that was swallowed.
    An uncaught UnknownOutcome waits in place for the person who says what happened.
    """

    def __init__(self, gateway: Gateway, site: CallSite) -> None:
        self._performance = Performance(gateway, site)
        self._tokens: tuple[Token[CallSite | None], Token[Performance | None]] | None = None

    async def __aenter__(self) -> Performance:
        self._performance.loop = asyncio.get_running_loop()
        self._tokens = SITE.set(self._performance.site), PERFORMANCE.set(self._performance)
        return self._performance

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._leave(exc)
        finally:
            if self._tokens:
                SITE.reset(self._tokens[0])
                PERFORMANCE.reset(self._tokens[1])

    async def _leave(self, exc: BaseException | None) -> None:
        if isinstance(exc, BaseExceptionGroup):
            exc = _signal_in(exc) or exc
        if exc is not None and not isinstance(exc, (Exception, Suspended)):
            return
        await self._performance.landed()
        if isinstance(exc, Suspended):
            raise exc.signal from None
        if isinstance(exc, GraphInterrupt):
            raise exc
        self._performance.check_swallowed()
        if isinstance(exc, errors.UnknownOutcome) and exc.item:
            item = await self._performance.gateway.item(exc.item, self._performance.site)
            await self._performance.ask(item, self._performance.here())


def _signal_in(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The first pending question that a task group has wrapped."""
    found: BaseException | None = group.subgroup((GraphInterrupt, Suspended))
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
