"""Processes that seal one home at once, are killed at any moment, and whose clocks disagree: one chain, proved."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from interlock.observability.ledger import Ledger
from interlock.observability.seal import Proof
from interlock.observability.sealer import Sealer
from interlock.observability.verify import read_anchor
from interlock.settings import Settings
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.observability.sealed import START, checked, export, fill, make, sealer_of, verified


def lives(home: Path, pick: random.Random, count: int) -> None:
    """So many processes at once, each killed at a random moment after its first seal."""
    command = [sys.executable, "-m", "tests.observability.killed_sealing", str(home)]
    running = [
        subprocess.Popen([*command, str(number), str(pick.uniform(-48, 48))], stdout=subprocess.PIPE)
        for number in range(count)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
    for process in running:
        time.sleep(pick.uniform(0, 0.3))  # any moment will do
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", [1, 2])
async def test_processes_that_seal_and_are_killed(tmp_path: Path, seed: int) -> None:
    pick = random.Random(seed)
    await make(tmp_path, rounds=1, each=2)
    for _ in range(2):
        await asyncio.to_thread(lives, tmp_path, pick, 2)
        report = await verified(tmp_path)
        assert report.ok, report
    await make(tmp_path, rounds=1, each=2)
    assert (await verified(tmp_path)).ok
    lines = await export(tmp_path)
    assert checked(tmp_path, lines).ok
    anchored = read_anchor(Proof(tmp_path).anchored() or b"", Proof(tmp_path).keys())
    assert [seal.seq for seal in anchored] == [row["seq"] for row in map(orjson.loads, lines) if "seal" in row]


async def test_no_seal_is_made_while_the_anchor_lacks_one(tmp_path: Path) -> None:
    """Another process sealed after this one had looked at the anchor, and was killed before it carried its seal."""
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    (ledger, one), (_, other) = sealer_of(db, tmp_path), sealer_of(db, tmp_path)
    await fill(ledger, 3)
    await one._turn()
    await other._carry()
    await fill(ledger, 3)
    assert await one.seal() is not None
    await fill(ledger, 3)
    assert await other.seal() is None
    assert (await verified(tmp_path)).ok
    await other._turn()
    await one.close()
    await other.close()
    await db.close()
    assert (await verified(tmp_path)).events == 9 + 3


async def test_a_clock_that_was_set_back_between_seals(tmp_path: Path) -> None:
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    for hours in (0, -3, 5, -100):
        clock = ManualClock(START + timedelta(hours=hours))
        ledger = Ledger(db, clock)
        ledger.proof = Proof(tmp_path)
        await fill(ledger, 3)
        sealer = Sealer(db, ledger, clock=clock, settings=Settings(), proof=ledger.proof, tenant="default")
        await sealer.close()
    await db.close()
    assert await verified(tmp_path) == (True, 16, None, "")
    assert checked(tmp_path, await export(tmp_path)).ok
