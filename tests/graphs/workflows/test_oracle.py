"""The oracle itself, against what is known of the real alerts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graphs.workflows.oracle import Oracle, rows

REAL = Path(__file__).parents[3].parent / "shared/data/maintenance-assetops/sample_data"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real alerts are not at {REAL}")
def test_the_oracle_finds_what_is_known_of_the_real_alerts() -> None:
    oracle = Oracle(REAL)
    expected = oracle.expect(rows(REAL / "alert_events.csv"))
    assert len(expected) == 1466
    assert all(one.code is not None for one in expected.values())
    assert oracle.decided_by["fleet"] + oracle.decided_by["none"] == 760
    assert oracle.decided_by["none"] == 382
