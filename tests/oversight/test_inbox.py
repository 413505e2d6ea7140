"""The inbox: opened once, listed in order, and what claims, expiry and use do to an item."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from interlock import errors
from interlock.clock import iso
from interlock.ids import Reason
from interlock.oversight.inbox import Decision, Item
from interlock.oversight.items import COLUMNS, from_row, to_row
from tests.oversight.department import START, ask, events, status_of
from tests.oversight.desk import Desk


async def test_an_item_is_opened_once_and_told_once(desk: Desk) -> None:
    item = desk.approval()
    await desk.open(item)
    await desk.open(replace(item, task="other"))
    assert (await desk.inbox.get("i1")).task == "order"
    told = await events(desk.ledger, "inbox.opened")
    assert len(told) == 1
    assert told[0]["data"] == {
        "item": "i1", "kind": "approval", "task": "order", "authority": "purchasing", "need": {"purchasing": 1},
        "due": None, "tool": "erp.create_po", "digest": "d1", "money": {"amount": 500, "currency": "EUR"},
    }  # fmt: skip


async def test_an_item_comes_back_as_it_was_put_in(desk: Desk) -> None:
    item = desk.approval(
        reasons=[Reason("DOA-1", "too much: ü ✓")], evidence={"facts": [1, None, {"a": "b"}]}, stage=1, due=iso(START),
        eligible=["person:bo", "role:cfo"], output_schema={"type": "object"}, excluded=["person:cy"], gate=True,
    )  # fmt: skip
    await desk.open(item)
    found = await desk.inbox.get("i1")
    assert replace(found, seq=0, evidence_hash="", opened_at="") == item
    assert found.opened_at == iso(START) and found.evidence_hash and found.seq == 1
    assert found.money == {"amount": 500, "currency": "EUR"}


async def test_what_people_are_shown_is_json_without_the_planes_own_part(desk: Desk) -> None:
    await desk.open(desk.approval(excluded=["person:cy"]))
    await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    shown = (await desk.inbox.get("i1")).as_json()
    assert not {"request", "excluded", "gate", "seq"} & shown.keys()
    assert "request" not in shown["action"]
    assert shown["decision"]["kind"] == "approve"


async def test_evidence_that_is_no_json_opens_nothing(desk: Desk) -> None:
    with pytest.raises(errors.InputError):
        await desk.open(desk.approval(evidence=object()))
    assert (await desk.inbox.list()).items == []
    assert await events(desk.ledger) == []


def test_a_row_without_the_inner_part_is_readable() -> None:
    row: dict[str, Any] = dict(zip(COLUMNS, to_row(Item("i", "t", "task", "c")), strict=True)) | {"seq": 4}
    row |= {"action": None, "reasons": None}
    found = from_row(row)
    assert (found.action, found.reasons, found.request, found.seq) == ({}, [], None, 4)


# listing


async def test_pages_are_whole_and_in_order(desk: Desk) -> None:
    for n in range(7):
        await desk.open(desk.approval(f"i{n}"))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await desk.inbox.list(limit=3, cursor=cursor)
        seen += [item.id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [f"i{n}" for n in range(7)]
    assert (await desk.inbox.list(limit=7)).cursor is None
    assert (await desk.inbox.list(limit=10**12)).cursor is None


@pytest.mark.parametrize("cursor", ["x", "", "-1", "1.5", "٣", "9" * 30, "1 OR 1=1", 5])
async def test_a_cursor_that_is_none_is_refused(desk: Desk, cursor: Any) -> None:
    with pytest.raises(errors.InputError):
        await desk.inbox.list(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, "5", None, 2.5])
async def test_a_limit_that_is_none_is_refused(desk: Desk, limit: Any) -> None:
    with pytest.raises(errors.InputError):
        await desk.inbox.list(limit=limit)


async def test_filters_by_kind_status_case_and_tenant(desk: Desk) -> None:
    await desk.open(desk.approval("a"))
    await desk.open(desk.task("t"))
    await desk.open(desk.exception("x"))
    await desk.open(replace(desk.approval("other"), case_id="c2"))
    await desk.open(replace(desk.approval("theirs"), tenant="acme"))
    await desk.inbox.decide("a", Decision.approve(), by="person:bo")

    async def ids(**wanted: Any) -> list[str]:
        return [item.id for item in (await desk.inbox.list(**wanted)).items]

    assert await ids() == ["t", "x", "other"]
    assert await ids(status=None) == ["a", "t", "x", "other"]
    assert await ids(status="decided") == ["a"]
    assert await ids(kind="task") == ["t"]
    assert await ids(kind="approval", status=None, case_id="c1") == ["a"]
    assert await ids(tenant="acme") == ["theirs"]
    assert await ids(case_id="' OR 1=1 --") == []


async def test_a_role_sees_what_it_could_answer(desk: Desk) -> None:
    await desk.open(desk.approval("a"))
    await desk.open(desk.approval("b", authority="cfo"))
    await desk.open(desk.approval("c", authority="none", eligible=["role:lead"]))
    await desk.open(desk.task("t"))
    await desk.open(desk.exception("x"))
    await desk.open(desk.exception("y", eligible=["person:dora"]))

    async def ids(role: str) -> list[str]:
        return [item.id for item in (await desk.inbox.list(role=role)).items]

    assert await ids("purchasing") == ["a"]
    assert await ids("cfo") == ["b", "y"]  # dora holds the authority cfo, and is a lead
    assert await ids("lead") == ["c", "y"]
    assert await ids("clerk") == ["t"]
    assert await ids("operator") == ["x"]
    desk.inbox.owner_of = {"buying": "buying-team"}.get  # type: ignore[assignment]
    assert await ids("buying-team") == ["x"]
    assert await ids("nobody") == []
    page = await desk.inbox.list(role="lead", limit=1)
    assert page.cursor is not None
    assert [i.id for i in (await desk.inbox.list(role="lead", cursor=page.cursor)).items] == ["y"]


async def test_items_of_one_call_come_oldest_first(desk: Desk) -> None:
    await desk.open(desk.approval("a"))
    await desk.open(desk.approval("b", effect_key="e2"))
    await desk.open(desk.approval("c"))
    assert [i.id for i in await desk.inbox.of_effect("e1")] == ["a", "c"]
    assert await desk.db.read(lambda tx: [i.id for i in desk.inbox.items_of(tx, "default", "e1")]) == ["a", "c"]
    assert await desk.inbox.of_effect("e1", tenant="acme") == []


async def test_an_unknown_item_is_not_found(desk: Desk) -> None:
    for call in (
        desk.inbox.get("nope"),
        desk.inbox.claim("nope", by="person:bo"),
        desk.inbox.decide("nope", Decision.approve(), by="person:bo"),
        desk.inbox.complete("nope", {}, by="person:bo"),
        desk.inbox.expire("nope"),
    ):
        with pytest.raises(errors.NotFound):
            await call


# claiming


async def test_a_claim_is_told_once_and_keeps_others_away(desk: Desk) -> None:
    await desk.open(desk.approval())
    first = await desk.inbox.claim("i1", by="person:bo")
    await desk.clock.advance(timedelta(minutes=5))
    again = await desk.inbox.claim("i1", by="person:bo")
    assert first.claimed_by == again.claimed_by == "person:bo"
    assert first.claimed_at == again.claimed_at == iso(START)
    with pytest.raises(errors.Conflict):
        await desk.inbox.claim("i1", by="person:cy")
    assert [e["actor"] for e in await events(desk.ledger, "inbox.claimed")] == ["person:bo"]


async def test_of_two_who_claim_at_once_one_gets_it(desk: Desk) -> None:
    await desk.open(desk.approval())
    outcomes = await asyncio.gather(
        *(desk.inbox.claim("i1", by=by) for by in ("person:bo", "person:cy")), return_exceptions=True
    )
    assert sum(isinstance(o, Item) for o in outcomes) == sum(isinstance(o, errors.Conflict) for o in outcomes) == 1


async def test_only_who_may_answer_may_claim(desk: Desk) -> None:
    await desk.open(desk.approval())
    for by in ("person:ana", "person:dora", "agent:buyer", "person:nobody"):
        with pytest.raises(errors.NotAuthorized):
            await desk.inbox.claim("i1", by=by)
    assert len(await events(desk.ledger, "access.denied")) == 4
    await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    with pytest.raises(errors.AlreadyDecided):
        await desk.inbox.claim("i1", by="person:cy")


# expiry


async def test_an_approval_expires_at_its_deadline_and_the_case_goes_on(desk: Desk) -> None:
    await desk.open(desk.approval(due=iso(START + timedelta(hours=4))))
    assert (await desk.inbox.expire("i1")).open
    await desk.clock.advance(timedelta(hours=4))
    with pytest.raises(errors.Expired):
        await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    assert (await desk.inbox.get("i1")).open and await status_of(desk.db, "c1") == "waiting"
    assert (await desk.inbox.expire("i1")).status == "expired"
    assert await status_of(desk.db, "c1") == "queued"
    assert (await desk.inbox.expire("i1")).status == "expired"
    assert desk.woken == [("default", "c1")]
    assert len(await events(desk.ledger, "inbox.expired")) == 1
    with pytest.raises(errors.Expired):
        await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    with pytest.raises(errors.AlreadyDecided):
        await desk.inbox.claim("i1", by="person:bo")


async def test_tasks_and_exceptions_are_only_late(desk: Desk) -> None:
    await desk.open(desk.task("t", due=iso(START)))
    await desk.open(desk.exception("x", due=iso(START)))
    await desk.clock.advance(timedelta(days=9))
    assert (await desk.inbox.expire("t")).open and (await desk.inbox.expire("x")).open
    await desk.inbox.complete("t", {"vendor": "v"}, by="person:eve")
    await desk.inbox.decide("x", Decision.approve(), by="person:olga")


async def test_of_two_expiries_at_once_one_is_told(desk: Desk) -> None:
    await desk.open(desk.approval(due=iso(START)))
    outcomes = await asyncio.gather(desk.inbox.expire("i1"), desk.inbox.expire("i1"))
    assert [item.status for item in outcomes] == ["expired", "expired"]
    assert len(await events(desk.ledger, "inbox.expired")) == 1


async def test_a_decision_and_an_expiry_at_once_leave_one_answer(desk: Desk) -> None:
    await desk.open(desk.approval(due=iso(START + timedelta(hours=1))))
    deciding = asyncio.create_task(desk.inbox.decide("i1", Decision.approve(), by="person:bo"))
    await asyncio.sleep(0)
    await desk.clock.advance(timedelta(hours=1))
    outcomes = await asyncio.gather(deciding, desk.inbox.expire("i1"), return_exceptions=True)
    final = (await desk.inbox.get("i1")).status
    assert final in ("decided", "expired")
    told = [e["type"] for e in await events(desk.ledger, "inbox.decided", "inbox.expired")]
    assert told == [f"inbox.{final}"], outcomes


# using


async def granted(desk: Desk, amount: int = 500, **more: Any) -> dict[str, int]:
    where: dict[str, Any] = {"case_id": "c1", "effect_key": "e1", "digest": "d1"} | more
    return (await desk.inbox.granted(ask(desk.policies, amount), **where)).approvals


async def test_an_approval_counts_for_its_call_only(desk: Desk) -> None:
    await desk.open(desk.approval())
    assert await granted(desk) == {}
    await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    assert await granted(desk) == {"purchasing": 1}
    assert await granted(desk, digest="d2") == {}
    assert await granted(desk, effect_key="e2") == {}
    assert await granted(desk, case_id="c2") == {}
    assert await granted(desk, tenant="acme") == {}


@pytest.mark.parametrize("decision", [Decision.reject("no"), Decision.respond("ask me later")])
async def test_a_no_and_a_response_count_for_nothing(desk: Desk, decision: Decision) -> None:
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", decision, by="person:bo")
    assert await granted(desk) == {}


async def test_a_gate_counts_for_the_call_that_it_names(desk: Desk) -> None:
    await desk.open(desk.approval("g", gate=True, effect_key=""))
    await desk.inbox.decide("g", Decision.approve(), by="person:bo")
    assert await granted(desk, effect_key="whatever") == {"purchasing": 1}
    assert await granted(desk, effect_key="whatever", digest="d2") == {}


async def test_an_approval_is_asked_again_when_it_is_used(desk: Desk) -> None:
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    assert await granted(desk, 100000) == {"purchasing": 1}
    assert await granted(desk, 100001) == {}  # above bo's limit by now
    request = ask(desk.policies, 500, preparers=["person:bo"])
    found = await desk.inbox.granted(request, case_id="c1", effect_key="e1", digest="d1")
    assert found.approvals == {}


async def test_an_approver_who_is_gone_or_lost_the_authority_does_not_count(desk: Desk) -> None:
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    bo = desk.actors.person("person:bo")
    limits = dict(bo.authorities)
    bo.authorities.clear()
    assert await granted(desk) == {}
    bo.authorities.update(limits)
    assert await granted(desk) == {"purchasing": 1}
    del desk.actors._actors["person:bo"]
    assert await granted(desk) == {}


async def test_an_approval_that_came_late_does_not_count(desk: Desk) -> None:
    due = iso(START + timedelta(hours=1))
    await desk.open(desk.approval(due=due))
    await desk.inbox.decide("i1", Decision.approve(), by="person:bo")
    await desk.clock.advance(timedelta(hours=2))
    assert await granted(desk) == {"purchasing": 1}  # it was given in time
    await desk.db.commit(lambda tx: tx.execute("UPDATE inbox SET decided_at = ?", (due,)))
    assert await granted(desk) == {}
    await desk.db.commit(lambda tx: tx.execute("UPDATE inbox SET decided_at = NULL"))
    assert await granted(desk) == {}


async def test_two_approvals_of_one_person_count_as_one(desk: Desk) -> None:
    await desk.open(desk.approval("a"))
    await desk.inbox.decide("a", Decision.approve(), by="person:bo")
    await desk.open(desk.approval("g", gate=True, effect_key=""))
    await desk.inbox.decide("g", Decision.approve(), by="person:bo")
    assert await granted(desk) == {"purchasing": 1}


async def test_approvals_are_used_once_and_all_or_none(desk: Desk) -> None:
    for name, by in (("a", "person:bo"), ("b", "person:cy")):
        await desk.open(desk.approval(name))
        await desk.inbox.decide(name, Decision.approve(), by=by)
    found = await desk.inbox.granted(ask(desk.policies, 500), case_id="c1", effect_key="e1", digest="d1")
    assert (found.approvals, [i.id for i in found.items]) == ({"purchasing": 2}, ["a", "b"])
    await desk.db.commit(lambda tx: desk.inbox.use(tx, found.items[1:], iso(START)))
    with pytest.raises(errors.Denied, match="b was used already"):
        await desk.db.commit(lambda tx: desk.inbox.use(tx, found.items, iso(START)))
    assert await granted(desk) == {"purchasing": 1}  # a is still there


async def test_what_needs_no_answer_any_more_is_withdrawn(desk: Desk) -> None:
    await desk.open(desk.approval("a"))
    await desk.open(desk.approval("b", effect_key="e2"))
    await desk.db.commit(lambda tx: desk.inbox.withdraw(tx, "default", "e1"))
    assert [(await desk.inbox.get(i)).status for i in "ab"] == ["cancelled", "open"]
    with pytest.raises(errors.AlreadyDecided):
        await desk.inbox.decide("a", Decision.approve(), by="person:bo")
