"""Merging, history, plan, order, slot, technician, close."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import errors
from interlock.agents.roster import ROLE, maintenance_team
from interlock.agents.roster.clerk import close_order, create_order
from interlock.agents.roster.dispatcher import ANY_OTHER, SKILLS, assign, choose, objection, on_shift
from interlock.agents.roster.history import look_back
from interlock.agents.roster.merging import merge
from interlock.agents.roster.planner import RATE, family, make_plan, plan
from interlock.agents.roster.scheduler import DAY_SHIFT, SHIFTS, next_slot, schedule
from tests.agents.roster.conftest import MakeCall

START = "2026-03-02T05:10:00.000000Z"
STATE: dict[str, Any] = {
    "event": "e", "asset": "X", "code": "M101", "code_name": "Bearing wear", "rule_name": "Shaking", "request": "MR-1",
    "start_time": START, "evidence": ["seen"], "description": "d", "priority": 1, "labour_minutes": 90, "cost": 14250,
    "currency": "USD", "work_order": "WO-1", "starts": "2026-03-02T06:00:00.000000Z", "technician": "T9",
}  # fmt: skip
JOB = {"code": "M101", "labour_minutes": 300, "parts": 90000, "currency": "USD"}


# -- merging


async def test_a_new_request_is_open_and_a_joined_one_is_a_duplicate(calling: MakeCall) -> None:
    answer = {"request": "MR-1", "joined": False, "first": START, "alert": "e"}
    call = calling(report=answer)
    new = await merge(STATE, call.as_call())
    assert (new.outcome, new.request, new.merged_into, new.evidence) == ("open", "MR-1", None, ["seen"])
    assert call.asked == [("cmms.report", {"event": "e", "asset": "X", "code": "M101", "start": START})]
    joined = await merge(STATE, calling(report={**answer, "joined": True}).as_call())
    assert (joined.outcome, joined.merged_into) == ("duplicate", "MR-1")
    assert joined.evidence == ["seen", f"joins MR-1, open since {START}"]
    assert STATE["evidence"] == ["seen"], "the state of a case is not changed in place"


# -- history


async def test_history_reads_the_past_of_the_asset_and_the_guide_of_the_code(calling: MakeCall) -> None:
    answer = {"finished": 7, "corrective": 2, "newest": ["W7", "W6"], "median_minutes": {"M101": 330}}
    call = calling(history=answer, guides=[SimpleNamespace(document_id="M101.md")])
    found = await look_back(STATE, call.as_call())
    assert (found.past_orders, found.past_corrective, found.recent_orders) == (7, 2, ["W7", "W6"])
    assert (found.typical_minutes, found.guides) == (330, ["M101.md"])
    assert all(args["before"] == START for tool, args in call.asked if tool == "cmms.history")
    assert call.asked[-1][1]["where"] == {"source": "failure-codes", "code": "M101"}


# -- plan


@pytest.mark.parametrize(
    ("code", "typical", "priority", "minutes", "cost"),
    [("M101", 330, 1, 330, 90000 + 52250), ("M101", None, 1, 300, 90000 + 47500), ("CS101", 61, 2, 61, 90000 + 9659),
     ("OP1", 1, 2, 1, 90000 + 159), ("E1", 60, 1, 60, 99500), ("L1", 60, 1, 60, 99500), ("C1", 60, 2, 60, 99500)],
)  # fmt: skip
def test_a_plan_is_parts_and_begun_minutes(
    code: str, typical: int | None, priority: int, minutes: int, cost: int
) -> None:
    made = plan({**STATE, "code": code, "typical_minutes": typical}, JOB)
    assert (made.priority, made.labour_minutes, made.parts, made.cost) == (priority, minutes, 90000, cost)


@given(st.integers(1, 10**6), st.integers(0, 10**9), st.sampled_from(sorted(RATE)))
def test_labour_is_rounded_up_to_the_minor_unit_and_never_below(minutes: int, parts: int, currency: str) -> None:
    made = plan({**STATE, "typical_minutes": minutes}, {**JOB, "parts": parts, "currency": currency})
    labour = (made.cost - parts) * 60 - RATE[currency].amount * minutes
    assert (made.currency, 0 <= labour < 60) == (currency, True)


@pytest.mark.parametrize(("code", "letters"), [("CS005", "CS"), ("M1", "M"), ("MT010b", "MT"), ("7", ""), ("", "")])
def test_the_family_is_in_the_letters_of_a_code(code: str, letters: str) -> None:
    assert family(code) == letters


@pytest.mark.parametrize(("job", "said"), [(None, "no job is described for M101"), ({**JOB, "currency": "JPY"}, "JPY")])
async def test_what_cannot_be_priced_goes_to_a_person(calling: MakeCall, job: Any, said: str) -> None:
    with pytest.raises(errors.AgentFailed, match=said) as failed:
        await make_plan(STATE, calling(job=job).as_call())
    assert failed.value.found == {"job": job}


async def test_the_price_is_that_of_the_cmms(calling: MakeCall) -> None:
    assert (await make_plan(STATE, calling(job=JOB).as_call())).cost == 90000 + 47500


# -- order


async def test_an_approver_may_change_what_is_ordered(calling: MakeCall) -> None:
    made = {**STATE, "id": "WO-1", "priority": 2, "labour_minutes": 30, "cost": 4750}
    found = await create_order(STATE, calling(create_work_order=made).as_call())
    assert (found.outcome, found.work_order) == ("open", "WO-1")
    assert (found.priority, found.labour_minutes, found.cost) == (2, 30, 4750)


async def test_a_no_ends_the_order_and_is_evidence(calling: MakeCall) -> None:
    no = errors.Rejected("no", by="person:bo", why="wait for the overhaul")
    found = await create_order(STATE, calling(create_work_order=no).as_call())
    assert (found.outcome, found.work_order, found.cost) == ("rejected", None, STATE["cost"])
    assert found.evidence[-1] == "person:bo refused it: wait for the overhaul"


@pytest.mark.parametrize("words", ["later", None, ["WO-1"]])
async def test_words_in_place_of_an_order_go_to_a_person(calling: MakeCall, words: Any) -> None:
    with pytest.raises(errors.AgentFailed, match="the approver answered"):
        await create_order(STATE, calling(create_work_order=words).as_call())


@pytest.mark.parametrize("error", [errors.Denied("no"), errors.UnknownOutcome("?"), errors.ToolFailed("broken")])
async def test_everything_but_a_no_is_for_a_person_to_see(calling: MakeCall, error: errors.InterlockError) -> None:
    with pytest.raises(type(error)):
        await create_order(STATE, calling(create_work_order=error).as_call())


@pytest.mark.parametrize(("assigned", "tools"), [(True, ["cmms.close"]), (False, ["cmms.assign", "cmms.close"])])
async def test_close_assigns_whom_a_person_named(calling: MakeCall, assigned: bool, tools: list[str]) -> None:
    call = calling(assign={}, close={})
    assert (await close_order({**STATE, "assigned": assigned}, call.as_call())).outcome == "work_order"
    assert call.tools == tools


# -- slot


@given(
    st.integers(0, 10**9).map(lambda seconds: datetime(2010, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
    st.integers(1, 5),
    st.integers(1, 9999),
)
def test_a_slot_is_the_next_shift_of_its_priority(after: datetime, priority: int, minutes: int) -> None:
    start, end = next_slot(after, priority, minutes)
    assert end - start == timedelta(minutes=minutes)
    assert start.hour in (SHIFTS if priority == 1 else (DAY_SHIFT,))
    assert (start.minute, start.second, start.microsecond) == (0, 0, 0)
    wait = start - after
    assert timedelta(0) < wait <= timedelta(hours=8 if priority == 1 else 24)


async def test_the_slot_counts_from_the_event(calling: MakeCall) -> None:
    call = calling(schedule={})
    slot = await schedule(STATE, call.as_call())
    assert (slot.starts, slot.ends) == ("2026-03-02T06:00:00.000000Z", "2026-03-02T07:30:00.000000Z")
    assert call.asked == [("cmms.schedule", {"work_order": "WO-1", **slot.model_dump()})]


# -- technician


def worker(name: str, load: int = 0, skills: str = "mechanical", start: int = 6, end: int = 14) -> dict[str, Any]:
    return {"id": name, "skills": [skills], "shift_start": start, "shift_end": end, "load": load}


@pytest.mark.parametrize(
    ("hour", "start", "end", "on"),
    [(6, 6, 14, True), (13, 6, 14, True), (14, 6, 14, False), (5, 6, 14, False), (22, 22, 6, True), (3, 22, 6, True),
     (6, 22, 6, False), (21, 22, 6, False), (9, 7, 7, True), (0, 0, 24, True)],
)  # fmt: skip
def test_a_shift_holds_its_beginning_and_not_its_end(hour: int, start: int, end: int, on: bool) -> None:
    assert on_shift(hour, start, end) is on


@given(st.integers(0, 23), st.integers(0, 23), st.integers(0, 23))
def test_two_shifts_that_meet_hold_each_hour_once(hour: int, first: int, second: int) -> None:
    if first != second:
        assert on_shift(hour, first, second) != on_shift(hour, second, first)


def test_the_least_loaded_of_those_who_can_is_chosen() -> None:
    people = [worker("A", 2), worker("B", 1), worker("C", 0, skills="controls"), worker("D", 0, start=14, end=22)]
    chosen, against = choose(people, "mechanical", 6)
    assert chosen is people[1]
    assert against == ["C lacks the skill mechanical", "D is not on shift at 6:00"]
    assert choose(people, "piping", 6)[0] is None
    assert choose([], "piping", 6) == (None, [])


@given(st.permutations([worker(name) for name in "ABCDE"]), st.text())
def test_between_equals_the_lot_falls_the_same_way_whatever_their_order(
    people: list[dict[str, Any]], draw: str
) -> None:
    assert choose(people, "mechanical", 6, draw)[0] == choose(people[::-1], "mechanical", 6, draw)[0]


def test_the_lot_spreads_the_work() -> None:
    people = [worker(name) for name in "ABCD"]
    chosen = [choose(people, "mechanical", 6, f"WO-{number}")[0] for number in range(400)]
    shares = [chosen.count(one) for one in people]
    assert min(shares) > 60


@given(
    st.lists(
        st.builds(
            worker,
            st.uuids().map(str),
            st.integers(0, 3),
            st.sampled_from(["a", "b"]),
            st.integers(0, 23),
            st.integers(0, 24),
        )
    )
)
def test_nobody_is_chosen_against_whom_something_is_said(people: list[dict[str, Any]]) -> None:
    chosen, against = choose(people, "a", 6)
    able = [one for one in people if objection(one, "a", 6) is None]
    assert len(able) + len(against) == len(people)
    assert (chosen in able) if able else (chosen is None)
    assert chosen is None or chosen["load"] == min(one["load"] for one in able)


@pytest.mark.parametrize(
    ("code", "skill"),
    [("M1", "mechanical"), ("CS1", "controls"), ("E1", "electrical"), ("OP1", "operations"), ("?", "operations")],
)
async def test_the_family_of_the_code_says_which_skill(calling: MakeCall, code: str, skill: str) -> None:
    call = calling(technicians=[worker("A", skills=skill), worker("B", skills="none")], assign={})
    found = await assign({**STATE, "code": code}, call.as_call())
    assert (found.technician, found.assigned) == ("A", True)
    assert skill in found.chosen_because
    assert call.asked[-1] == ("cmms.assign", {"work_order": "WO-1", "technician": "A"})


async def test_when_nobody_can_a_person_sees_everyone_considered(calling: MakeCall) -> None:
    call = calling(technicians=[worker("A", skills="controls")])
    with pytest.raises(errors.AgentFailed, match="no technician for X: mechanical needed") as failed:
        await assign(STATE, call.as_call())
    assert failed.value.found["considered"] == ["A lacks the skill mechanical"]
    assert call.tools == ["cmms.technicians"], "nothing is assigned by guess"


# -- the team


def test_the_team_has_no_more_scopes_than_it_needs() -> None:
    team = {agent.name: agent for agent in maintenance_team()}
    assert all(agent.roles == {ROLE} and agent.owner == "maintenance" for agent in team.values())
    writers = {name for name, agent in team.items() if "cmms:write" in agent.scopes}
    assert writers == {"coordinator", "clerk", "scheduler", "dispatcher", "closer"}
    skills = [skill for agent in team.values() for skill in agent.skills]
    assert len(skills) == len(set(skills)) == len(team)
    assert ANY_OTHER not in SKILLS.values()
