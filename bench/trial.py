"""One measured stretch of work: what it counted and what it cost."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MARK", "Peer", "Trial", "mark", "measure"]

MARK = 2**31 - 1


@dataclass(frozen=True)
class Trial:
    """`runs` repetitions: wall-clock seconds, CPU seconds of the whole process, and how many commits they took."""

    runs: int
    seconds: float
    cpu_s: float
    commits: int

    @property
    def per_s(self) -> float:
        return self.runs / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per run."""
        return 1000 * self.cpu_s / self.runs

    @property
    def commits_per_run(self) -> float:
        return self.commits / self.runs


Peer = Callable[[Path, int, int], Coroutine[Any, Any, Trial]]
"""`await peer(folder, runs, concurrency)`: does the work in an empty folder of its own."""


async def measure(
    once: Callable[[int], Awaitable[object]], runs: int, concurrency: int, commits: Callable[[], int]
) -> Trial:
    """Await `once(i)` for i in 0..runs-1, `concurrency` of them at a time, after one that does not count (i = -1)."""
    await once(-1)
    gc.collect()
    mark()
    before, cpu, start = commits(), time.process_time(), time.perf_counter()
    await _all(once, runs, concurrency)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    mark()
    return Trial(runs, seconds, cpu, commits() - before)


async def _all(once: Callable[[int], Awaitable[object]], runs: int, concurrency: int) -> None:
    numbers = iter(range(runs))

    async def caller() -> None:
        for number in numbers:
            await once(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(caller())


def mark() -> None:
    """Leave a mark that a system-call tracer sees: a sync of a file that is not open, which fails and does nothing."""
    with suppress(OSError):
        os.fsync(MARK)
