"""Alerts for the sample plant, drawn with a seed: enough of them, and close enough, that many join open work."""

from __future__ import annotations

import csv
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from interlock.examples.enterprise.reference import SAMPLE

COLUMNS: tuple[str, ...] = ("equipment_id", "equipment_name", "rule_id", "start_time", "end_time")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def write_alerts(target: Path, count: int, seed: int) -> list[dict[str, str]]:
    """Write `count` different alerts, in no order, and return them."""
    draw = random.Random(seed)
    assets, rules = rows(SAMPLE / "assets.csv"), rows(SAMPLE / "alert_rule.csv")
    begin = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
    made: dict[tuple[str, str, str], dict[str, str]] = {}
    while len(made) < count:
        asset, rule = draw.choice(assets), draw.choice(rules)
        start = begin + timedelta(minutes=15 * draw.randrange(20 * 96))
        end = start + timedelta(minutes=draw.randrange(5, 300))
        times = (f"{start:%Y-%m-%d %H:%M}", f"{end:%Y-%m-%d %H:%M}")
        values = (asset["equipment_id"], asset["equipment_name"], rule["rule_id"], *times)
        alert = dict(zip(COLUMNS, values, strict=True))
        made[alert["equipment_id"], alert["rule_id"], alert["start_time"]] = alert
    alerts = list(made.values())
    draw.shuffle(alerts)
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(alerts)
    return alerts
