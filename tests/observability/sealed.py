"""A ledger with seals, as it lies in a home, and what somebody with the files can do to it."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from interlock.observability.ledger import Ledger, Report
from interlock.observability.seal import Proof
from interlock.observability.sealer import Sealer
from interlock.observability.verify import FIELDS, Result, check
from interlock.settings import Settings
from interlock.storage.database import Database
from interlock.testing import ManualClock

START = datetime(2026, 1, 30, 22, 0, tzinfo=UTC)


def sealer_of(db: Database, home: Path, **settings: Any) -> tuple[Ledger, Sealer]:
    clock = ManualClock(START)
    ledger = Ledger(db, clock)
    chosen = Settings(**{"seal_seconds": 3600, **settings})
    ledger.proof = Proof(home, chosen.seal_key_file, chosen.anchor_file)
    return ledger, Sealer(db, ledger, clock=clock, settings=chosen, proof=ledger.proof, tenant="default")


async def fill(ledger: Ledger, count: int, case: str = "c") -> None:
    data = [{"by": "person:ana", "comment": f"event {n}"} for n in range(count)]
    made = [ledger.event("case.resumed", tenant="default", case_id=case, actor="person:ana", data=d) for d in data]
    await ledger.record(*made)


async def make(home: Path, rounds: int = 6, each: int = 20) -> None:
    """Rounds of events, each with a seal after it, and one erasure."""
    for number in range(rounds):
        db = await Database.open(f"sqlite:///{home}/interlock.db")
        ledger, sealer = sealer_of(db, home)
        await fill(ledger, each, f"c{number}")
        if number == 2:
            await ledger.erase("default", case_id="c1", by="person:ana", why="asked")
        await sealer.close()
        await db.close()


async def verified(home: Path) -> Report:
    db = await Database.open(f"sqlite:///{home}/interlock.db", read_only=True)
    try:
        ledger = Ledger(db, ManualClock(START))
        ledger.proof = Proof(home)
        return await ledger.verify()
    finally:
        await db.close()


async def export(home: Path) -> list[bytes]:
    db = await Database.open(f"sqlite:///{home}/interlock.db", read_only=True)
    try:
        return [orjson.dumps(event) async for event in Ledger(db, ManualClock(START)).export()]
    finally:
        await db.close()


def checked(home: Path, lines: list[bytes], anchor: bytes | None = None) -> Result:
    proof = Proof(home)
    return check(lines, proof.keys(), proof.anchored() if anchor is None else anchor)


def copied(home: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(home, to)
    return to


def change(home: Path, work: Callable[[sqlite3.Connection], Any]) -> None:
    with closing(sqlite3.connect(home / "interlock.db")) as other, other:
        work(other)


def recompute(other: sqlite3.Connection, first: int) -> None:
    """The chain from one row on as if it had always been so, with the head and the hashes of the seals."""
    prev = other.execute("SELECT hash FROM ledger WHERE seq = ?", (first - 1,)).fetchone()
    link = prev[0] if prev else "0" * 64
    columns = f"{', '.join(FIELDS)}, payload_hash"
    for row in other.execute(f"SELECT {columns} FROM ledger WHERE seq >= ? ORDER BY seq", (first,)).fetchall():
        before, link = link, hashlib.sha256(orjson.dumps([*row, link])).hexdigest()
        other.execute("UPDATE ledger SET prev = ?, hash = ? WHERE seq = ?", (before, link, row[1]))
        other.execute("UPDATE seals SET hash = ? WHERE seq = ?", (link, row[1]))
        other.execute("UPDATE heads SET seq = ?, hash = ?", (row[1], link))
