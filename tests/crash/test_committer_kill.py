"""kill -9 at seeded random moments: what was acknowledged is there, nothing is half there, the chain is whole."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from interlock.observability.ledger import Ledger
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.database import Database, Reader
from interlock.testing import ManualClock
from tests.crash.committing import CASES

KILLS = 2


def killed_after(url: str, kind: str, lines: int) -> list[tuple[str, int]]:
    """Run the process, kill it once it has said so many lines, and give every line it said."""
    command = [sys.executable, "-m", "tests.crash.committing", url, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = [process.stdout.readline() for _ in range(lines + 1)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        complaint = process.stderr.read()
    assert said[0] == "begun\n", complaint
    assert process.returncode == -signal.SIGKILL, complaint
    pairs = [line.split() for line in said[1:] if line.endswith("\n")]
    return [(case, int(number)) for case, number in pairs]


def rows(reader: Reader) -> dict[str, list[int]]:
    found = defaultdict(list)
    for row in reader.rows("SELECT tenant, target FROM switches ORDER BY rowid"):
        found[row["tenant"]].append(int(row["target"]))
    return found


async def events(ledger: Ledger) -> dict[str, list[int]]:
    found = defaultdict(list)
    async for event in ledger.export():
        found[event["case_id"]].append(int(event["data"]["by"]))
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_units_survive_kills(tmp_path: Path, seed: int) -> None:
    url, moments = f"sqlite:///{tmp_path}/interlock.db", random.Random(seed)
    acknowledged: dict[str, set[int]] = defaultdict(set)
    for _ in range(KILLS):
        for case, number in await asyncio.to_thread(killed_after, url, "units", moments.randrange(1, 250)):
            acknowledged[case].add(number)
        db = await Database.open(url)
        try:
            ledger = Ledger(db, ManualClock(datetime(2026, 1, 30, tzinfo=UTC)))
            report = await ledger.verify()
            stored = await db.read(rows)
            assert report.ok, report
            assert await events(ledger) == stored  # a unit is there whole, or not at all
            for case, numbers in stored.items():
                assert numbers == list(range(len(numbers)))  # in order, without gap or double
                assert acknowledged[case] <= set(numbers)
        finally:
            await db.close()
    assert any(acknowledged.values())


@pytest.mark.parametrize("seed", [3, 4])
async def test_graphs_survive_kills(tmp_path: Path, seed: int) -> None:
    url, moments = f"sqlite:///{tmp_path}/interlock.db", random.Random(seed)
    acknowledged: dict[str, set[int]] = defaultdict(set)
    for _ in range(KILLS):
        for case, number in await asyncio.to_thread(killed_after, url, "graph", moments.randrange(1, 120)):
            acknowledged[case].add(number)
        db = await Database.open(url)
        try:
            await agree(db, acknowledged)
        finally:
            await db.close()
    assert any(acknowledged.values())


async def agree(db: Database, acknowledged: dict[str, set[int]]) -> None:
    """State, writes and ledger say the same; the step in which the kill fell may have its write and row already."""
    ledger, saver = Ledger(db, ManualClock(datetime(2026, 1, 30, tzinfo=UTC))), Checkpoints(db)
    assert (await ledger.verify()).ok
    noted = await events(ledger)
    for case in (f"case-{n}" for n in range(CASES)):
        found = await saver.aget_tuple({"configurable": {"thread_id": case}})
        state = found.checkpoint["channel_values"].get("done", []) if found else []
        writes = (found.pending_writes or []) if found else []
        pending = [number for _, channel, value in writes if channel == "done" for number in value]
        assert [*state, *pending] == noted[case] == list(range(len(noted[case])))
        assert acknowledged[case] <= set(state)
