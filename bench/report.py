"""Markdown tables of the results, counts first, as they stand in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence

from bench.benchmarks import Benchmark
from bench.rounds import Row
from bench.traced import Traced

__all__ = ["broken", "markdown"]


def markdown(name: str, benchmark: Benchmark, found: Sequence[Row]) -> str:
    """One table: a row per concurrency and peer."""
    unit = benchmark.unit
    head = [
        "at once", "peer", f"commits per {unit}", f"syncs per {unit} (at so many commits)", f"CPU per {unit}",
        "CPU against first", f"{unit}s per second", "speed against first",
    ]  # fmt: skip
    lines = [f"### {name}: {benchmark.title}", "", _line(head), _line(["---"] * len(head))]
    return "\n".join([*lines, *(_line(_cells(row)) for row in found)])


def broken(benchmark: Benchmark, found: Sequence[Row]) -> list[str]:
    """The counts that are over their bound."""
    bounds = benchmark.most_commits
    return [
        f"{row.peer} at {row.concurrency}: {row.commits:.3f} commits per {benchmark.unit}, "
        f"at most {bounds[row.peer, row.concurrency]} allowed"
        for row in found
        if row.commits > bounds.get((row.peer, row.concurrency), row.commits)
    ]


def _cells(row: Row) -> list[str]:
    counts = [f"{row.commits:.3f}", _syncs(row.traced)]
    times = [f"{row.cpu_ms:.3f} ms", f"{row.cpu:.2f}x", f"{row.per_s:,.0f}", f"{row.rate:.2f}x"]
    return [str(row.concurrency), row.peer, *counts, *times]


def _syncs(traced: Traced | None) -> str:
    return "not traced" if traced is None else f"{traced.syncs_per_run:.3f} ({traced.trial.commits_per_run:.3f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
