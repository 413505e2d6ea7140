"""What the figures were made on: processor, Python, file system, how fast it syncs, and how loaded it was."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe", "syncs_per_s"]

_SYNCS = 300


def describe() -> list[str]:
    """Lines for the head of a report."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"machine: {_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"disk: {syncs_per_s():.0f} fdatasync per second of a file that grows, in {tempfile.gettempdir()}",
        f"load average before: {load}",
        f"versions: Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"langgraph {version('langgraph')}, langgraph-checkpoint-sqlite {version('langgraph-checkpoint-sqlite')}",
    ]


def syncs_per_s() -> float:
    """How often a growing file can be synced: times of durable work mean little without it."""
    with tempfile.NamedTemporaryFile(prefix="bench-", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(_SYNCS):
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
        return _SYNCS / (time.perf_counter() - start)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
