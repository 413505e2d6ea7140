"""What keeps a system from being overrun: a circuit breaker per system, a rate limit per tool."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from interlock.clock import Clock
from interlock.observability.ledger import Ledger
from interlock.storage.chain import Event
from interlock.tools.failures import SystemOpen, outage

__all__ = ["Breakers", "Rates"]


@dataclass
class _State:
    """`until`: when the next call may try the system; None while the breaker is closed. `failures` in a row."""

    failures: int = 0
    until: datetime | None = None
    trying: bool = False


class Breakers:
    """Opens after `failures` outages in a row; after `seconds` one call at a time tries whether the system answers.

    A refusal is an answer; a cancelled call says nothing. `news()` gives the ledger events of what changed; they are
    recorded after the outcome of the call.
    """

    def __init__(self, ledger: Ledger, failures: int, seconds: float, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._failures, self._pause = failures, timedelta(seconds=seconds)
        self._states: dict[str, _State] = {}
        self._news: list[Event] = []

    @asynccontextmanager
    async def guard(self, system: str, tenant: str) -> AsyncIterator[None]:
        """Runs the body against a system; raises SystemOpen while its breaker is open."""
        state = self._states.setdefault(system, _State())
        trial = self._admit(state, system)
        try:
            yield
        except Exception as exc:
            if outage(exc):
                self._failed(state, trial, system, tenant, type(exc).__name__)
            else:
                self._answered(state, trial, system, tenant)
            raise
        else:
            self._answered(state, trial, system, tenant)
        finally:
            state.trying = state.trying and not trial

    def news(self) -> list[Event]:
        taken, self._news = self._news, []
        return taken

    def _admit(self, state: _State, system: str) -> bool:
        """Whether this call is the one that tries a system whose breaker is open."""
        if state.until is None:
            return False
        if state.trying or self._clock.now() < state.until:
            raise SystemOpen(f"the circuit breaker of {system} is open", "wait until the system answers again")
        state.trying = True
        return True

    def _failed(self, state: _State, trial: bool, system: str, tenant: str, why: str) -> None:
        state.failures += 1
        was_closed = state.until is None
        if trial or (was_closed and state.failures >= self._failures):
            state.until = self._clock.now() + self._pause
        if was_closed and state.until is not None:
            self._tell("system.opened", system, tenant, f"{why}, {state.failures} times in a row")

    def _answered(self, state: _State, trial: bool, system: str, tenant: str) -> None:
        if state.until is None or trial:
            state.failures = 0
        if trial:
            state.until = None
            self._tell("system.closed", system, tenant, "the system answers again")

    def _tell(self, kind: str, system: str, tenant: str, why: str) -> None:
        self._news.append(self._ledger.event(kind, tenant=tenant, data={"system": system, "why": why}))


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
