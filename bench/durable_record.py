"""B2: a caller goes on when its ledger record is durable. The committer, against one commit per call."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.trial import Trial, measure
from interlock.clock import SystemClock, iso
from interlock.observability.ledger import Ledger
from interlock.storage.chain import Event
from interlock.storage.connections import open_writer
from interlock.storage.database import Database
from interlock.storage.transaction import SqliteTransaction


async def committer(folder: Path, runs: int, callers: int) -> Trial:
    """Records of all callers, chained, through the group committer."""
    db = await Database.open(_url(folder))
    ledger = Ledger(db, SystemClock())
    try:
        return await measure(lambda number: ledger.record(_event(number)), runs, callers, lambda: db.commits)
    finally:
        await db.close()


async def alone(folder: Path, runs: int, callers: int) -> Trial:
    """The same records into the same tables, each in a transaction of its own."""
    await (await Database.open(_url(folder))).close()  # makes the tables
    connection, lock, commits = open_writer(folder / "ledger.db"), asyncio.Lock(), 0

    def write(event: Event) -> None:
        connection.execute("BEGIN IMMEDIATE")
        tx = SqliteTransaction(connection)
        tx.append(event)
        tx.save_head()
        connection.execute("COMMIT")

    async def once(number: int) -> None:
        nonlocal commits
        async with lock:
            await asyncio.to_thread(write, _event(number))
            commits += 1

    try:
        return await measure(once, runs, callers, lambda: commits)
    finally:
        connection.close()


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


def _event(number: int) -> Event:
    data = {"task": "bench", "visit": number, "actor": "agent:bench"}
    return Event("task.started", "default", None, "agent:bench", data, iso(SystemClock().now()))


PEERS = {"alone": alone, "committer": committer}
