"""One trial in a process of its own: `python -m bench.alone BENCHMARK PEER RUNS CONCURRENCY` prints it as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.benchmarks import BENCHMARKS
from bench.trial import Trial

__all__ = ["run_alone"]


async def run_alone(benchmark: str, peer: str, runs: int, concurrency: int) -> Trial:
    """One trial in a fresh folder."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return await BENCHMARKS[benchmark].peers[peer](Path(folder), runs, concurrency)


if __name__ == "__main__":
    name, peer, runs, concurrency = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(run_alone(name, peer, int(runs), int(concurrency))))))
