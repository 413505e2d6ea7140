"""One timer heap for the deadlines of open items; its rows are durable, its time is the plane's clock."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterable
from typing import NamedTuple

from interlock import errors
from interlock.clock import parse
from interlock.graphs.services import Services
from interlock.storage.database import Row
from interlock.storage.transaction import Transaction

__all__ = ["Timer", "Timers", "arm"]

_log = logging.getLogger(__name__)
_EXPIRE = "expire"
_DUE = (
    "SELECT id, due FROM inbox WHERE tenant = ? AND case_id = ? AND status = 'open'"
    " AND (kind = 'approval' OR chain IS NOT NULL) AND due IS NOT NULL"
)
_SAVE = (
    "INSERT INTO timers (tenant, id, case_id, kind, due, status) VALUES (?, ?, ?, ?, ?, 'pending')"
    " ON CONFLICT (tenant, id) DO NOTHING"
)
_PENDING = "SELECT due, tenant, id FROM timers WHERE status = 'pending'"
_OF_CASE = f"{_PENDING} AND tenant = ? AND case_id = ?"
_DONE = "UPDATE timers SET status = 'done' WHERE tenant = ? AND id = ?"
_AGAIN = "UPDATE timers SET due = ? WHERE tenant = ? AND id = ?"


class Timer(NamedTuple):
    """When an inbox item is due; `due` is text from `clock.iso`."""

    due: str
    tenant: str
    item: str


def arm(tx: Transaction, tenant: str, case_id: str) -> None:
    """Write the timers of a case's open approvals and of what is escalated, where they are not there yet."""
    found = tx.rows(_DUE, (tenant, case_id))
    tx.executemany(_SAVE, [(tenant, row["id"], case_id, _EXPIRE, row["due"]) for row in found])


class Timers:
    """Sleeps until the next deadline, while there is one, and lets the inbox pass on or close what is due."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._heap: list[Timer] = []
        self._known: set[Timer] = set()
        self._task: asyncio.Task[None] | None = None
        self._sleeps_until: str | None = None

    async def load(self) -> None:
        """Take up the timers that an earlier engine left."""
        self.push(await self._services.db.read(lambda tx: _timers(tx.rows(_PENDING))))

    async def take_up(self, tenant: str, case_id: str) -> None:
        """Keep the deadlines of one case, whose rows are there."""
        self.push(await self._services.db.read(lambda tx: _timers(tx.rows(_OF_CASE, (tenant, case_id)))))
        await asyncio.sleep(0)  # whoever moves the clock next finds the sleeper there

    def push(self, timers: Iterable[Timer]) -> None:
        for timer in timers:
            if timer not in self._known:
                self._known.add(timer)
                heapq.heappush(self._heap, timer)
        if self._heap and self._rests():
            self._stop()
            self._task = asyncio.create_task(self._run(), name="interlock timers")

    async def close(self) -> None:
        task, self._heap = self._task, []
        self._stop()
        if task is not None:
            await asyncio.wait([task])

    def _rests(self) -> bool:
        """Whether nothing runs that will look at the head of the heap in time."""
        if self._task is None or self._task.done():
            return True
        return self._sleeps_until is not None and self._heap[0].due < self._sleeps_until

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._heap:
            await self._sleep(self._heap[0].due)
            now = self._services.clock.now()
            while self._heap and parse(self._heap[0].due) <= now:
                timer = heapq.heappop(self._heap)
                await self._fire(timer)
                self._known.discard(timer)

    async def _sleep(self, due: str) -> None:
        self._sleeps_until = due
        try:
            await self._services.clock.sleep_until(parse(due))
        finally:
            self._sleeps_until = None

    async def _fire(self, timer: Timer) -> None:
        """Passing on twice is once, as is expiring, so a crash between both commits does no harm."""
        try:
            item = await self._services.inbox.expire(timer.item, tenant=timer.tenant)
            if item.open and item.due is not None and item.due > timer.due:
                await self._again(timer._replace(due=item.due))
            else:
                await self._services.db.commit(lambda tx: tx.execute(_DONE, (timer.tenant, timer.item)))
        except errors.InterlockError:
            _log.exception("the deadline of item %s could not be kept; it is due again at the next start", timer.item)

    async def _again(self, timer: Timer) -> None:
        """The next deadline of an item that was passed on."""
        await self._services.db.commit(lambda tx: tx.execute(_AGAIN, timer))
        self.push([timer])


def _timers(rows: list[Row]) -> list[Timer]:
    return [Timer(row["due"], row["tenant"], row["id"]) for row in rows]
