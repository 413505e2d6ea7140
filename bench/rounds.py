"""Rounds of a benchmark: every peer at every load, in turns, so that a disturbance of the machine meets all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.benchmarks import Benchmark
from bench.traced import Traced
from bench.trial import Trial

__all__ = ["Row", "Tracer", "rows", "run_rounds"]

Key = tuple[int, str]
Runner = Callable[[str, int, int], Coroutine[Any, Any, Trial]]  # of a peer, so many runs, so many at once
Tracer = Callable[[str, int, int], Traced | None]


@dataclass(frozen=True)
class Row:
    """Medians of one peer at one concurrency; `rate` and `cpu` are compared with the first peer at the same one."""

    concurrency: int
    peer: str
    commits: float
    traced: Traced | None
    cpu_ms: float
    per_s: float
    rate: float
    cpu: float


async def run_rounds(
    benchmark: Benchmark, rounds: int, share: float, run: Runner, tell: Callable[[str], None]
) -> dict[Key, list[Trial]]:
    """All trials by concurrency and peer; `share` shortens the loads."""
    trials: dict[Key, list[Trial]] = defaultdict(list)
    for number in range(rounds):
        for concurrency, runs in benchmark.loads.items():
            for peer in _turned(list(benchmark.peers), number):
                tell(f"round {number + 1} of {rounds}: {peer} at {concurrency}")
                trials[concurrency, peer].append(await run(peer, _shortened(runs, share), concurrency))
    return trials


def rows(benchmark: Benchmark, trials: dict[Key, list[Trial]], share: float, trace: Tracer) -> list[Row]:
    """The medians, loads in order, the first peer first; syncs are counted here, in one more trial each."""
    found: list[Row] = []
    for concurrency, runs in benchmark.loads.items():
        base = trials[concurrency, next(iter(benchmark.peers))]
        for peer in benchmark.peers:
            traced = trace(peer, _shortened(runs, share), concurrency)
            found.append(_row(concurrency, peer, trials[concurrency, peer], base, traced))
    return found


def _row(concurrency: int, peer: str, trials: Sequence[Trial], base: Sequence[Trial], traced: Traced | None) -> Row:
    return Row(
        concurrency,
        peer,
        commits=median(t.commits_per_run for t in trials),
        traced=traced,
        cpu_ms=median(t.cpu_ms for t in trials),
        per_s=median(t.per_s for t in trials),
        rate=median(mine.per_s / other.per_s for mine, other in zip(trials, base, strict=True)),
        cpu=median(mine.cpu_ms / other.cpu_ms for mine, other in zip(trials, base, strict=True)),
    )


def _turned(names: list[str], number: int) -> list[str]:
    """Another peer begins in each round."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def _shortened(runs: int, share: float) -> int:
    return max(8, round(runs * share))
