"""`interlock demo`, as a stranger runs it: on the sample plant, twice, and then what it points to."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.demo import DEMO_HOME

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no settings, no home: nothing but the project."""
    for name in [name for name in os.environ if name.startswith(("INTERLOCK_", "OPENAI_", "CMMS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_demo_shows_the_outcomes_and_leads_on(cli: Any, tmp_path: Path) -> None:
    first = cli("demo")
    assert (tmp_path / DEMO_HOME / "interlock.db").exists()
    for words in ("outcome", "throughput", "cycle time", "cost of running", "wait for people", "ledger", "verified"):
        assert words in first.out
    assert_counts(first.out)
    commands = re.findall(r"^  interlock (.*)$", first.out, re.M)
    assert {shlex.split(command)[0] for command in commands} == {
        "inbox", "approvals", "cases", "metrics", "audit", "map",
    }  # fmt: skip
    for command in commands:
        cli(*shlex.split(command))
    again = cli("demo")
    assert_counts(again.out)
    assert number(again.out, "waits for an approval") == number(first.out, "waits for an approval") - 1


def assert_counts(shown: str) -> None:
    """Every outcome occurs, nothing fails, and the outcomes add up to the alerts."""
    outcomes = ("work order in", "merged into", "waits for an approval", "waits for a person", "failed")
    counts = [number(shown, outcome) for outcome in outcomes]
    assert all(counts[:4]) and counts[4] == 0
    total = re.search(r"^(\d+) alerts of a small plant", shown, re.M)
    assert total is not None and sum(counts) == int(total[1])


def number(shown: str, label: str) -> int:
    found = re.search(rf"{label}.*?(\d+)\s*$", shown, re.M)
    assert found is not None, label
    return int(found[1])
