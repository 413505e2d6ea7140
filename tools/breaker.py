"""What keeps a system from being overrun: a circuit breaker per system, a rate limit per tool."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from purgatory import AsyncCircuitBreakerFactory

from interlock.observability.ledger import Ledger
from interlock.storage.chain import Event
from interlock.tools.failures import outage

__all__ = ["Breakers", "Rates"]


class Breakers:
    """Opens after `failures` outages in a row, lets a call through again after `seconds`.

    `news()` gives the ledger events of what changed; they are recorded after the outcome of the call.
    """

    def __init__(self, ledger: Ledger, failures: int, seconds: float) -> None:
        self._ledger = ledger
        refusals = (BaseException, lambda exc: not outage(exc))
        self._factory = AsyncCircuitBreakerFactory(failures, seconds, exclude=[refusals])
        self._open: set[str] = set()
        self._news: list[Event] = []

    @asynccontextmanager
    async def guard(self, system: str, tenant: str) -> AsyncIterator[None]:
        """Runs the body against a system; raises OpenedState while its breaker is open."""
        breaker = await self._factory.get_breaker(system)
        why = "the system answers again"
        try:
            async with breaker:
                yield
        except BaseException as exc:
            why = f"{type(exc).__name__} again and again"
            raise
        finally:
            self._note(system, tenant, breaker.context.state, why)

    def news(self) -> list[Event]:
        taken, self._news = self._news, []
        return taken

    def _note(self, system: str, tenant: str, state: str, why: str) -> None:
        was_open = system in self._open
        if state == "opened" and not was_open:
            self._open.add(system)
            self._news.append(self._event("system.opened", system, tenant, why))
        elif state == "closed" and was_open:
            self._open.discard(system)
            self._news.append(self._event("system.closed", system, tenant, why))

    def _event(self, kind: str, system: str, tenant: str, why: str) -> Event:
        return self._ledger.event(kind, tenant=tenant, data={"system": system, "why": why})


class Rates:
    """At most so many calls of a tool in so many seconds; a call that would be one too many waits."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def turn(self, tool: str, rate: tuple[int, float] | None) -> None:
        if rate is None:
            return
        calls, seconds = rate
        recent = self._recent.setdefault(tool, deque(maxlen=calls))
        async with self._locks.setdefault(tool, asyncio.Lock()):
            now = asyncio.get_running_loop().time()
            if len(recent) == calls and (early := recent[0] + seconds - now) > 0:
                await asyncio.sleep(early)
            recent.append(asyncio.get_running_loop().time())
