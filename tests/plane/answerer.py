"""A process of its own that answers inbox items at the engine of a home: `answerer.py HOME BY SEED`, ids on stdin.

It prints one line per item: `decided` or the code of the error.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from interlock import errors
from interlock.graphs.engine.lock import Address, EngineLock
from interlock.graphs.engine.remote import send


async def main(home: Path, by: str, seed: int) -> None:
    ids = sys.stdin.read().split()
    chance = random.Random(seed)
    chance.shuffle(ids)
    address = EngineLock(home).holder()
    assert address is not None, "an engine lives"
    for first in range(0, len(ids), 4):  # a few at once, so that answers meet
        await asyncio.gather(*(answer(address, one, by, chance.random() / 200) for one in ids[first : first + 4]))


async def answer(address: Address, item: str, by: str, delay: float) -> None:
    await asyncio.sleep(delay)
    try:
        await send(address, "decide", item_id=item, decision={"kind": "approve"}, by=by)
        print("decided")
    except errors.InterlockError as exc:
        print(exc.code)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
