"""The sample plant's alerts, run as `interlock run` does: against the oracle, the CMMS, and themselves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock.examples.enterprise.reference import SAMPLE
from interlock.oversight.items import Item
from tests.graphs.workflows.oracle import Key, Oracle, rows
from tests.graphs.workflows.runs import Ran, agrees, orders_of, plant, run

pytestmark = pytest.mark.xdist_group("sample-run")  # one run for all of them

ALERTS = rows(SAMPLE / "alerts.csv")
EXPECTED = Oracle(SAMPLE).expect(ALERTS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def ran(home: Path) -> Ran:
    """One run, with the lines in another order than they happened."""

    async def once() -> Ran:
        async with plant(home) as plane:
            shuffled = random.Random(7).sample(ALERTS, len(ALERTS))
            return await run(plane, shuffled)

    return asyncio.run(once())


def test_the_figures_add_up(ran: Ran) -> None:
    figures = ran.figures
    assert figures["cases"] == len(ALERTS) == figures["completed"] + figures["waiting"] + figures["failed"]
    assert figures["waiting"] == figures["exceptions"] + figures["approvals_waiting"]
    assert figures["completed"] == figures["work_orders"] + figures["duplicates_merged"]
    assert figures["code_in_rule_mapping"] == figures["work_orders"]
    assert (figures["failed"], figures["rejected"], figures["ledger_verified"]) == (0, 0, True)


def test_every_case_has_the_code_and_the_request_that_the_oracle_computes(ran: Ran) -> None:
    diagnosed = {key: expected for key, expected in EXPECTED.items() if expected.code is not None}
    assert len(diagnosed) == 39
    assert [key for key, expected in diagnosed.items() if not agrees(ran, key, expected)] == []
    joined = [key for key, expected in diagnosed.items() if expected.merged_with]
    assert [ran.cases[key].values["outcome"] for key in joined] == ["duplicate"] * len(joined)
    assert ran.figures["duplicates_merged"] == len(joined)


def test_what_cannot_be_diagnosed_reaches_a_person_and_not_the_cmms(ran: Ran) -> None:
    unsound = {key for key, expected in EXPECTED.items() if expected.code is None}
    waiting = {
        key
        for key, case in ran.cases.items()
        for item in ran.items
        if item.case_id == case.id and item.task == "triage"
    }
    assert waiting == unsound
    assert ran.stats["alerts"] == len(ALERTS) - len(unsound)


def nobody_may(item: Item) -> bool:
    """Whether an exception is an approval that nobody could give."""
    return any(reason.policy == "approval.nobody" for reason in item.reasons)


def test_each_kind_of_exception_says_what_is_wrong(ran: Ran) -> None:
    exceptions = [item for item in ran.items if item.kind == "exception" and not nobody_may(item)]
    said = sorted(item.reasons[0].text.partition(" (")[0] for item in exceptions)
    assert said == [
        "asset FM1-PU02 is called 'Feed pump 2', not 'Feed pump 1'",
        "it ends before it starts",
        "no job is described for SV101",
        "no technician for FM2-DR01: electrical needed at 2026-03-07T22:00:00.000000Z",
        "rule 'FR10' maps to no failure code",
        "unknown asset 'FM9-XX01'",
        "unknown rule 'FR77'",
    ]
    assert all(item.evidence["found"] for item in exceptions)


def test_approvals_wait_for_those_whose_limit_suffices(ran: Ran) -> None:
    asked = {
        (item.action["args"]["code"], item.action["money"]["amount"]): (dict(item.need), tuple(item.eligible))
        for item in ran.items
        if item.kind == "approval"
    }
    one, two = {"maintenance": 1}, {"maintenance": 1, "plant": 1}
    small = ("person:shift-lead", "person:maintenance-manager")
    assert asked == {
        ("C101", 150375): (one, small),
        ("E101", 390750): (one, small),
        ("M104", 308084): (one, small),
        ("M106", 1394375): (two, ("person:maintenance-manager",)),
    }
    (dear,) = filter(nobody_may, ran.items)
    assert (dear.kind, dear.action["args"]["code"], dear.action["money"]["amount"]) == ("exception", "M107", 2840000)


def on_shift(hour: int, start: int, end: int) -> bool:
    return hour in [(start + offset) % 24 for offset in range((end - start) % 24 or 24)]


SKILL = {"CS": "controls", "E": "electrical", "L": "piping", "M": "mechanical", "C": "mechanical", "OP": "operations"}


def test_every_order_has_a_slot_after_its_alert_and_a_technician_who_can_do_it(ran: Ran) -> None:
    technicians = {row["technician_id"]: row for row in rows(SAMPLE / "technicians.csv")}
    sites = {row["equipment_id"]: row["site"] for row in rows(SAMPLE / "assets.csv")}
    released = [order for order in ran.orders.values() if order["status"] == "released"]
    assert len(released) == ran.figures["work_orders"]
    for order in released:
        technician, start = technicians[order["technician"]], datetime.fromisoformat(order["starts"])
        assert technician["site"] == sites[order["asset"]]
        assert SKILL[order["code"].rstrip("0123456789")] in technician["skills"].split(";")
        assert on_shift(start.hour, int(technician["shift_start"]), int(technician["shift_end"]))
        assert order["asset"] in (technician["assets"] or order["asset"])
        reported = datetime.strptime(order["request"][-12:], "%Y%m%d%H%M").replace(tzinfo=start.tzinfo)
        assert timedelta(0) < start - reported <= timedelta(hours=8 if order["priority"] == 1 else 24)


def test_no_case_waits_for_the_repair_and_none_is_in_the_cmms_twice(ran: Ran) -> None:
    """Of an order that waits for a person nothing is written; of one without a technician the slot stands."""
    assert Counter(order["status"] for order in ran.orders.values()) == {"released": 21, "scheduled": 1}
    assert ran.stats["refused_doubles"] == 0
    results = [case.values for case in ran.cases.values() if case.values and case.values["outcome"] == "work_order"]
    assert sorted(result["work_order"] for result in results) == sorted(
        order["id"] for order in ran.orders.values() if order["status"] == "released"
    )


def test_evidence_cites_work_orders_finished_before_the_alert(ran: Ran) -> None:
    finished = {row["wo_id"]: row for row in rows(SAMPLE / "all_wo_with_code_component_events.csv")}
    cited = 0
    for (asset, _, start), case in ran.cases.items():
        values = case.values or {}
        for work_order in [name for name in finished if any(name in line for line in values.get("evidence", []))]:
            past, cited = finished[work_order], cited + 1
            assert datetime.fromisoformat(past["actual_finish"]).replace(tzinfo=start.tzinfo) < start
            assert past["primary_code"] == values["code"]
            assert (past["equipment_id"] == asset) is (values["basis"] == "asset")
    assert cited > 10


def changes(before: Ran, after: Ran) -> dict[Key, Any]:
    return {key: (was, after.outcomes[key]) for key, was in before.outcomes.items() if was != after.outcomes[key]}


async def test_a_second_run_finds_the_cases_and_changes_nothing(ran: Ran, home: Path) -> None:
    async with plant(home) as plane:
        again = await run(plane, ALERTS)
    assert (again.counts, changes(ran, again)) == (ran.counts, {})
    assert (again.orders, again.stats) == (ran.orders, ran.stats)


@pytest.mark.parametrize(("concurrency", "seed"), [(1, 1), (32, 2)])
async def test_neither_concurrency_nor_the_order_of_lines_matters(
    ran: Ran, tmp_path: Path, concurrency: int, seed: int
) -> None:
    async with plant(tmp_path, concurrency=concurrency) as plane:
        other = await run(plane, random.Random(seed).sample(ALERTS, len(ALERTS)))
    assert (other.counts, changes(ran, other)) == (ran.counts, {})
    assert other.orders == ran.orders


async def test_downtime_is_measured_per_alert(ran: Ran, home: Path) -> None:
    async with plant(home) as plane:
        metrics = await plane.metrics.summary("maintenance")
    ended = [key for key, case in ran.cases.items() if case.status == "completed"]
    minutes = {row["equipment_id"] + row["rule_id"] + row["start_time"]: row for row in ALERTS}
    assert len(minutes) == len(ALERTS)
    spans = [
        (datetime.fromisoformat(row["end_time"]) - datetime.fromisoformat(row["start_time"])).total_seconds()
        for row in ALERTS
        if any(
            row["equipment_id"] == a and row["rule_id"] == r and row["start_time"] == f"{s:%Y-%m-%d %H:%M}"
            for a, r, s in ended
        )
    ]
    assert metrics.measures["asset_downtime_s"]["mean"] == pytest.approx(sum(spans) / len(spans))


async def test_every_effect_is_one_intent_and_one_outcome(ran: Ran, home: Path) -> None:
    async with plant(home) as plane:
        events = [event async for event in plane.ledger.export()]
    outcomes = Counter(event["data"]["effect_key"] for event in events if event["type"] == "tool.outcome")
    intents = Counter(event["data"]["effect_key"] for event in events if event["type"] == "tool.intent")
    assert set(outcomes.values()) == set(intents.values()) == {1}
    assert set(intents) <= set(outcomes)
    created = [e for e in events if e["type"] == "tool.outcome" and e["data"]["tool"] == "cmms.create_work_order"]
    assert sum(event["data"]["money"]["amount"] for event in created) == sum(
        order["cost"] for order in ran.orders.values()
    )
    assert orders_of(home)[1]["work_orders"] == len(created)
