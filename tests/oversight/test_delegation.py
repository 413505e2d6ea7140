"""Delegated authority: for some time, never more than the giver's, never passed on, and never around an exclusion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from interlock import errors
from interlock.clock import iso
from interlock.money import Money
from interlock.oversight.actors import Actors, Person
from interlock.oversight.delegation import Delegation, Delegations
from interlock.oversight.inbox import Decision
from interlock.oversight.items import Item
from tests.oversight.department import START, ask, bound, events
from tests.oversight.desk import RULES, Desk

YES = Decision.approve()
DAY = timedelta(days=1)


async def give(desk: Desk, giver: str = "bo", taker: str = "gus", **more: Any) -> Delegation:
    given: dict[str, Any] = {"until": START + 7 * DAY, "by": f"person:{giver}", **more}
    return await desk.inbox.delegations.give("default", f"person:{giver}", f"person:{taker}", **given)


def who(desk: Desk, amount: int = 500, excluded: tuple[str, ...] = (), **context: Any) -> list[str]:
    item = desk.approval(request=ask(desk.policies, amount, **context), excluded=list(excluded))
    return list(desk.inbox.asking(item, desk.policies.edition).eligible)


def person(desk: Desk, name: str) -> Person:
    return desk.actors.person(f"person:{name}")


def leave(desk: Desk, name: str, start: datetime = START, end: datetime = START + DAY) -> None:
    who = person(desk, name)
    who.calendar = [*who.calendar, (start, end)]


async def refused(desk: Desk, item: Item, by: str, decision: Decision = YES) -> str:
    with pytest.raises(errors.NotAuthorized) as caught:
        await desk.inbox.decide(item.id, decision, by=by)
    return caught.value.message


async def test_a_taker_decides_in_the_giver_s_place_and_the_record_says_so(desk: Desk) -> None:
    item = await desk.open(desk.approval())
    assert "authority 'purchasing' is missing" in await refused(desk, item, "person:gus")
    await give(desk, authority="purchasing")
    assert who(desk) == ["person:bo", "person:cy", "person:gus"]
    done = await desk.inbox.decide("i1", YES, by="person:gus")
    assert done.decision is not None
    assert (done.decided_by, done.decision.acting_for) == ("person:gus", "person:bo")
    assert (await events(desk.ledger, "inbox.decided"))[0]["data"]["acting_for"] == "person:bo"
    assert (await desk.inbox.get("i1")).decision == done.decision
    granted = await desk.inbox.granted(ask(desk.policies, 500), case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {"purchasing": 1}


async def test_one_s_own_right_comes_first(desk: Desk) -> None:
    await desk.open(desk.approval())
    await give(desk, taker="cy")
    done = await desk.inbox.decide("i1", YES, by="person:cy")
    assert done.decision is not None
    assert done.decision.acting_for == ""


async def test_it_holds_from_its_start_to_before_its_end(desk: Desk) -> None:
    await give(desk, start=START + DAY, until=START + 2 * DAY)
    assert "person:gus" not in who(desk)
    await desk.clock.advance(DAY)
    assert "person:gus" in who(desk)
    await desk.clock.advance(DAY - timedelta(microseconds=1))
    assert "person:gus" in who(desk)
    await desk.clock.advance(timedelta(microseconds=1))
    assert "person:gus" not in who(desk)


@pytest.mark.parametrize("by", ["person:bo", "person:gus", "person:olga"])
async def test_revoked_it_ends_and_voids_what_was_not_carried_out(desk: Desk, by: str) -> None:
    made = await give(desk)
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", YES, by="person:gus")
    for _ in range(2):
        await desk.inbox.delegations.revoke("default", made.id, by=by)
    assert "person:gus" not in who(desk)
    granted = await desk.inbox.granted(ask(desk.policies, 500), case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {}
    told = await events(desk.ledger, "actor.registered")
    assert [e["data"]["delegation"]["revoked_at"] for e in told] == [None, iso(START)]


async def test_a_decision_made_in_time_outlives_the_end_of_the_delegation(desk: Desk) -> None:
    await give(desk, until=START + DAY)
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", YES, by="person:gus")
    await desk.clock.advance(3 * DAY)
    granted = await desk.inbox.granted(ask(desk.policies, 500), case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {"purchasing": 1}


async def test_it_ends_when_the_giver_loses_the_authority(desk: Desk) -> None:
    await give(desk)
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", YES, by="person:gus")
    person(desk, "bo").authorities = {}
    assert "person:gus" not in who(desk)
    granted = await desk.inbox.granted(ask(desk.policies, 500), case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {}


async def test_never_more_than_the_giver_s_limit(desk: Desk) -> None:
    await give(desk)
    assert "person:gus" in who(desk, 100000)
    assert who(desk, 100001) == []
    person(desk, "bo").authorities = {"purchasing": Money(99999, "EUR")}
    assert "person:gus" not in who(desk, 100000)
    assert who(desk, 5, currency="USD") == []


async def test_two_limits_do_not_add_up(desk: Desk) -> None:
    person(desk, "gus").authorities = {"purchasing": Money(60000, "EUR")}
    await give(desk)
    item = await desk.open(desk.approval(amount=150000))
    await refused(desk, item, "person:gus")


async def test_only_the_named_authority_is_delegated(desk: Desk) -> None:
    await give(desk, "dora", authority="cfo")
    assert "person:gus" not in who(desk)
    await give(desk, authority="purchasing")
    assert "person:gus" in who(desk)


@pytest.mark.parametrize("apart", ["person:bo", "person:gus"])
async def test_it_never_lifts_an_exclusion_of_giver_or_taker(desk: Desk, apart: str) -> None:
    await give(desk)
    assert "person:gus" not in who(desk, excluded=(apart,))
    assert "person:gus" not in who(desk, requester=apart)
    assert "person:gus" not in who(desk, preparers=[apart])
    kept: list[dict[str, Any]] = [
        {"requester": apart}, {"excluded": [apart]}, {"request": ask(desk.policies, 500, preparers=[apart])}
    ]  # fmt: skip
    for number, more in enumerate(kept):
        item = await desk.open(desk.approval(f"i{number}", effect_key=f"e{number}", **more))
        await refused(desk, item, "person:gus")


async def test_neither_giver_nor_taker_fills_two_stages(desk: Desk) -> None:
    await give(desk)
    await give(desk, taker="fay")
    await desk.open(desk.approval("i1"))
    await desk.inbox.decide("i1", YES, by="person:gus")
    second = await desk.open(desk.approval("i2", stage=1))
    for by in ("person:gus", "person:bo", "person:fay"):
        await refused(desk, second, by)
    await desk.inbox.decide("i2", YES, by="person:cy")
    granted = await desk.inbox.granted(ask(desk.policies, 500), case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {"purchasing": 2}


async def test_a_forbid_that_names_the_taker_holds(desk: Desk) -> None:
    scope = '(principal == Interlock::Person::"gus", action == Interlock::Action::"approve:erp.create_po", resource)'
    desk.policies = bound(RULES + f'@id("never") forbid {scope};')
    desk = Desk(desk.db, desk.ledger, desk.clock, desk.policies)
    await give(desk)
    assert "person:gus" not in who(desk)


async def test_nothing_is_passed_on(desk: Desk) -> None:
    await give(desk)
    with pytest.raises(errors.InputError, match="no authority"):
        await give(desk, "gus", "fay")
    with pytest.raises(errors.InputError, match="no authority 'purchasing'"):
        await give(desk, "eve", "fay", authority="purchasing")
    # Who holds something else passes on that alone.
    person(desk, "gus").roles = {"clerk"}
    await give(desk, "gus", "fay")
    assert who(desk) == ["person:bo", "person:cy", "person:gus"]


async def test_a_deputy_stands_in_during_leave_only(desk: Desk) -> None:
    person(desk, "bo").deputy = "person:gus"
    assert who(desk) == ["person:bo", "person:cy"]
    leave(desk, "bo")
    assert who(desk) == ["person:cy", "person:gus"]
    item = await desk.open(desk.approval())
    assert "on leave" in await refused(desk, item, "person:bo")
    done = await desk.inbox.decide("i1", YES, by="person:gus")
    assert done.decision is not None
    assert done.decision.acting_for == "person:bo"
    await desk.clock.advance(DAY)
    assert who(desk) == ["person:bo", "person:cy"]


async def test_a_taker_on_leave_is_not_asked_and_passes_nothing_to_a_deputy(desk: Desk) -> None:
    await give(desk)
    person(desk, "gus").deputy = "person:fay"
    leave(desk, "gus")
    assert who(desk) == ["person:bo", "person:cy"]
    item = await desk.open(desk.approval())
    for by in ("person:gus", "person:fay"):
        await refused(desk, item, by)


async def test_an_approval_given_before_leave_stays(desk: Desk) -> None:
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", YES, by="person:bo")
    leave(desk, "bo", START + DAY, START + 2 * DAY)
    await desk.clock.advance(DAY)
    granted = await desk.inbox.granted(ask(desk.policies, 500), case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {"purchasing": 1}


async def test_tasks_go_to_the_deputy_on_leave_and_to_who_has_everything(desk: Desk) -> None:
    task = await desk.open(desk.task())
    for by in ("person:gus", "person:fay"):
        with pytest.raises(errors.NotAuthorized):
            await desk.inbox.complete(task.id, {"vendor": "v1"}, by=by)
    await give(desk, "eve", "fay", authority="clerk")
    with pytest.raises(errors.NotAuthorized):
        await desk.inbox.complete(task.id, {"vendor": "v1"}, by="person:fay")
    await give(desk, "eve", "fay")
    done = await desk.inbox.complete(task.id, {"vendor": "v1"}, by="person:fay")
    assert done.decision is not None
    assert (done.decided_by, done.decision.acting_for) == ("person:fay", "person:eve")


async def test_exceptions_are_answered_in_an_operator_s_place(desk: Desk) -> None:
    item = await desk.open(desk.exception())
    await refused(desk, item, "person:gus")
    await give(desk, "olga", authority="operator")
    await desk.inbox.decide(item.id, YES, by="person:gus")


@pytest.mark.parametrize("more", [{"requester": "person:olga"}, {"excluded": ["person:olga"]}])
async def test_who_took_part_in_a_call_does_not_say_what_became_of_it(desk: Desk, more: dict[str, Any]) -> None:
    item = await desk.open(desk.exception(effect_key="e9", **more))
    await give(desk, "olga", authority="operator")
    for decision in (YES, Decision.respond({"ok": True}), Decision.reject("no")):
        for by in ("person:olga", "person:gus"):
            await refused(desk, item, by, decision)
    person(desk, "fay").roles = {"operator"}
    await desk.inbox.decide(item.id, YES, by="person:fay")


BAD: list[dict[str, Any]] = [
    {"until": START}, {"until": START - DAY}, {"start": START + 8 * DAY}, {"until": (START + DAY).replace(tzinfo=None)},
    {"until": "2027-01-01"}, {"authority": "cfo"}, {"authority": ""}, {"taker": "bo"},
]  # fmt: skip


@pytest.mark.parametrize("more", BAD)
async def test_what_makes_no_sense_is_refused(desk: Desk, more: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError) as caught:
        await give(desk, **more)
    assert caught.value.hint
    assert desk.inbox.delegations.list("default") == []


@pytest.mark.parametrize("by", ["person:gus", "person:cy"])
async def test_only_the_giver_or_an_operator_delegates(desk: Desk, by: str) -> None:
    with pytest.raises(errors.NotAuthorized):
        await give(desk, by=by)
    await give(desk, by="person:olga")


async def test_an_operator_gives_nothing_to_themselves(desk: Desk) -> None:
    with pytest.raises(errors.NotAuthorized):
        await give(desk, taker="olga", by="person:olga")


async def test_nobody_else_revokes_and_agents_are_no_parties(desk: Desk) -> None:
    made = await give(desk)
    with pytest.raises(errors.NotAuthorized):
        await desk.inbox.delegations.revoke("default", made.id, by="person:cy")
    with pytest.raises(errors.NotFound):
        await desk.inbox.delegations.revoke("acme", made.id, by="person:bo")
    for giver, taker in (("agent:buyer", "person:gus"), ("person:bo", "agent:buyer"), ("person:bo", "person:no")):
        with pytest.raises(errors.NotFound):
            await desk.inbox.delegations.give("default", giver, taker, until=START + DAY, by="person:bo")


async def test_tenants_are_apart_and_a_restart_keeps_everything(desk: Desk) -> None:
    kept, gone = await give(desk, comment="summer ☀"), await give(desk, taker="fay")
    gone = await desk.inbox.delegations.revoke("default", gone.id, by="person:bo")
    again = Delegations(desk.db, desk.ledger, desk.actors, desk.clock)
    await again.load()
    assert sorted(again.list("default"), key=str) == sorted([kept, gone], key=str)
    assert again.list("acme") == []
    assert again.givers("acme", person(desk, "gus"), "purchasing", START) == []
    assert [p.id for p in again.givers("default", person(desk, "gus"), "purchasing", START)] == ["person:bo"]


async def test_a_giver_who_is_gone_gives_nothing(desk: Desk) -> None:
    await give(desk)
    left = Desk(desk.db, desk.ledger, desk.clock, actors=Actors([p for p in desk.actors if p.id != "person:bo"]))
    await left.inbox.delegations.load()
    assert who(left) == ["person:cy"]


def test_a_revoked_delegation_never_covered_anything() -> None:
    made = Delegation("t", "1", "person:a", "person:b", None, iso(START), iso(START + DAY), "person:a", "", iso(START))
    assert made.covers("x", START)
    assert made.covers(None, START)
    assert not replace(made, revoked_at=iso(START + DAY)).covers("x", START)
    assert not replace(made, authority="x").covers(None, START)
