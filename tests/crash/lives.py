"""Lives of the killable process, forked from a process that has loaded everything, and what they leave behind."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.crash.forks import end_of, forked
from tests.crash.killable import NEVER, main
from tests.crash.outside import Outside


@dataclass(frozen=True)
class Left:
    """What lives leave behind: the calls without outcome that each death left, the end, and what happened outside."""

    open_calls: set[tuple[str, int]]
    end: dict[str, Any]
    effects: list[tuple[str, str]]
    refused: int


def live(home: Path, workflow: str, at: int = NEVER, sign: int = signal.SIGKILL) -> int:
    """One life; 0, or the signal that ended it as a negative number."""
    return end_of(forked(lambda: main(home, workflow, at, sign)))


def diary(home: Path) -> list[str]:
    return (home / "diary.txt").read_text(encoding="utf-8").splitlines()


def open_calls(home: Path) -> set[tuple[str, int]]:
    """Tool and number of each try whose intent is durable and whose outcome is not."""
    with closing(sqlite3.connect(home / "interlock.db")) as connection:
        return set(connection.execute("SELECT tool, attempt FROM effects WHERE status = 'intent'"))


def lives(home: Path, workflow: str, *moments: int, sign: int = signal.SIGKILL) -> Left:
    """Lives that a signal ends at these points, as far as the case needs so many, and one that ends by itself."""
    home.mkdir(parents=True)
    left: set[tuple[str, int]] = set()
    for at in moments:
        ended = live(home, workflow, at, sign)
        if (home / "end.json").exists():
            break
        assert ended == (0 if sign == signal.SIGTERM else -sign), diary(home)
        left |= open_calls(home)
    assert live(home, workflow) == 0, f"no end after {diary(home)}"
    outside = Outside(home)
    return Left(left, orjson.loads((home / "end.json").read_bytes()), outside.effects(), outside.refused())
