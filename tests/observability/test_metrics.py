"""Metrics against figures worked out by hand, and against a second computation over random ledgers."""

from __future__ import annotations

import random
import statistics
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from interlock import errors
from interlock.clock import iso
from interlock.observability.figures import quantile
from interlock.observability.metrics import Metrics
from interlock.storage.chain import Event
from interlock.storage.database import Database

START = datetime(2026, 1, 30, 22, 0, tzinfo=UTC)
EUR = "EUR"


class Fixed:
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.time = START + timedelta(days=10)

    def now(self) -> datetime:
        return self.time

    async def sleep_until(self, t: datetime) -> None:
        self.time = max(self.time, t)


class Story:
    """Writes events into a real ledger, at minutes after START."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.events: list[Event] = []

    def tell(self, minute: float, type_: str, case: str | None, actor: str = "", **data: Any) -> None:
        at = iso(START + timedelta(minutes=minute))
        self.events.append(Event(type_, "default", case, actor, data, at))

    def at(self, minute: float) -> str:
        return iso(START + timedelta(minutes=minute))

    async def write(self) -> Metrics:
        told = sorted(self.events, key=lambda e: e.at)
        await self.db.commit(lambda tx: [tx.append(e) for e in told])
        return Metrics(self.db, Fixed())

    async def row(self, case: str, workflow: str, status: str) -> None:
        sql = (
            "INSERT INTO cases (tenant, case_id, seq, workflow, version, key, status, started_at)"
            " VALUES ('default', ?, ?, ?, '1', ?, ?, ?)"
        )
        await self.db.commit(lambda tx: tx.execute(sql, (case, len(case), workflow, case, status, iso(START))))


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    db = await Database.open(":memory:")
    yield Story(db)
    await db.close()


def one_case(s: Story) -> None:
    """Started at 0; agent 10 min; an approval opened at 20, claimed at 50, edited at 55; done at 60."""
    s.tell(0, "case.started", "a", workflow="buy")
    s.tell(10, "tool.outcome", "a", tool="erp.read", system="erp", status="done", seconds=60, money=None, task="check")
    s.tell(10, "task.finished", "a", task="check", visit=0, actor="agent:x", status="done", work_s=600)
    s.tell(
        20,
        "policy.decided",
        "a",
        effect_key="e1",
        digest="d1",
        item="i1",
        decision="asked",
        money=money(900),
        tool="po",
    )
    s.tell(20, "inbox.opened", "a", item="i1", kind="approval", task="order", digest="d1", money=money(900))
    s.tell(
        55, "inbox.decided", "a", item="i1", kind="approval", decision="edit", digest="d2", money=money(800),
        opened_at=s.at(20), claimed_at=s.at(50),
    )  # fmt: skip
    s.tell(57, "policy.decided", "a", effect_key="e1", digest="d2", decision="allowed", money=money(800), tool="po")
    s.tell(
        58, "tool.outcome", "a", tool="erp.po", system="erp", status="done", seconds=120, money=money(800), task="order"
    )
    s.tell(58, "task.finished", "a", task="order", visit=0, actor="agent:y", status="done", work_s=180)
    s.tell(
        58, "model.called", "a", agent="agent:y", task="order", cost={"amount": 1, "currency": "USD", "micros": 250_000}
    )
    s.tell(60, "case.completed", "a", cycle_s=3600, sla_met=True, measures={"asset_downtime_s": 100})


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": EUR}


async def test_a_case_worked_out_by_hand(story: Story) -> None:
    one_case(story)
    m = await (await story.write()).summary()
    assert m.cases == {"started": 1, "completed": 1, "failed": 0, "cancelled": 0, "waiting": 0}
    assert m.cycle_s == {"mean": 3600, "p50": 3600, "p90": 3600}
    assert m.work_s == 600 + 300 + 180  # check, claim to answer, order; the tools' time lies inside the tasks
    assert m.wait_s == 3600 - m.work_s
    assert m.money == {EUR: {"requested": 900, "approved": 800, "executed": 800, "rejected": 0}}
    assert m.approvals == {"requested": 1, "approved": 0, "edited": 1, "rejected": 0, "expired": 0}
    assert (m.automation_rate, m.first_pass_yield, m.exceptions, m.sla_met, m.handovers) == (0, 0, 0, 1, 1)
    assert m.throughput["per_hour"] == pytest.approx(1)
    assert m.measures["asset_downtime_s"] == {"count": 1, "sum": 100, "mean": 100, "p50": 100, "p90": 100}
    assert m.tools["erp.po"]["seconds"]["mean"] == 120


async def test_cost_is_exact_below_a_cent(story: Story) -> None:
    one_case(story)
    for n in range(3):
        story.tell(30 + n, "model.called", "a", agent="agent:y", task="order", cost={"amount": 2, "currency": "USD"})
    m = await (await story.write()).summary()
    assert m.cost["total"] == {"USD": 6.25}
    assert m.cost["by_agent"] == {"agent:y": {"USD": 6.25}}
    assert m.cost["by_task"] == {"order": {"USD": 6.25}}


async def test_a_straight_case_is_automated_and_right_first_time(story: Story) -> None:
    story.tell(0, "case.started", "b", workflow="buy")
    story.tell(5, "task.finished", "b", task="t", visit=0, actor="agent:x", status="done", work_s=60)
    story.tell(6, "case.completed", "b", cycle_s=360, sla_met=False, measures={})
    m = await (await story.write()).summary()
    assert (m.automation_rate, m.first_pass_yield, m.sla_met) == (1, 1, 0)


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("inbox.opened", {"item": "i", "kind": "exception"}),
        ("inbox.decided", {"item": "i", "kind": "approval", "decision": "reject"}),
        ("tool.outcome", {"tool": "t", "system": "s", "status": "failed", "seconds": 1}),
        ("task.finished", {"task": "t", "visit": 1, "actor": "agent:x", "status": "done", "work_s": 1}),
        ("task.finished", {"task": "u", "visit": 0, "actor": "agent:x", "status": "failed", "work_s": 1}),
    ],
)
async def test_rework_lowers_the_first_pass_yield(story: Story, type_: str, data: dict[str, Any]) -> None:
    story.tell(0, "case.started", "b", workflow="buy")
    story.tell(1, "task.finished", "b", task="t", visit=0, actor="agent:x", status="done", work_s=1)
    story.tell(2, type_, "b", **data)
    story.tell(6, "case.completed", "b", cycle_s=360, sla_met=None, measures={})
    m = await (await story.write()).summary()
    assert m.first_pass_yield == 0
    assert m.sla_met is None


async def test_a_rejection_after_an_approval_counts_once_as_rejected(story: Story) -> None:
    one_case(story)
    for minute, decision in ((30, "approve"), (40, "reject")):
        story.tell(
            minute, "inbox.decided", "a", item="two", kind="approval", decision=decision, digest="d9", money=money(50)
        )
    m = await (await story.write()).summary()
    assert m.money[EUR]["rejected"] == 50
    assert m.money[EUR]["approved"] == 800
    assert (m.approvals["approved"], m.approvals["rejected"]) == (0, 1)


async def test_parallel_work_counts_once(story: Story) -> None:
    story.tell(0, "case.started", "b", workflow="buy")
    for minute in (10, 12):
        story.tell(minute, "task.finished", "b", task=f"t{minute}", visit=0, actor="agent:x", status="done", work_s=600)
    story.tell(20, "case.completed", "b", cycle_s=1200, sla_met=None, measures={})
    m = await (await story.write()).summary()
    assert m.work_s == 720


async def test_uptime_comes_from_failed_calls_and_open_breakers(story: Story) -> None:
    story.tell(0, "case.started", "b", workflow="buy")
    for minute, status in ((1, "done"), (2, "failed"), (3, "done"), (4, "unknown")):
        story.tell(minute, "tool.outcome", "b", tool="t", system="cmms", status=status, seconds=1)
    story.tell(10, "system.opened", None, system="cmms", why="5 failures")
    story.tell(20, "system.closed", None, system="cmms", why="probe")
    story.tell(25, "system.opened", None, system="erp", why="5 failures")
    metrics = await story.write()
    m = await metrics.summary(since=story.at(0), until=story.at(40))
    assert m.systems["cmms"] == {"calls": 4, "failed": 2, "open_s": 600, "uptime": pytest.approx(0.5 * 0.75)}
    assert m.systems["erp"] == {"calls": 0, "failed": 0, "open_s": 900, "uptime": pytest.approx(1 - 15 / 40)}


async def test_a_case_counts_where_it_ends_in_the_time_zone_asked_for(story: Story) -> None:
    one_case(story)  # ends 23:00 UTC on 30 January, 00:00 on the 31st in Berlin
    story.tell(1530, "case.started", "c", workflow="buy")  # 23:30 on 31 January, half past midnight of 1 February
    story.tell(1540, "case.failed", "c", code="x", message="x", cycle_s=600)
    metrics = await story.write()
    utc = await metrics.summary(by="day")
    berlin = await metrics.summary(by="month", tz="Europe/Berlin")
    assert [(p.period, p.cases["completed"], p.cases["failed"]) for p in utc.periods] == [
        ("2026-01-30", 1, 0),
        ("2026-01-31", 0, 1),
    ]
    assert [(p.period, p.cases["completed"], p.cases["failed"]) for p in berlin.periods] == [
        ("2026-01", 1, 0),
        ("2026-02", 0, 1),
    ]
    assert berlin.throughput["per_month"] == {"2026-01": 1}
    assert [p.period for p in (await metrics.summary(by="week")).periods] == ["2026-W05"]


async def test_bounds_and_workflow_narrow_what_is_counted(story: Story) -> None:
    one_case(story)
    story.tell(5, "case.started", "o", workflow="other")
    story.tell(65, "case.completed", "o", cycle_s=1, sla_met=None, measures={})
    metrics = await story.write()
    assert (await metrics.summary(workflow="other")).cases["completed"] == 1
    early = await metrics.summary(until=story.at(60))
    assert early.cases["completed"] == 0
    assert early.money == {}  # its money belongs to the period in which the case ends
    assert (await metrics.summary(since=START + timedelta(minutes=61))).cases["completed"] == 1


async def test_waiting_cases_are_counted_now_and_then(story: Story) -> None:
    one_case(story)
    story.tell(70, "case.started", "w", workflow="buy")
    story.tell(71, "inbox.opened", "w", item="iw", kind="approval", digest="dw", money=money(5))
    metrics = await story.write()
    await story.row("w", "buy", "waiting")
    now = await metrics.summary()
    assert now.cases["waiting"] == 1
    assert now.approvals["requested"] == 2
    assert (await metrics.summary(workflow="other")).cases["waiting"] == 0
    assert (await metrics.summary(until=story.at(30))).cases["waiting"] == 1
    assert (await metrics.summary(until=story.at(60))).cases["waiting"] == 0


async def test_an_empty_ledger_has_figures_too(story: Story) -> None:
    m = await (await story.write()).summary(by="day")
    assert m.cases["started"] == 0
    assert m.cycle_s["p90"] is None
    assert (m.automation_rate, m.throughput["per_hour"], m.periods) == (None, None, [])


async def test_an_erased_payload_does_not_stop_the_count(story: Story) -> None:
    one_case(story)
    metrics = await story.write()
    await story.db.commit(lambda tx: tx.execute("UPDATE payloads SET data = NULL"))
    m = await metrics.summary()
    assert m.cases["completed"] == 1


@pytest.mark.parametrize(
    "bad", [{"by": "hour"}, {"tz": "Mars/Olympus"}, {"since": "yesterday"}, {"tz": "../etc"}, {"tz": 5}, {"until": 5}]
)
async def test_bad_questions_are_input_errors(story: Story, bad: dict[str, Any]) -> None:
    metrics = await story.write()
    with pytest.raises(errors.InputError):
        await metrics.summary(**bad)


async def test_other_tenants_stay_outside(story: Story) -> None:
    one_case(story)
    m = await (await story.write()).summary(tenant="other")
    assert m.cases["completed"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_those_of_numpy(seed: int) -> None:
    values = random.Random(seed).choices(range(1000), k=37)
    for q in (0, 0.1, 0.5, 0.9, 0.99, 1):
        assert quantile(values, q) == pytest.approx(float(np.quantile(values, q)))


@pytest.mark.parametrize("seed", range(3))
async def test_random_ledgers_against_a_second_computation(story: Story, seed: int) -> None:
    rng = random.Random(seed)
    truth = [random_case(story, rng, n) for n in range(60)]
    m = await (await story.write()).summary()
    done = [t for t in truth if t["outcome"] == "completed"]
    assert m.cases["completed"] == len(done)
    assert m.cases["failed"] == sum(t["outcome"] == "failed" for t in truth)
    assert m.cases["started"] == len(truth)
    assert m.cycle_s["mean"] == pytest.approx(statistics.fmean(t["cycle"] for t in done))
    assert m.cycle_s["p90"] == pytest.approx(float(np.quantile([t["cycle"] for t in done], 0.9)))
    assert m.work_s == pytest.approx(statistics.fmean(t["work"] for t in done))
    assert m.money.get(EUR, {"executed": 0})["executed"] == sum(t["spent"] for t in truth)
    assert m.automation_rate == pytest.approx(sum(not t["person"] for t in done) / len(done))
    assert m.exceptions == sum(t["exception"] for t in truth)


def random_case(s: Story, rng: random.Random, n: int) -> dict[str, Any]:
    case, minute = f"c{n}", float(rng.randrange(1000))
    begin, work, spent, person = minute, 0.0, 0, False
    s.tell(minute, "case.started", case, workflow="buy")
    for task in range(rng.randrange(1, 5)):
        minute += rng.randrange(0, 10)
        took = float(rng.randrange(1, 5))
        minute, work = minute + took, work + took * 60
        amount = rng.randrange(0, 500)
        spent += amount
        s.tell(
            minute, "tool.outcome", case, tool="t", system="s", status="done", seconds=took * 30, money=money(amount)
        )
        s.tell(
            minute, "task.finished", case, task=f"t{task}", visit=0, actor="agent:x", status="done", work_s=took * 60
        )
    exception = rng.random() < 0.3
    if exception:
        person = True
        s.tell(minute, "inbox.opened", case, item=f"i{n}", kind="exception")
        claimed, minute = minute + 2, minute + 5
        s.tell(
            minute, "inbox.decided", case, item=f"i{n}", kind="exception", decision="respond", claimed_at=s.at(claimed)
        )
        work += 180
    outcome = rng.choice(["completed", "completed", "failed"])
    s.tell(minute, f"case.{outcome}", case, cycle_s=(minute - begin) * 60, sla_met=None, measures={})
    return {
        "outcome": outcome, "cycle": (minute - begin) * 60, "work": work, "spent": spent, "person": person,
        "exception": exception,
    }  # fmt: skip
