"""What tests of workflows need: a clock that a test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]

_REAL_SECONDS = 30.0


class ManualClock:
    """A clock that stands still until a test moves it; `start` is an aware datetime."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)
        self._count = itertools.count()
        self._sleepers: list[tuple[datetime, int, asyncio.Event, asyncio.Task[object]]] = []
        self._changed = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, t: datetime) -> None:
        if t <= self._now:
            return
        task = asyncio.current_task()
        assert task is not None
        sleeper = (t, next(self._count), asyncio.Event(), task)
        heapq.heappush(self._sleepers, sleeper)
        self._changed.set()
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    async def advance(self, delta: timedelta) -> None:
        """Move the clock forward; returns when all timers due by then have run."""
        await self.set(self._now + delta)

    async def set(self, t: datetime) -> None:
        """Move the clock to an instant. Raises ValueError for one in the past: the clock never runs backwards."""
        target = t.astimezone(UTC)
        if target < self._now:
            raise ValueError(f"{t} is before {self._now}")
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, event, task = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            event.set()
            await self._until_it_rests(task)
        self._now = target

    async def _until_it_rests(self, task: asyncio.Task[object]) -> None:
        """Until the woken task has ended or sleeps on this clock again."""
        async with asyncio.timeout(_REAL_SECONDS):
            await asyncio.sleep(0)
            while not task.done() and not any(sleeper[3] is task for sleeper in self._sleepers):
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([task, changed], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
