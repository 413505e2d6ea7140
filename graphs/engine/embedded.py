"""The embedded engine: one process, one queue, one timer heap. A waiting case holds no memory, no task, no slot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable

from langgraph.runtime import RunControl

from interlock import errors
from interlock.clock import iso
from interlock.graphs import cases
from interlock.graphs.engine import segment
from interlock.graphs.engine.queue import ReadyQueue, Ticket
from interlock.graphs.engine.timers import Timers
from interlock.graphs.engine.watch import Watch, Watches
from interlock.graphs.registry import Registry
from interlock.graphs.services import Services
from interlock.storage.transaction import Row, Transaction

__all__ = ["EmbeddedEngine"]

_log = logging.getLogger(__name__)
_STORAGE_TRIES = 5
_GRACE_S = 5.0  # how long code that was cancelled may take to notice


class EmbeddedEngine:
    """Drives the cases of one database in this process, at most `settings.concurrency` at once."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry
        self._queue = ReadyQueue(services.settings.tenant_concurrency)
        self._drives: dict[str, asyncio.Task[None]] = {}
        self._controls: dict[str, RunControl] = {}
        self._watches = Watches()
        self._timers = Timers(services)
        self._broken: dict[str, errors.StorageError] = {}
        self._open = False

    async def start(self) -> None:
        """Take up what an earlier engine left queued or running, in start order."""
        await self._timers.load()
        at, leases = iso(self._services.clock.now()), self._services.gateway.leases
        await self._services.db.commit(lambda tx: leases.recover(tx, at))
        self._open = True
        await self.unpark()

    async def unpark(self) -> list[str]:
        """Queue what can be driven: also the cases that waited for a workflow, a tool or a switch; gives those."""
        unparked, rows = await self._services.db.commit(_recover)
        self.submit(_ticket(row) for row in rows)
        return unparked

    def submit(self, tickets: Iterable[Ticket]) -> None:
        """Queue cases that are durable and queued in the database."""
        for ticket in tickets:
            self._queue.push(ticket)
        self._pump()

    def wake(self, tenant: str, case_id: str) -> None:
        """An answer has arrived for a case: it is queued before new ones."""
        self.submit([Ticket(0, case_id, tenant)])

    async def wait(self, tenant: str, ids: Collection[str], until: str, timeout: float | None) -> None:  # noqa: ASYNC109
        """Return when the cases have settled or ended, or after `timeout` real seconds. Raises StorageError."""
        with Watch(self._watches, ids, until) as watch:
            idle = [case_id for case_id in watch.missing if case_id not in self._queue]
            for case_id, status in (await cases.statuses(self._services.db, tenant, idle)).items():
                if case_id not in self._queue:
                    watch.hear(case_id, status)
            for case_id in watch.missing & self._broken.keys():
                if case_id not in self._queue:
                    watch.fail(self._broken[case_id])
            try:
                async with asyncio.timeout(timeout):
                    await watch.over()
            except TimeoutError:
                return

    async def arm(self, tenant: str, case_id: str) -> None:
        """Keep the deadlines of the approvals that a case has opened."""
        await self._timers.take_up(tenant, case_id)

    async def stop(self, case_id: str, *, drain: bool) -> None:
        """End the drive of a case: at the next step (`drain`), or now; effects in flight are waited for.

        Code that does not notice its cancellation is left alone; the next epoch refuses whatever it writes.
        """
        task = self._drives.get(case_id)
        if task is not None and drain:
            self._controls[case_id].request_drain("pause")
            await asyncio.wait([task])
        elif task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=_GRACE_S)
        self._queue.discard(case_id)
        if task is not None and not task.done():
            self._leave(self._queue.running[case_id], self._controls[case_id], "running")
        if not drain:
            await self._services.gateway.drain(case_id=case_id)

    def tell(self, case_id: str, status: str) -> None:
        """Wake whoever waits for a case that something else than a drive has changed."""
        self._watches.tell(case_id, status)

    async def close(self) -> None:
        """Drain: running cases stop at their next step and stay queued; effects in flight end."""
        self._open = False
        await self._timers.close()
        for control in self._controls.values():
            control.request_drain("close")
        await self._end_drives()
        await self._services.gateway.drain()
        self._watches.close()

    async def _end_drives(self) -> None:
        """Let drives end; those that take too long are cancelled, and go on from their last durable step next time."""
        if self._drives:
            await asyncio.wait(self._drives.values(), timeout=self._services.settings.drain_s)
        for task in self._drives.values():
            task.cancel()
        if self._drives:
            await asyncio.wait(self._drives.values(), timeout=_GRACE_S)

    def _pump(self) -> None:
        while self._open and len(self._drives) < self._services.settings.concurrency:
            ticket = self._queue.pop()
            if ticket is None:
                return
            self._broken.pop(ticket.case_id, None)
            control = self._controls[ticket.case_id] = RunControl()
            drive = self._run(ticket, control)
            self._drives[ticket.case_id] = asyncio.create_task(drive, name=f"case {ticket.case_id}")

    async def _run(self, ticket: Ticket, control: RunControl) -> None:
        status = "running"
        try:
            status = await self._advance(ticket, control)
            if status == "waiting":
                await self.arm(ticket.tenant, ticket.case_id)
        except asyncio.CancelledError:
            _log.info("drive of case %s was cancelled", ticket.case_id)
        except errors.StorageError as exc:
            _log.error("case %s stops: %s", ticket.case_id, exc)  # no bug
            self._give_up(ticket.case_id, control, exc)
        except Exception as exc:
            _log.exception("drive of case %s failed outside its graph", ticket.case_id)
            why = errors.StorageError(f"the case cannot be driven: {exc!r}", "see the log")
            self._give_up(ticket.case_id, control, why)
        finally:
            self._leave(ticket, control, status)

    def _leave(self, ticket: Ticket, control: RunControl, status: str) -> None:
        """Nothing drives the case any more, or only code that was left alone."""
        if not self._drives_it(ticket.case_id, control):
            return
        del self._drives[ticket.case_id], self._controls[ticket.case_id]
        self._queue.done(ticket)
        if ticket.case_id not in self._queue:
            self._watches.tell(ticket.case_id, status)
        self._pump()

    def _drives_it(self, case_id: str, control: RunControl) -> bool:
        """Whether it is this drive that the case has; after one that was left alone another may have begun."""
        return self._controls.get(case_id) is control

    def _give_up(self, case_id: str, control: RunControl, exc: errors.StorageError) -> None:
        """Until the next start nothing drives the case; those who wait for it hear why."""
        if not self._drives_it(case_id, control):
            return
        self._broken[case_id] = exc
        self._watches.fail(case_id, exc)

    async def _advance(self, ticket: Ticket, control: RunControl) -> str:
        """Drive a case. After a failed commit it stands at its last durable step: claim it again, a little later."""
        for attempt in range(1, _STORAGE_TRIES):
            try:
                return await self._drive(ticket, control)
            except errors.StorageError as exc:
                if not self._drives_it(ticket.case_id, control):
                    raise
                _log.warning("a commit of case %s failed (%s), try %d", ticket.case_id, exc, attempt)
                await asyncio.sleep(0.01 * 4**attempt)
        return await self._drive(ticket, control)

    async def _drive(self, ticket: Ticket, control: RunControl) -> str:
        return await segment.advance(self._services, self._registry, ticket.tenant, ticket.case_id, control)


def _recover(tx: Transaction) -> tuple[list[str], list[Row]]:
    return cases.unpark(tx), cases.recoverable(tx)


def _ticket(row: Row) -> Ticket:
    return Ticket(row["seq"], row["case_id"], row["tenant"], row["priority"], row["sequence"])
