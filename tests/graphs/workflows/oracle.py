"""What has to come of a folder of alerts, computed from its CSV files in plain Python, without the project's code."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

Row = dict[str, str]
Key = tuple[str, str, datetime]  # asset, rule, start


@dataclass(frozen=True)
class Expected:
    """`merged_with` is the first alert (asset, start) of the request that a duplicate joins."""

    asset: str
    start: datetime
    code: str | None
    merged_with: datetime | None = None


def rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def instant(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%m/%d/%y %H:%M").replace(tzinfo=UTC)
    except ValueError:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def key_of(alert: Row) -> Key:
    return alert["equipment_id"], alert["rule_id"], instant(alert["start_time"])


class Oracle:
    """The reference data of a folder, and the rules of the matter written down once more."""

    def __init__(self, folder: Path) -> None:
        self.mapping: dict[str, list[str]] = {}
        for row in rows(folder / "alert_rule_failure_code_mapping.csv"):
            codes = self.mapping.setdefault(row["rule_id"], [])
            if row["primary_code"] not in codes:
                codes.append(row["primary_code"])
        past = rows(folder / "all_wo_with_code_component_events.csv")
        self.past = [
            (row["equipment_id"], row["primary_code"], instant(row["actual_finish"]))
            for row in past
            if row["actual_finish"]
        ]
        named = rows(folder / "assets.csv") if (folder / "assets.csv").exists() else past
        self.assets = {row["equipment_id"]: row["equipment_name"] for row in named}
        self.decided_by = Counter[str]()

    def sound(self, alert: Row) -> bool:
        """Whether an alert can be diagnosed at all."""
        ended = alert["end_time"] and instant(alert["end_time"]) < instant(alert["start_time"])
        known = self.assets.get(alert["equipment_id"]) == alert["equipment_name"]
        return known and alert["rule_id"] in self.mapping and not ended

    def code(self, alert: Row) -> str:
        codes, start = self.mapping[alert["rule_id"]], instant(alert["start_time"])
        if len(codes) == 1:
            self.decided_by["mapping"] += 1
            return codes[0]
        for basis, whose in (("asset", {alert["equipment_id"]}), ("fleet", {asset for asset, _, _ in self.past})):
            named = [sum(a in whose and c == code and at < start for a, c, at in self.past) for code in codes]
            if max(named) > 0:
                self.decided_by[basis] += 1
                return codes[named.index(max(named))]
        self.decided_by["none"] += 1
        return codes[0]

    def expect(self, alerts: Iterable[Row]) -> dict[Key, Expected]:
        """By asset, rule and start: the code, and whether the alert joins an order that is open."""
        expected: dict[Key, Expected] = {}
        opened: dict[tuple[str, str], datetime] = {}
        for alert in sorted(alerts, key=lambda alert: (key_of(alert)[2], alert["equipment_id"], alert["rule_id"])):
            asset, _, start = key = key_of(alert)
            if not self.sound(alert):
                expected[key] = Expected(asset, start, None)
                continue
            code = self.code(alert)
            first = opened.get((asset, code))
            joins = first is not None and start - first <= timedelta(hours=24)
            expected[key] = Expected(asset, start, code, first if joins else None)
            if not joins:
                opened[asset, code] = start
        return expected
