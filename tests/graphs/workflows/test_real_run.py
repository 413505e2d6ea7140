"""The real alerts of a chiller plant, which lie beside the repository on some machines, against the oracle.

`make real` runs all 1,466 of them; `make test` a slice.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.graphs.workflows.oracle import Oracle, Row, rows
from tests.graphs.workflows.runs import Ran, agrees, plant, run
from tests.graphs.workflows.test_oracle import REAL

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real alerts are not at {REAL}")
SLICE = 70


def alerts() -> list[Row]:
    return rows(REAL / "alert_events.csv")


async def ran(home: Path, chosen: list[Row], *, seed: int, concurrency: int) -> Ran:
    """A run of alerts in a random order of lines."""
    async with plant(home, concurrency=concurrency, reference=REAL) as plane:
        return await run(plane, random.Random(seed).sample(chosen, len(chosen)))


def check(run: Ran, chosen: list[Row]) -> None:
    """Every case against the oracle, and the sums of the figures."""
    expected = Oracle(REAL).expect(chosen)
    assert [key for key, one in expected.items() if not agrees(run, key, one)] == []
    duplicates, figures = sum(one.merged_with is not None for one in expected.values()), run.figures
    assert figures["cases"] == len(chosen) == figures["completed"] + figures["waiting"] + figures["failed"]
    assert (figures["failed"], figures["duplicates_merged"]) == (0, duplicates)
    assert figures["waiting"] == figures["exceptions"] + figures["approvals_waiting"]
    assert figures["completed"] == figures["work_orders"] + figures["duplicates_merged"]
    assert figures["code_in_rule_mapping"] == figures["work_orders"]
    assert (run.stats["requests"], run.stats["refused_doubles"]) == (len(chosen) - duplicates, 0)
    assert figures["ledger_verified"] is True


def quiet_assets(size: int) -> list[Row]:
    """All alerts of the assets that have the fewest, at most `size` together."""
    chosen: list[Row] = []
    for asset, count in reversed(Counter(alert["equipment_id"] for alert in alerts()).most_common()):
        if len(chosen) + count <= size:
            chosen += [alert for alert in alerts() if alert["equipment_id"] == asset]
    return chosen


async def test_the_real_alerts_of_some_assets_are_what_the_oracle_expects(tmp_path: Path) -> None:
    chosen = quiet_assets(SLICE)
    assert len(chosen) > SLICE / 2
    check(await ran(tmp_path, chosen, seed=3, concurrency=16), chosen)


@pytest.mark.real
@pytest.mark.timeout(1800)
async def test_all_real_alerts_at_any_concurrency_and_in_any_order(tmp_path: Path) -> None:
    chosen = alerts()
    first = await ran(tmp_path / "first", chosen, seed=1, concurrency=32)
    check(first, chosen)
    assert len(chosen) == 1466
    assert first.figures["completed"] >= 1100
    assert first.figures["exceptions"] <= 220
    other = await ran(tmp_path / "other", chosen, seed=2, concurrency=3)
    assert other.counts == first.counts
    assert other.outcomes == first.outcomes
    assert other.orders == first.orders
    again = await ran(tmp_path / "first", chosen, seed=4, concurrency=32)
    assert (again.counts, again.outcomes, again.stats) == (first.counts, first.outcomes, first.stats)
