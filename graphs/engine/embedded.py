"""The embedded engine: one process, one queue, one timer heap. A waiting case holds no memory, no task, no slot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from langgraph.runtime import RunControl

from interlock import clock, errors
from interlock.graphs import cases
from interlock.graphs.engine import segment
from interlock.graphs.engine.queue import ReadyQueue, Ticket
from interlock.graphs.registry import Registry
from interlock.graphs.services import Services
from interlock.storage.transaction import Transaction

__all__ = ["EmbeddedEngine"]

_log = logging.getLogger(__name__)
_UNPARK = "UPDATE cases SET status = 'queued', reason = NULL WHERE status = 'waiting' AND reason IS NOT NULL"
_STORAGE_TRIES = 5


class EmbeddedEngine:
    """Drives the cases of one database in this process, at most `settings.concurrency` at once."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry
        self._queue = ReadyQueue(services.settings.tenant_concurrency)
        self._drives: dict[str, asyncio.Task[None]] = {}
        self._controls: dict[str, RunControl] = {}
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._failures: dict[str, int] = {}
        self._broken: dict[str, errors.StorageError] = {}
        self._wakes: set[asyncio.Task[None]] = set()
        self._open = False

    async def start(self) -> None:
        """Take up what an earlier engine left queued or running, in start order."""
        self._open = True
        rows = await self._services.db.commit(_recover)
        for row in rows:
            if not row["paused"]:
                self._queue.push(_ticket(row))
        self._pump()

    def submit(self, tickets: Iterable[Ticket]) -> None:
        """Queue cases that are durable and queued in the database."""
        for ticket in tickets:
            self._queue.push(ticket)
        self._pump()

    def wake(self, tenant: str, case_id: str) -> None:
        """An answer has arrived for a case: it is queued before new ones."""
        self._queue.push(Ticket(0, case_id, tenant))
        self._pump()

    async def wait(self, tenant: str, case_id: str, until: str, timeout: float | None) -> None:
        """Return when the case has settled or ended, or after `timeout` real seconds. Raises StorageError."""
        enough = cases.ENDED if until == "ended" else cases.SETTLED
        event = asyncio.Event()
        self._waiters.setdefault(case_id, set()).add(event)
        try:
            async with asyncio.timeout(timeout):
                while not await self._reached(tenant, case_id, enough):
                    await event.wait()
                    event.clear()
        except TimeoutError:
            return
        finally:
            self._forget(case_id, event)

    async def stop(self, tenant: str, case_id: str, drain: bool) -> None:
        """End the drive of a case: at the next step (`drain`), or now; effects in flight are waited for."""
        task = self._drives.get(case_id)
        if task is None:
            return
        if drain:
            self._controls[case_id].request_drain("pause")
        else:
            task.cancel()
        await asyncio.wait([task])
        self._queue.discard(case_id)
        if not drain:
            await self._services.gateway.drain(case_id=case_id)

    def notify(self, case_id: str) -> None:
        """Wake whoever waits for a case."""
        for event in self._waiters.get(case_id, ()):
            event.set()

    async def close(self) -> None:
        """Drain: running cases stop at their next step and stay queued; effects in flight end."""
        self._open = False
        for control in self._controls.values():
            control.request_drain("close")
        while self._drives or self._wakes:
            await asyncio.wait([*self._drives.values(), *self._wakes])
        await self._services.gateway.drain()

    @property
    def idle(self) -> bool:
        """Nothing is queued and nothing runs."""
        return not self._queue and not self._drives and not self._wakes

    async def _reached(self, tenant: str, case_id: str, enough: frozenset[str]) -> bool:
        if case_id in self._broken:
            raise self._broken[case_id]
        row = await self._services.db.read(lambda tx: cases.get(tx, tenant, case_id))
        return row is None or row["status"] in enough

    def _forget(self, case_id: str, event: asyncio.Event) -> None:
        events = self._waiters.get(case_id, set())
        events.discard(event)
        if not events:
            self._waiters.pop(case_id, None)

    def _pump(self) -> None:
        while self._open and len(self._drives) < self._services.settings.concurrency:
            ticket = self._queue.pop()
            if ticket is None:
                return
            self._controls[ticket.case_id] = RunControl()
            self._drives[ticket.case_id] = asyncio.create_task(self._run(ticket))

    async def _run(self, ticket: Ticket) -> None:
        control = self._controls[ticket.case_id]
        try:
            await segment.advance(self._services, self._registry, ticket.tenant, ticket.case_id, control)
            self._failures.pop(ticket.case_id, None)
        except errors.StorageError as exc:
            self._try_again(ticket, exc)
        except asyncio.CancelledError:
            _log.info("drive of case %s was cancelled", ticket.case_id)
        except Exception:
            _log.exception("drive of case %s failed outside its graph", ticket.case_id)
        finally:
            del self._drives[ticket.case_id], self._controls[ticket.case_id]
            self._queue.done(ticket)
            self.notify(ticket.case_id)
            self._pump()

    def _try_again(self, ticket: Ticket, exc: errors.StorageError) -> None:
        """The case stands at its last durable step: claim it again, a little later each time, then give up."""
        tries = self._failures[ticket.case_id] = self._failures.get(ticket.case_id, 0) + 1
        _log.warning("a commit of case %s failed (%s), try %d", ticket.case_id, exc, tries)
        if tries >= _STORAGE_TRIES:
            self._broken[ticket.case_id] = exc
            return
        wake = asyncio.create_task(self._later(ticket, 0.01 * 4**tries))
        self._wakes.add(wake)
        wake.add_done_callback(self._wakes.discard)

    async def _later(self, ticket: Ticket, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.submit([ticket])


def _recover(tx: Transaction) -> list[cases.Row]:
    tx.execute(_UNPARK)
    return cases.recoverable(tx)


def _ticket(row: cases.Row) -> Ticket:
    return Ticket(row["seq"], row["case_id"], row["tenant"], row["priority"], row["sequence"])


def due(now: datetime, sla: timedelta | None) -> str | None:
    """When a case that starts now has to be done, as text."""
    return None if sla is None else clock.iso(now + sla)
