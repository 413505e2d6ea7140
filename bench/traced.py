"""Trials under `strace`: how often the disk was told to sync, and what happens on a disk that takes longer for it.

SQLite has no counter of its own. `strace` stops the process at these two system calls only, so that the run is hardly
slower; it can also make each of them take longer, which is how a slower disk is had on any machine.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.trial import MARK, Trial

__all__ = ["Traced", "available", "between_marks", "run_traced"]

_CALL = re.compile(r"\b(?:fsync|fdatasync)\((\d+)")
_CALLS = "fsync,fdatasync"
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Traced:
    """A trial in a process of its own, and its fsync and fdatasync calls."""

    trial: Trial
    syncs: int

    @property
    def syncs_per_run(self) -> float:
        return self.syncs / self.trial.runs


def available() -> bool:
    return shutil.which("strace") is not None


def run_traced(benchmark: str, peer: str, runs: int, concurrency: int, sync_ms: float = 0) -> Traced | None:
    """Run one trial, each sync taking `sync_ms` longer. None without `strace`, or where tracing is not allowed."""
    if not available():
        return None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "strace.log"
        trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={_CALLS}", "-o", str(log)]
        delay = ["-e", f"inject={_CALLS}:delay_enter={round(1000 * sync_ms)}"] if sync_ms else []
        trial = [sys.executable, "-m", "bench.alone", benchmark, peer, str(runs), str(concurrency)]
        done = subprocess.run([*trace, *delay, *trial], cwd=_ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # our own commands
        if done.returncode != 0:
            print(f"not traced: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return None
        return Traced(Trial(**json.loads(done.stdout)), between_marks(log.read_text("utf-8")))


def between_marks(log: str) -> int:
    """How many syncs the log shows between its two marks (calls on descriptor MARK)."""
    descriptors = [match[1] for match in _CALL.finditer(log)]
    first, last = (i for i, descriptor in enumerate(descriptors) if descriptor == str(MARK))
    return last - first - 1
