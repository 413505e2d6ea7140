"""Deadlines by the plane's clock: due approvals expire, before and after a restart, in the order of their times."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import Decision, Workflow, errors
from interlock.testing import ManualClock
from tests.graphs.office import START_TIME, State, office, only_item


def gated(hours: int, name: str = "gated") -> Workflow:
    wf = Workflow(name, State)
    gate = wf.approval("gate", authority="purchasing", sla=timedelta(hours=hours))

    @wf.task(skill="noting")
    async def note(state: Any, call: Any) -> dict[str, Any]:
        return {"note": "approved"}

    return wf.flow(START, gate, note, END)


async def asked(plane: Any, workflow: str = "gated") -> tuple[str, str]:
    case = await plane.start(workflow, {}, requester="person:ana")
    await plane.wait(case.id, timeout=30)
    return case.id, (await only_item(plane, case.id)).id


async def test_many_deadlines_in_one_advance() -> None:
    clock = ManualClock(START_TIME)
    async with office(gated(1, "one"), gated(2, "two"), gated(3, "three"), clock=clock) as plane:
        items = [(await asked(plane, name))[1] for name in ("three", "one", "two", "one")]
        await clock.advance(timedelta(hours=2))
        status = [(await plane.inbox.get(item)).status for item in items]
        assert status == ["open", "expired", "expired", "expired"]
        await clock.advance(timedelta(hours=1))
        assert (await plane.inbox.get(items[0])).status == "expired"
        expired = [e async for e in plane.ledger.export() if e["type"] == "inbox.expired"]
        assert [e["at"][11:13] for e in expired] == ["09", "09", "10", "11"]


async def test_an_answer_in_time_stops_the_clock() -> None:
    clock = ManualClock(START_TIME)
    async with office(gated(1), clock=clock) as plane:
        case_id, item = await asked(plane)
        await plane.approvals.decide(item, Decision.approve(), by="person:bo")
        assert (await plane.wait(case_id, until="ended", timeout=30)).values["note"] == "approved"
        await clock.advance(timedelta(hours=5))
        assert (await plane.inbox.get(item)).status == "decided"


async def test_an_answer_too_late_is_refused_even_before_the_timer_has_run() -> None:
    clock = ManualClock(START_TIME)
    async with office(gated(1), clock=clock) as plane:
        _, item = await asked(plane)
        clock._now += timedelta(hours=1)  # time has passed, and no timer has run yet
        with pytest.raises(errors.Expired):
            await plane.approvals.decide(item, Decision.approve(), by="person:bo")


async def test_deadlines_survive_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    clock = ManualClock(START_TIME)
    async with office(gated(1), url=url, clock=clock) as plane:
        case_id, item = await asked(plane)
    clock = ManualClock(START_TIME)
    async with office(gated(1), url=url, clock=clock) as plane:
        await plane.ready()
        await clock.advance(timedelta(minutes=59))
        assert (await plane.inbox.get(item)).open
        await clock.advance(timedelta(minutes=1))
        case = await plane.wait(case_id, until="ended", timeout=30)
        assert (case.status, case.values.get("note")) == ("completed", None)


async def test_a_deadline_that_passed_while_nobody_ran(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(gated(1), url=url, clock=ManualClock(START_TIME)) as plane:
        case_id, item = await asked(plane)
    async with office(gated(1), url=url, clock=ManualClock(START_TIME + timedelta(days=1))) as plane:
        case = await plane.wait(case_id, until="ended", timeout=30)
        assert (case.status, (await plane.inbox.get(item)).status) == ("completed", "expired")


async def test_expiry_and_answer_at_the_same_instant_is_one_of_both() -> None:
    clock = ManualClock(START_TIME)
    async with office(gated(1), clock=clock) as plane:
        case_id, item = await asked(plane)
        await clock.advance(timedelta(minutes=59, seconds=59))
        results = await asyncio.gather(
            clock.advance(timedelta(seconds=1)),
            plane.approvals.decide(item, Decision.approve(), by="person:bo"),
            return_exceptions=True,
        )
        case = await plane.wait(case_id, until="ended", timeout=30)
        refused = isinstance(results[1], errors.Expired)
        assert (case.values.get("note") == "approved") is not refused


async def test_a_real_clock_wakes_the_timer() -> None:
    wf = Workflow("quick", State)
    gate = wf.approval("gate", authority="purchasing", sla=timedelta(milliseconds=30))
    async with office(wf.flow(START, gate, END)) as plane:
        case = await plane.start("quick", {}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.status == "completed"


async def test_the_manual_clock_never_runs_backwards() -> None:
    clock = ManualClock(START_TIME)
    with pytest.raises(ValueError, match="before"):
        await clock.set(START_TIME - timedelta(seconds=1))
    await clock.sleep_until(START_TIME)
    sleeper = asyncio.create_task(clock.sleep_until(START_TIME + timedelta(hours=1)))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    await clock.advance(timedelta(hours=2))
    assert clock.now() == START_TIME + timedelta(hours=2)
