"""Who has an item: what a claim keeps away, how it ends, and to whom an item can be handed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from interlock import errors
from interlock.clock import iso
from interlock.money import Money
from interlock.oversight.actors import Absence, Person
from interlock.oversight.escalation import Step
from interlock.oversight.inbox import Decision, Item
from tests.oversight.department import START, events
from tests.oversight.desk import Desk

OUT = {"vendor": "v"}


@pytest.fixture
async def office(desk: Desk) -> Desk:
    """The desk, with a clerk who has the skill of its tasks, and somebody who is on leave today."""
    desk.actors.register(Person("ida", skills={"picking"}))
    desk.actors.register(Person("oz", roles={"operator"}))
    away = [Absence(START + timedelta(days=1), START + timedelta(days=9))]
    desk.actors.register(Person("liv", authorities={"purchasing": Money(100000, "EUR")}, calendar=away))
    for item in (desk.approval(), desk.task(action={"skill": "picking"}), desk.exception()):
        await desk.open(item)
    return desk


# claims


async def test_a_claimed_item_is_answered_by_whoever_has_it(office: Desk) -> None:
    await office.inbox.claim("i1", by="person:bo")
    with pytest.raises(errors.Conflict, match="claimed by person:bo") as caught:
        await office.inbox.decide("i1", Decision.approve(), by="person:cy")
    assert "release" in caught.value.hint
    assert (await office.inbox.decide("i1", Decision.approve(), by="person:bo")).decided_by == "person:bo"


@pytest.mark.parametrize("by", ["person:bo", "person:olga"])
async def test_a_claim_ends_when_it_is_given_back_or_taken_by_an_operator(office: Desk, by: str) -> None:
    await office.inbox.claim("i1", by="person:bo")
    freed = await office.inbox.release("i1", by=by, comment="on leave")
    assert (freed.claimed_by, freed.claimed_at) == (None, None)
    await office.inbox.release("i1", by=by)
    assert (await office.inbox.claim("i1", by="person:cy")).claimed_by == "person:cy"
    await office.inbox.release("i1", by="person:cy")
    await office.inbox.claim("i1", by="person:bo")
    told = await events(office.ledger, "inbox.claimed", "inbox.delegated")
    assert [(e["type"], e["actor"]) for e in told] == [
        ("inbox.claimed", "person:bo"), ("inbox.delegated", by), ("inbox.claimed", "person:cy"),
        ("inbox.delegated", "person:cy"), ("inbox.claimed", "person:bo"),
    ]  # fmt: skip
    assert told[1]["data"] == {"item": "i1", "to": None, "comment": "on leave"}


@pytest.mark.parametrize("by", ["person:cy", "person:ana", "agent:buyer", "person:nobody", "", "Person:bo"])
async def test_nobody_else_releases_a_claim(office: Desk, by: str) -> None:
    await office.inbox.claim("i1", by="person:bo")
    with pytest.raises(errors.NotAuthorized):
        await office.inbox.release("i1", by=by)
    assert (await office.inbox.get("i1")).claimed_by == "person:bo"
    assert [e["actor"] for e in await events(office.ledger, "access.denied")] == [by]


async def test_the_claim_of_somebody_on_leave_keeps_nobody_away(office: Desk) -> None:
    await office.inbox.claim("i1", by="person:liv")
    with pytest.raises(errors.Conflict):
        await office.inbox.claim("i1", by="person:bo")
    await office.clock.advance(timedelta(days=2))
    assert (await office.inbox.claim("i1", by="person:bo")).claimed_by == "person:bo"
    with pytest.raises(errors.Conflict):
        await office.inbox.decide("i1", Decision.approve(), by="person:cy")


async def test_an_approval_is_given_past_a_claim_of_somebody_on_leave(office: Desk) -> None:
    await office.inbox.claim("i1", by="person:liv")
    await office.clock.advance(timedelta(days=2))
    assert (await office.inbox.decide("i1", Decision.approve(), by="person:bo")).status == "decided"


async def test_what_has_ended_is_neither_released_nor_handed_on(office: Desk) -> None:
    await office.inbox.decide("i1", Decision.approve(), by="person:bo")
    for call in (
        office.inbox.release("i1", by="person:bo"),
        office.inbox.release("i1", by="person:olga"),
        office.inbox.delegate("i1", to="person:cy", by="person:bo"),
        office.inbox.delegate("i1", to="person:cy", by="person:olga"),
    ):
        with pytest.raises(errors.AlreadyDecided):
            await call
    for missing in (office.inbox.release("no", by="person:bo"), office.inbox.delegate("no", to="person:cy", by="x")):
        with pytest.raises(errors.NotFound):
            await missing


# delegation


@pytest.mark.parametrize("by", ["person:bo", "person:olga"])
async def test_an_approval_goes_to_somebody_who_may_give_it(office: Desk, by: str) -> None:
    await office.inbox.claim("i1", by="person:bo")
    handed = await office.inbox.delegate("i1", to="person:cy", by=by, comment="you know them")
    assert (handed.delegated_to, handed.claimed_by) == ("person:cy", None)
    assert (await office.inbox.get("i1")).eligible == ["person:cy"]
    await office.inbox.decide("i1", Decision.approve(), by="person:cy")
    (told,) = await events(office.ledger, "inbox.delegated")
    assert told["data"] == {"item": "i1", "to": "person:cy", "comment": "you know them"}


@pytest.mark.parametrize(
    "to",
    [
        "person:ana", "person:dora", "person:olga", "person:ida", "agent:buyer", "person:nobody", "", "role:cfo",
        "person:cy\u200b", "\uff50erson:cy", "PERSON:cy", "person:cy ", ["person:cy"], None, 5,
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["person:bo", "person:oz"])
async def test_an_approval_never_goes_to_somebody_who_may_not(office: Desk, to: Any, by: str) -> None:
    with pytest.raises(errors.NotAuthorized):
        await office.inbox.delegate("i1", to=to, by=by)
    assert (await office.inbox.get("i1")).delegated_to is None
    assert await events(office.ledger, "inbox.delegated") == []
    assert len(await events(office.ledger, "access.denied")) == 1


@pytest.mark.parametrize(
    "by", ["person:ana", "person:dora", "person:ida", "agent:buyer", "person:nobody", "", None, {}]
)
async def test_who_may_not_answer_hands_nothing_on(office: Desk, by: Any) -> None:
    with pytest.raises(errors.NotAuthorized):
        await office.inbox.delegate("i1", to="person:cy", by=by)
    assert (await office.inbox.get("i1")).delegated_to is None


async def test_an_item_of_somebody_else_is_not_handed_on(office: Desk) -> None:
    await office.inbox.claim("i1", by="person:bo")
    with pytest.raises(errors.Conflict):
        await office.inbox.delegate("i1", to="person:liv", by="person:cy")
    with pytest.raises(errors.InputError, match="themselves"):
        await office.inbox.delegate("i1", to="person:bo", by="person:bo")


async def test_a_task_goes_to_anybody_with_its_skill(office: Desk) -> None:
    for to in ("person:fay", "person:dora"):
        with pytest.raises(errors.NotAuthorized):
            await office.inbox.delegate("t1", to=to, by="person:eve")
    await office.inbox.delegate("t1", to="person:ida", by="person:eve")
    assert (await office.inbox.get("t1")).eligible == ["person:eve", "person:ida"]
    done = await office.inbox.complete("t1", OUT, by="person:ida")
    assert done.decided_by == "person:ida"


async def test_an_exception_goes_to_somebody_with_the_skill_of_its_task_and_no_unknown_outcome_does(
    office: Desk,
) -> None:
    await office.open(office.exception("x2", action={"skill": "picking"}))
    with pytest.raises(errors.NotAuthorized):
        await office.inbox.delegate("x1", to="person:ida", by="person:olga")
    await office.inbox.delegate("x2", to="person:ida", by="person:olga")
    await office.inbox.decide("x2", Decision.approve(), by="person:ida")


async def test_an_item_may_be_handed_on_again_each_time_told(office: Desk) -> None:
    for to, by in (("person:cy", "person:bo"), ("person:bo", "person:cy"), ("person:cy", "person:bo")):
        await office.inbox.delegate("i1", to=to, by=by)
        await office.inbox.delegate("i1", to=to, by=by)
    assert [e["data"]["to"] for e in await events(office.ledger, "inbox.delegated")] == [
        "person:cy", "person:bo", "person:cy",
    ]  # fmt: skip


async def test_claims_delegations_and_decisions_at_once_leave_one_answer(office: Desk) -> None:
    people = ("person:bo", "person:cy", "person:liv")
    calls = [office.inbox.claim("i1", by=by) for by in people]
    calls += [office.inbox.delegate("i1", to=to, by=by) for by in people for to in people if to != by]
    calls += [office.inbox.decide("i1", Decision.approve(), by=by) for by in people]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, (Item, errors.Conflict, errors.AlreadyDecided)) for one in outcomes)
    decided = await events(office.ledger, "inbox.decided")
    item = await office.inbox.get("i1")
    assert len(decided) == (not item.open)


# deadlines


async def test_an_item_passes_on_and_who_was_handed_it_before_keeps_it(office: Desk) -> None:
    at = [iso(START + timedelta(hours=hours)) for hours in (1, 2)]
    await office.open(office.approval("i2", due=at[0], chain=[Step("role:lead", at[1])], effect_key="e2"))
    await office.inbox.delegate("i2", to="person:cy", by="person:bo")
    await office.inbox.claim("i2", by="person:cy")
    await office.clock.advance(timedelta(hours=1))
    passed = await office.inbox.expire("i2")
    assert (passed.due, passed.claimed_by, passed.delegated_to) == (at[1], None, "person:cy")
    assert passed.handed_to == ["role:lead", "person:cy"]
    assert office.woken == []
    await office.inbox.decide("i2", Decision.approve(), by="person:cy")
    assert office.woken == [("default", "c1")]


async def test_a_deadline_that_no_timer_has_kept_yet_closes_nothing_while_others_are_to_be_asked(office: Desk) -> None:
    at = [iso(START + timedelta(hours=hours)) for hours in (1, 2)]
    await office.open(office.approval("i2", due=at[0], chain=[Step("role:lead", at[1])], effect_key="e2"))
    await office.clock.advance(timedelta(minutes=90))
    assert (await office.inbox.decide("i2", Decision.approve(), by="person:bo")).status == "decided"
    assert (await office.inbox.expire("i2")).status == "decided"
    assert await events(office.ledger, "inbox.escalated") == []
