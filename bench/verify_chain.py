"""B9: the chain of a database is read and checked. Against hashing alone, of the same rows, when they are in memory."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from bench.trial import Trial, measure
from interlock.clock import SystemClock
from interlock.observability.ledger import Ledger
from interlock.observability.walk import COLUMNS
from interlock.storage.database import Database

_AT_ONCE = 5_000
_ROWS = f"SELECT {COLUMNS}, (SELECT salt FROM {{0}}), (SELECT data FROM {{0}}) FROM ledger ORDER BY seq".format(  # noqa: S608  # ours
    "payloads p WHERE p.tenant = ledger.tenant AND p.hash = payload_hash"
)


async def hashing(folder: Path, runs: int, callers: int) -> Trial:
    """The floor: no reading, no comparing; the two hashes of each event are made anew."""
    db, _ = await _filled(folder, runs)
    rows = await db.read(lambda reader: reader.values(_ROWS))
    await db.close()

    async def once(number: int) -> None:
        for row in rows:
            _hashed(row)

    return replace(await measure(once, 1, 1, lambda: 0), runs=runs)


async def verify(folder: Path, runs: int, callers: int) -> Trial:
    """As `interlock audit verify` does it."""
    db, ledger = await _filled(folder, runs)

    async def once(number: int) -> None:
        report = await ledger.verify()
        assert (report.ok, report.events) == (True, runs), report

    try:
        return replace(await measure(once, 1, 1, lambda: 0), runs=runs)
    finally:
        await db.close()


def _hashed(row: tuple[Any, ...]) -> None:
    hashlib.sha256(orjson.dumps(row[:11])).hexdigest()
    hashlib.sha256(row[12] + row[13]).hexdigest()


async def _filled(folder: Path, count: int) -> tuple[Database, Ledger]:
    """A ledger of so many events, of the size that outcomes of tools have."""
    db = await Database.open(f"sqlite:///{folder / 'ledger.db'}")
    ledger = Ledger(db, SystemClock())
    data = {"task": "bench", "visit": 1, "actor": "agent:bench", "status": "done", "work_s": 0.1, "error": None}
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count))
        await ledger.record(*(_event(ledger, number, data) for number in numbers))
    return db, ledger


def _event(ledger: Ledger, number: int, data: dict[str, Any]) -> Any:
    case = f"case-{number // 40}"
    return ledger.event(
        "task.finished", tenant="default", case_id=case, actor="agent:bench", identity=f"{number:064d}",
        data={**data, "result": "x" * 200},
    )  # fmt: skip


PEERS = {"hashing": hashing, "verify": verify}
