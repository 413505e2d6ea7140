"""A process that writes and seals until it is killed: `home number hours`; its clock is so many hours off the start."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from interlock.observability.ledger import Ledger
from interlock.observability.seal import Proof
from interlock.observability.sealer import Sealer
from interlock.settings import Settings
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.observability.sealed import START, fill


async def main(home: Path, number: str, hours: float) -> None:
    db = await Database.open(f"sqlite:///{home}/interlock.db", busy_s=60)
    clock = ManualClock(START + timedelta(hours=hours))
    ledger, proof = Ledger(db, clock), Proof(home)
    ledger.proof = proof
    sealer = Sealer(db, ledger, clock=clock, settings=Settings(seal_seconds=3600), proof=proof, tenant="default")
    while True:
        await fill(ledger, 3, f"case {number}")
        await sealer._turn()
        os.write(1, b".")  # unbuffered: a kill loses none


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
