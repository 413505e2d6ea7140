"""The group committer: one writer thread, units of all cases, one transaction per batch.

Each unit is a savepoint: a unit that fails takes nothing with it but the claim it belongs to. A caller
goes on only when the transaction that holds its unit is durable.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from interlock import errors
from interlock.storage.claim import Apply, Claim
from interlock.storage.failures import CLOSED, meaning
from interlock.storage.transaction import SqliteTransaction

__all__ = ["Committer"]

BATCH = 256
_EPOCH = "SELECT epoch FROM cases WHERE tenant = ? AND case_id = ?"


class _Unit:
    """What one caller wants durable, and how to tell it."""

    __slots__ = ("alone", "apply", "claim", "error", "future", "loop", "result")

    def __init__(
        self, apply: Callable[[Any], Any], claim: Claim | None, loop: asyncio.AbstractEventLoop | None, *,
        alone: bool = False,
    ) -> None:  # fmt: skip
        self.apply = apply
        self.alone = alone
        self.claim = claim
        self.loop = loop
        self.future: asyncio.Future[Any] | Future[Any] = Future() if loop is None else loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """The caller gets `error`; the claim, if any, is poisoned by the first failure under it."""
        self.error = error
        if self.claim is not None:
            self.claim.fail(error)

    def tell(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Committer:
    """Takes units from any thread or event loop. `units` and `commits` count what became durable."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], where: str) -> None:
        self.units = 0
        self.commits = 0
        self._where = where
        self._queue: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._connection = connect()
        self._thread = threading.Thread(target=self._work, name="interlock-committer", daemon=True)
        self._thread.start()

    async def commit(self, apply: Apply, claim: Claim | None) -> Any:
        """Queue a unit at once, and wait until it is durable. A cancelled wait does not cancel the unit."""
        unit = _Unit(apply, claim, asyncio.get_running_loop())
        self._submit(unit)
        return await unit.future  # type: ignore[misc]  # with a loop it is an asyncio future

    async def between(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run `work(connection)` between two transactions: for what none may be open for."""
        unit = _Unit(work, None, asyncio.get_running_loop(), alone=True)
        self._submit(unit)
        return await unit.future  # type: ignore[misc]  # with a loop it is an asyncio future

    def commit_sync(self, apply: Apply, claim: Claim | None) -> Any:
        if threading.current_thread() is self._thread:
            raise errors.StorageError("a unit cannot wait for another unit", "do both in one unit, with its `tx`")
        unit = _Unit(apply, claim, None)
        self._submit(unit)
        return unit.future.result()

    def close(self) -> None:
        """Commit what is queued, refuse what comes later, end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _submit(self, unit: _Unit) -> None:
        _refuse_poisoned(unit.claim)
        with self._lock:
            if self._closed:
                raise errors.StorageError(f"{self._where} is closed", CLOSED)
            self._queue.put(unit)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._commit_batch(batch)
            _tell(batch)
        self._connection.close()

    def _next_batch(self) -> list[_Unit]:
        """Whatever waits, at most BATCH units; empty when the committer is to end."""
        batch: list[_Unit] = []
        unit = self._queue.get()
        while unit is not None:
            batch.append(unit)
            if len(batch) == BATCH or self._queue.empty():
                return batch
            unit = self._queue.get()
        if batch:
            self._queue.put(None)
        return batch

    def _commit_batch(self, batch: list[_Unit]) -> None:
        units = [unit for unit in batch if not unit.alone]
        try:
            if units:
                self._run_batch(units)
        except BaseException as exc:  # every caller of the batch has to hear of it
            self._fail_batch(units, exc)
        for unit in batch:
            if unit.alone:
                self._run_alone(unit)

    def _run_alone(self, unit: _Unit) -> None:
        try:
            unit.result = unit.apply(self._connection)
        except BaseException as exc:  # its caller has to hear of it, and the next batch must run
            unit.fail(meaning(exc, self._where))

    def _run_batch(self, batch: list[_Unit]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        tx = SqliteTransaction(self._connection)
        for unit in batch:
            self._run_unit(tx, unit)
        tx.save_head()
        tx.execute("COMMIT")
        self.commits += 1
        self.units += sum(unit.error is None for unit in batch)

    def _run_unit(self, tx: SqliteTransaction, unit: _Unit) -> None:
        head = tx.head
        tx.execute("SAVEPOINT unit")
        try:
            _refuse_poisoned(unit.claim)
            _check_epoch(tx, unit.claim)
            unit.result = unit.apply(tx)
            tx.execute("RELEASE unit")
        except BaseException as exc:  # a unit may fail in any way, and only for itself
            unit.fail(meaning(exc, self._where))
            if not self._connection.in_transaction:
                raise  # a full disk can end the whole transaction: then the batch has failed
            tx.execute("ROLLBACK TO unit")
            tx.execute("RELEASE unit")
            tx.head = head

    def _fail_batch(self, batch: list[_Unit], exc: BaseException) -> None:
        for unit in batch:
            if unit.error is None:
                unit.fail(meaning(exc, self._where))
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # a disk that fails here fails the next BEGIN too: it is tried again then
                self._connection.execute("ROLLBACK")


def _check_epoch(tx: SqliteTransaction, claim: Claim | None) -> None:
    if claim is None:
        return
    row = tx.row(_EPOCH, (claim.tenant, claim.case_id))
    if row is None or row["epoch"] != claim.epoch:
        now = "gone" if row is None else f"at epoch {row['epoch']}"
        raise errors.Stale(f"case {claim.case_id} is {now}, this claim has epoch {claim.epoch}", "claim the case again")


def _refuse_poisoned(claim: Claim | None) -> None:
    if claim is not None and claim.poison is not None:
        raise errors.Stale(
            f"an earlier write of case {claim.case_id} failed: {claim.poison.message}",
            "claim the case again; it goes on from its last durable step",
        ) from claim.poison


def _tell(batch: list[_Unit]) -> None:
    """Wake each event loop once per batch."""
    loops: dict[asyncio.AbstractEventLoop | None, list[_Unit]] = {}
    for unit in batch:
        loops.setdefault(unit.loop, []).append(unit)
    for loop, units in loops.items():
        if loop is None:
            _resolve(units)
        else:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, units)


def _resolve(units: list[_Unit]) -> None:
    for unit in units:
        unit.tell()
