"""Counts how often the disk was told to sync, by running a peer once more under `strace`.

SQLite has no counter of its own for it. `strace` stops the process at these two system calls only, so that the
run is hardly slower; its commits are reported beside its syncs all the same.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.trial import MARK

__all__ = ["Syncs", "available", "count"]

_CALL = re.compile(r"\b(?:fsync|fdatasync)\((\d+)")
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Syncs:
    """Per run of a traced trial: fsync and fdatasync calls, and commits."""

    syncs: float
    commits: float


def available() -> bool:
    return shutil.which("strace") is not None


def count(benchmark: str, peer: str, runs: int, concurrency: int) -> Syncs | None:
    """Run one trial in a traced process of its own. None without `strace`, or where tracing is not allowed."""
    if not available():
        return None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "strace.log"
        trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", str(log)]
        trial = [sys.executable, "-m", "bench.alone", benchmark, peer, str(runs), str(concurrency)]
        done = subprocess.run([*trace, *trial], cwd=_ROOT, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            print(f"not traced: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return None
        return Syncs(between_marks(log.read_text("utf-8")) / runs, float(done.stdout))


def between_marks(log: str) -> int:
    """How many syncs the log shows between its two marks (calls on descriptor MARK)."""
    descriptors = [match[1] for match in _CALL.finditer(log)]
    first, last = (i for i, descriptor in enumerate(descriptors) if descriptor == str(MARK))
    return last - first - 1
