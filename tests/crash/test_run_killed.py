"""`interlock run` killed by SIGKILL again and again: the end is that of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.main import app
from interlock.examples.enterprise.reference import SAMPLE
from tests.crash.alerts import write_alerts
from tests.crash.forks import end_of, forked, forkers, runs

ALERTS, KILLS, SEED = 200, 20, 20_261_124
MEASURED = {"seconds", "cases_per_s", "peak_mb", "ledger_events"}  # a repeated intent is an event of its own


def arguments(alerts: Path, home: Path) -> list[str]:
    where = ["--reference", str(SAMPLE), "--home", str(home)]
    return ["run", "maintenance", "--input", str(alerts), *where, "--json"]


def run(alerts: Path, home: Path) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("interlock"))
    done = subprocess.run([program, *arguments(alerts, home)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return {name: value for name, value in figures.items() if name not in MEASURED}


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(sql).fetchall()


def events(home: Path) -> int:
    try:
        return int(rows(home / "interlock.db", "SELECT COALESCE(max(seq), 0) FROM ledger")[0][0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def start(alerts: Path, home: Path) -> None:
    """The command itself, without a word."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    app(arguments(alerts, home), standalone_mode=False)


def kill_at(alerts: Path, home: Path, point: int, pause: float) -> bool:
    """Start a run and kill it `pause` seconds after its ledger has reached a length; whether it was still running."""
    process = forked(lambda: start(alerts, home))
    while runs(process) and events(home) < point:
        time.sleep(0.005)
    time.sleep(pause)
    os.kill(process, signal.SIGKILL)
    return end_of(process) == -signal.SIGKILL


def cases(home: Path) -> dict[str, tuple[Any, ...]]:
    """By business key: how each case stands, with its result and what it asks of people."""
    found = rows(home / "interlock.db", "SELECT key, status, result, error, case_id FROM cases")
    asked = Counter(rows(home / "interlock.db", "SELECT case_id, kind, task, digest FROM inbox WHERE status = 'open'"))
    return {key: (*row, sorted(item for item in asked.items() if item[0][0] == row[-1])) for key, *row in found}


def orders(home: Path) -> list[tuple[Any, ...]]:
    return rows(
        home / "cmms.db", "SELECT key, id, request, body, status, technician, starts FROM work_orders ORDER BY key"
    )


@pytest.mark.timeout(540)
def test_a_run_killed_at_twenty_points_ends_like_one_that_was_not(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    alerts = tmp_path / "alerts.csv"
    write_alerts(alerts, ALERTS, SEED)
    calm, hunted = tmp_path / "calm", tmp_path / "hunted"
    expected = run(alerts, calm)
    assert expected["cases"] == ALERTS
    assert expected["failed"] == 0
    points = sorted(draw.sample(range(1, events(calm)), KILLS))
    with forkers(1) as pool:
        killed = sum(pool.submit(kill_at, alerts, hunted, point, draw.random() * 0.01).result() for point in points)
    assert killed >= KILLS - 2, "the last points may lie behind the end"
    assert run(alerts, hunted) == expected
    assert cases(hunted) == cases(calm)
    assert orders(hunted) == orders(calm)
    effects = rows(hunted / "interlock.db", "SELECT count(*) FROM effects WHERE status IN ('intent', 'unknown')")
    assert effects == [(0,)]
    outcomes = Counter(rows(hunted / "interlock.db", "SELECT identity FROM ledger WHERE type = 'tool.outcome'"))
    assert set(outcomes.values()) == {1}
