"""One trial in a process of its own: `python -m bench.alone BENCHMARK PEER RUNS CONCURRENCY` prints commits per run."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from bench.benchmarks import BENCHMARKS
from bench.trial import Trial


def main(benchmark: str, peer: str, runs: str, concurrency: str) -> Trial:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return asyncio.run(BENCHMARKS[benchmark].peers[peer](Path(folder), int(runs), int(concurrency)))


if __name__ == "__main__":
    print(main(*sys.argv[1:]).commits_per_run)
