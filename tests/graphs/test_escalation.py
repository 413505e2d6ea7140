"""Deadlines of people: gates, calls and tasks pass from one to the next, in business time, once, and over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from pydantic import BaseModel

from interlock import Agent, ControlPlane, Decision, Money, Person, Workflow, errors
from interlock.clock import iso
from interlock.oversight.calendars import Calendar
from interlock.testing import ManualClock
from tests.graphs.office import START_TIME, Erp, State, events, office, only_item

HOUR = timedelta(hours=1)
BOSSES = [
    Person("meg", roles={"manager"}, authorities={"purchasing": Money.of("50000", "EUR")}),
    Person("fred", roles={"cfo"}, authorities={"purchasing": Money.of("9000000", "EUR")}),
    Person("max", roles={"manager"}),
]


class Note(BaseModel):
    note: str


def gated(**options: Any) -> Workflow:
    wf = Workflow("gated", State)
    given: dict[str, Any] = {
        "authority": "purchasing",
        "sla": 4 * HOUR,
        "escalate": ["manager", "cfo"],
        "on_reject": END,
    } | options
    gate = wf.approval("gate", amount=lambda s: 70_000, **given)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": state["total"]})}

    return wf.flow(START, gate, order, END)


def buying(**options: Any) -> Workflow:
    wf = Workflow("buying", State, owner="finance", **options)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": state["total"]})}

    return wf.flow(START, order, END)


def checked(**options: Any) -> Workflow:
    wf = Workflow("checked", State)
    wf.task("check", skill="checking", output=Note, sla=4 * HOUR, **options)
    return wf.flow(START, "check", END)


@asynccontextmanager
async def bosses(*workflows: Any, **options: Any) -> AsyncIterator[ControlPlane]:
    async with office(*workflows, **options) as plane:
        for person in BOSSES:
            plane.register_actor(person)
        yield plane


async def waiting(plane: ControlPlane, workflow: str, total: int = 1) -> Any:
    case = await plane.start(workflow, {"total": total}, requester="person:ana")
    await plane.wait(case.id, timeout=30)
    return await only_item(plane, case.id)


async def passed(plane: ControlPlane) -> list[tuple[str, int]]:
    return [(e["data"]["to"], e["data"]["stage"]) for e in await events(plane, None, "inbox.escalated")]


async def _until(plane: ControlPlane, deadlines: int) -> None:
    """Until so many deadlines have been kept: those of the past are kept in the background of a start."""
    async with asyncio.timeout(60):
        kinds, due = ("inbox.escalated", "inbox.expired"), min(deadlines, 3)
        while len(await events(plane, None, *kinds)) < due:  # noqa: ASYNC110  # the ledger has no event for it
            await asyncio.sleep(0.01)


async def test_a_question_passes_from_one_to_the_next_and_expires_after_the_last() -> None:
    clock = ManualClock(START_TIME)
    async with bosses(gated(), clock=clock) as plane:
        item = await waiting(plane, "gated")
        assert sorted(item.eligible) == ["person:bo", "person:cy"]
        assert item.due == iso(START_TIME + 4 * HOUR)
        assert (await plane.inbox.list(role="manager")).items == []
        await clock.advance(4 * HOUR)
        item = await plane.inbox.get(item.id)
        assert item.open
        assert item.eligible == ["person:bo", "person:cy", "role:manager"]
        assert item.due == iso(START_TIME + 8 * HOUR)
        assert [one.id for one in (await plane.inbox.list(role="manager")).items] == [item.id]
        await clock.advance(4 * HOUR)
        assert (await plane.inbox.get(item.id)).eligible[-1] == "role:cfo"
        assert await passed(plane) == [("role:manager", 1), ("role:cfo", 2)]
        await clock.advance(4 * HOUR)
        item = await plane.inbox.get(item.id)
        assert item.status == "expired"
        assert (await plane.wait(item.case_id, until="ended", timeout=30)).status == "completed"
        assert await passed(plane) == [("role:manager", 1), ("role:cfo", 2)]
        with pytest.raises(errors.Expired):
            await plane.approvals.decide(item.id, Decision.approve(), by="person:fred")


@pytest.mark.parametrize("by", ["person:bo", "person:meg", "person:fred"])
async def test_whoever_is_or_was_asked_may_answer_and_an_escalation_gives_nobody_the_authority(by: str) -> None:
    clock = ManualClock(START_TIME)
    async with bosses(gated(), clock=clock) as plane:
        item = await waiting(plane, "gated")
        await clock.advance(5 * HOUR)
        for nobody in ("person:max", "person:ana", "person:op", "agent:gated.order"):
            with pytest.raises(errors.NotAuthorized):
                await plane.approvals.decide(item.id, Decision.approve(), by=nobody)
        await plane.approvals.decide(item.id, Decision.approve(), by=by)
        case = await plane.wait(item.case_id, until="ended", timeout=30)
        assert (case.status, case.values["po"]) == ("completed", "PO-1")
        await clock.advance(timedelta(days=9))
        assert await passed(plane) == [("role:manager", 1)]


async def test_an_escalation_ends_the_claim_of_whoever_let_it_come_to_that() -> None:
    clock = ManualClock(START_TIME)
    async with bosses(gated(), clock=clock) as plane:
        item = await waiting(plane, "gated")
        await plane.approvals.claim(item.id, by="person:bo")
        with pytest.raises(errors.Conflict, match="person:bo"):
            await plane.approvals.decide(item.id, Decision.approve(), by="person:meg")
        await clock.advance(4 * HOUR)
        assert (await plane.approvals.claim(item.id, by="person:meg")).claimed_by == "person:meg"


async def test_each_link_may_have_its_own_time_and_those_without_anybody_are_left_out() -> None:
    clock = ManualClock(START_TIME)
    chain = [("manager", HOUR), "board", ("person:fred", 2 * HOUR)]
    async with bosses(gated(escalate=chain), clock=clock) as plane:
        item = await waiting(plane, "gated")
        assert [(step.to, step.due) for step in item.chain] == [
            ("role:manager", iso(START_TIME + 5 * HOUR)), ("person:fred", iso(START_TIME + 7 * HOUR)),
        ]  # fmt: skip
        assert [step["to"] for step in item.as_json()["chain"]] == ["role:manager", "person:fred"]


async def test_a_jump_over_several_deadlines_fires_each_in_its_order() -> None:
    clock = ManualClock(START_TIME)
    async with bosses(gated(), clock=clock) as plane:
        item = await waiting(plane, "gated")
        await clock.advance(timedelta(days=3))
        told = await events(plane, item.case_id, "inbox.escalated", "inbox.expired")
        assert [e["data"].get("to") for e in told] == ["role:manager", "role:cfo", None]
        assert (await plane.inbox.get(item.id)).status == "expired"


@pytest.mark.parametrize("hours", [4, 9, 30])
async def test_deadlines_that_pass_while_nothing_runs_are_kept_at_the_next_start(tmp_path: Path, hours: int) -> None:
    url = f"sqlite:///{tmp_path / 'home' / 'interlock.db'}"
    async with bosses(gated(), url=url, clock=ManualClock(START_TIME)) as plane:
        item = await waiting(plane, "gated")
    for _ in range(3):
        clock = ManualClock(START_TIME + hours * HOUR)
        async with bosses(gated(), url=url, clock=clock) as plane:
            await plane.ready()
            await _until(plane, hours // 4)
            assert await passed(plane) == [("role:manager", 1), ("role:cfo", 2)][: hours // 4]
            assert len(await events(plane, None, "inbox.expired")) == (hours > 12)
    async with bosses(gated(), url=url, clock=ManualClock(START_TIME + hours * HOUR)) as plane:
        await plane.ready()
        await plane.services.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]  # the clock of the test
        assert (await plane.inbox.get(item.id)).status == "expired"
        assert await passed(plane) == [("role:manager", 1), ("role:cfo", 2)]


async def test_a_crash_between_the_escalation_and_its_timer_escalates_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'home' / 'interlock.db'}"
    async with bosses(gated(), url=url, clock=ManualClock(START_TIME)) as plane:
        item = await waiting(plane, "gated")
    async with bosses(gated(), url=url, clock=ManualClock(START_TIME + 4 * HOUR)) as plane:
        await plane.services.inbox.expire(item.id)  # and the timer's row still says the first deadline
    clock = ManualClock(START_TIME + 4 * HOUR)
    async with bosses(gated(), url=url, clock=clock) as plane:
        await plane.ready()
        async with asyncio.timeout(60):
            while not clock._sleepers:  # noqa: ASYNC110  # the timer's row is mended in the background
                await asyncio.sleep(0.01)
        assert await passed(plane) == [("role:manager", 1)]
        await clock.advance(4 * HOUR)
        assert await passed(plane) == [("role:manager", 1), ("role:cfo", 2)]


async def test_two_timers_a_decision_and_a_cancellation_at_once() -> None:
    clock = ManualClock(START_TIME)
    async with bosses(gated(), clock=clock) as plane:
        for answer in ("decide", "cancel"):
            item = await waiting(plane, "gated")
            before = len(await passed(plane))
            ending = (
                plane.approvals.decide(item.id, Decision.approve(), by="person:cy")
                if answer == "decide"
                else plane.cancel(item.case_id, by="person:op")
            )
            inbox = plane.services.inbox
            await asyncio.gather(clock.advance(4 * HOUR), inbox.expire(item.id), inbox.expire(item.id), ending)
            assert len(await passed(plane)) - before <= 1
            case = await plane.wait(item.case_id, until="ended", timeout=30)
            assert case.status == ("completed" if answer == "decide" else "cancelled")
            await clock.advance(timedelta(days=2))
            assert (await plane.inbox.get(item.id)).status in ("decided", "cancelled")
            assert await events(plane, item.case_id, "inbox.expired") == []


async def test_calls_of_a_workflow_are_escalated_as_it_says() -> None:
    clock, erp = ManualClock(START_TIME), Erp()
    wf = buying(approval_sla=2 * HOUR, escalate=["manager", "cfo"])
    async with bosses(wf, clock=clock, erp=erp) as plane:
        item = await waiting(plane, "buying", 400_000)
        assert (item.action["tool"], item.due) == ("erp.create_po", iso(START_TIME + 2 * HOUR))
        await clock.advance(2 * HOUR)
        assert "role:manager" in (await plane.inbox.get(item.id)).eligible
        await plane.approvals.decide(item.id, Decision.approve(), by="person:meg")
        assert (await plane.wait(item.case_id, until="ended", timeout=30)).status == "completed"
        assert erp.orders == [("acme", 400_000)]
        late = await waiting(plane, "buying", 450_000)
        await clock.advance(7 * HOUR)
        assert (await plane.inbox.get(late.id)).status == "expired"
        case = await plane.wait(late.case_id, timeout=30)
        assert case.status == "waiting"  # the task ended in a refusal: a person decides what becomes of it
        assert [w.kind for w in case.waiting_for] == ["exception"]
        assert len(erp.orders) == 1


async def test_a_call_from_outside_in_such_a_case_has_the_same_deadlines() -> None:
    clock = ManualClock(START_TIME)
    wf = checked()
    wf.asking = buying(approval_sla=HOUR, escalate=["manager"]).asking
    async with bosses(wf, clock=clock) as plane:
        plane.register_actor(Agent("buyer", scopes={"po:write"}))
        task = await waiting(plane, "checked")
        asked = await plane.call_tool(
            "erp.create_po", {"supplier": "a", "total": 400_000}, actor="agent:buyer", case_id=task.case_id
        )
        assert asked.status == "asked" and asked.approval is not None
        await clock.advance(HOUR)
        assert await passed(plane) == [("role:manager", 1)]
        await clock.advance(HOUR)
        assert (await plane.inbox.get(asked.approval)).status == "expired"


async def test_a_task_passes_along_its_chain_and_stays_with_the_operator() -> None:
    clock = ManualClock(START_TIME)
    async with bosses(checked(escalate=["manager"]), clock=clock) as plane:
        item = await waiting(plane, "checked")
        assert (item.kind, item.eligible) == ("task", ["person:ana"])
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.complete(item.id, {"note": "x"}, by="person:max")
        await plane.inbox.claim(item.id, by="person:ana")
        await clock.advance(4 * HOUR)
        assert (await plane.inbox.get(item.id)).eligible == ["person:ana", "role:manager"]
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.complete(item.id, {"note": "x"}, by="person:op")
        await clock.advance(timedelta(days=30))
        assert await passed(plane) == [("role:manager", 1), ("role:operator", 2)]
        assert (await plane.inbox.get(item.id)).open
        await plane.inbox.complete(item.id, {"note": "done"}, by="person:op")
        case = await plane.wait(item.case_id, until="ended", timeout=30)
        assert (case.status, case.values["note"]) == ("completed", "done")


async def test_a_task_without_a_chain_is_only_late() -> None:
    clock = ManualClock(START_TIME)
    async with bosses(checked(), clock=clock) as plane:
        item = await waiting(plane, "checked")
        await clock.advance(timedelta(days=9))
        assert ((await plane.inbox.get(item.id)).open, await passed(plane)) == (True, [])


async def test_deadlines_count_working_hours_with_a_calendar() -> None:
    friday = datetime(2026, 3, 27, 15, tzinfo=UTC)  # 16:00 in Berlin; the clock changes on Sunday
    clock = ManualClock(friday)
    berlin = Calendar(tz="Europe/Berlin", hours=("08:00", "17:00"))
    async with bosses(gated(calendar=berlin), clock=clock) as plane:
        item = await waiting(plane, "gated")
        assert item.due == "2026-03-30T09:00:00.000000Z"  # one hour on Friday, three on Monday from 08:00
        assert [step.due for step in item.chain] == ["2026-03-30T13:00:00.000000Z", "2026-03-31T08:00:00.000000Z"]
        await clock.set(datetime(2026, 3, 30, 8, 59, tzinfo=UTC))
        assert await passed(plane) == []
        await clock.set(datetime(2026, 3, 30, 9, tzinfo=UTC))
        assert await passed(plane) == [("role:manager", 1)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"escalate": "cfo"}, {"escalate": ["agent:x"]}, {"escalate": [""]}, {"escalate": [5]},
        {"escalate": ["person:"]}, {"escalate": ["\uff2danager"]}, {"escalate": [("cfo", -HOUR)]},
        {"escalate": [("cfo", 4)]}, {"sla": 4},
        {"sla": timedelta(0)}, {"sla": -HOUR}, {"sla": None}, {"calendar": "berlin"}, {"quorum": 0}, {"quorum": True},
        {"quorum": "2"}, {"authority": ""}, {"authority": []}, {"authority": ["a", "a"]}, {"authority": ["a", 5]},
    ],
)  # fmt: skip
def test_what_makes_no_deadline_or_stage_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        gated(**wrong)
    assert caught.value.hint


def test_tasks_and_workflows_refuse_a_chain_without_a_deadline() -> None:
    with pytest.raises(errors.ConfigurationError, match="without a deadline"):
        buying(escalate=["manager"])
    with pytest.raises(errors.ConfigurationError, match="without a deadline"):
        Workflow("w", State).task("t", skill="x", escalate=["manager"])
