"""Attempts to get an approval that nobody with the authority gave to exactly this action, by every way in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import Agent, ControlPlane, Decision, Money, Person, Workflow, errors
from interlock.graphs.commands import commands
from interlock.graphs.engine.lock import EngineLock
from interlock.graphs.engine.remote import send
from tests.graphs.office import Erp, State, events, office, only_item

SPOOFED: list[Any] = [
    "agent:buying.order", "agent:bo", "bo", "person:", "person:bo ", " person:bo", "person:bo\u200b", "person:b\u043e",
    "\uff50erson:bo", "Person:bo", "PERSON:BO", "person:BO", "person:bo\n", "person:bo\x00", "person:bo/../bo",
    "role:purchasing", "person:*", "", None, 7, ["person:bo"], {"id": "person:bo"}, True,
]  # fmt: skip
BIG = Money.of("90000", "EUR")


def buying() -> Workflow:
    wf = Workflow("buying", State, owner="finance")

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": state["total"]})}

    return wf.flow(START, order, END)


async def asked(plane: ControlPlane, total: int = 400_000, requester: str = "person:ana") -> Any:
    case = await plane.start("buying", {"total": total}, requester=requester)
    await plane.wait(case.id, timeout=30)
    return await only_item(plane, case.id)


@pytest.mark.parametrize("by", SPOOFED, ids=repr)
async def test_nobody_else_answers_in_the_name_of_a_person(by: Any) -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        item, known = await asked(plane), commands(plane)
        ways = [
            plane.approvals.decide(item.id, Decision.approve(), by=by),
            plane.inbox.claim(item.id, by=by),
            plane.inbox.delegate(item.id, to="person:cy", by=by),
            known["decide"](item_id=item.id, decision={"kind": "approve"}, by=by),
            known["delegate"](item_id=item.id, to="person:cy", by=by),
        ]
        for way in ways:
            with pytest.raises(errors.NotAuthorized):
                await way
        many = await known["decide_many"](item_ids=[item.id], decision={"kind": "approve"}, by=by)
        assert (many["items"], [one["code"] for one in many["errors"]]) == ([], ["not_authorized"])
        assert (await plane.inbox.get(item.id)).open and erp.orders == []
        assert len(await events(plane, item.case_id, "access.denied")) == len(ways) + 1


async def test_a_command_from_another_process_is_checked_like_every_answer(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with office(buying(), url=f"sqlite:///{home / 'interlock.db'}") as plane:
        item, address = await asked(plane), EngineLock(home).holder()
        assert address is not None
        for by in ("person:ana", "agent:bo", "person:bo\u200b", None, ["person:bo"]):
            with pytest.raises(errors.NotAuthorized):
                await send(address, "decide", item_id=item.id, decision={"kind": "approve"}, by=by)
            with pytest.raises(errors.NotAuthorized):
                await send(address, "delegate", item_id=item.id, to=by, by="person:op")
        for wrong in ({"kind": "complete"}, {"kind": "approve", "by": "person:bo"}, {}, {"kind": ["approve"]}):
            said = send(address, "decide", item_id=item.id, decision=wrong, by="person:ana")
            with pytest.raises((errors.InputError, errors.NotAuthorized)):
                await said
        assert (await plane.inbox.get(item.id)).open


@pytest.mark.parametrize("wrong", ["case", "digest", "effect", "", "nothing", None, 5, ["x"]])
async def test_other_ids_are_no_items(wrong: Any) -> None:
    async with office(buying()) as plane:
        item = await asked(plane)
        known = {"case": item.case_id, "digest": item.digest, "effect": item.effect_key}
        target = known.get(wrong, wrong) if isinstance(wrong, str) else wrong
        with pytest.raises((errors.NotFound, errors.InputError)):
            await plane.approvals.decide(target, Decision.approve(), by="person:bo")


async def test_agents_with_every_role_and_the_owner_of_one_approve_nothing() -> None:
    async with office(buying()) as plane:
        plane.register_actor(Agent("boss", roles={"purchasing", "operator", "cfo"}))
        plane.register_actor(Agent("helper", scopes={"po:write"}, owner="person:bo"))
        item = await asked(plane)
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(item.id, Decision.approve(), by="agent:boss")
        call = await plane.call_tool("erp.create_po", {"supplier": "a", "total": 400_000}, actor="agent:helper")
        assert call.status == "asked" and call.approval is not None
        with pytest.raises(errors.NotAuthorized, match="kept apart"):
            await plane.approvals.decide(call.approval, Decision.approve(), by="person:bo")


# edits


async def test_an_edit_back_to_what_was_asked_is_an_approval_of_that() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        item = await asked(plane)
        done = await plane.approvals.decide(item.id, Decision.edit({"total": 400_000}), by="person:bo")
        assert done.decided_digest == item.digest
        assert (await plane.wait(item.case_id, until="ended", timeout=30)).status == "completed"
        assert erp.orders == [("acme", 400_000)]
        with pytest.raises(errors.AlreadyDecided):
            await plane.approvals.decide(item.id, Decision.edit({"total": 300_000}), by="person:bo")


@pytest.mark.parametrize(
    "args",
    [
        {"tool": "erp.pay"}, {"name": "erp.pay", "args": {}}, {"total": "400000"}, {"total": 4.5}, {"total": None},
        {"total": True}, {"supplier": ["a"]}, {"__class__": "x"}, {"supplier": "a", "extra": 1}, {5: 6},
    ],
    ids=repr,
)  # fmt: skip
async def test_an_edit_changes_arguments_of_the_tool_and_nothing_else(args: Any) -> None:
    async with office(buying()) as plane:
        item = await asked(plane)
        with pytest.raises(errors.InputError):
            await plane.approvals.decide(item.id, Decision.edit(args), by="person:bo")
        assert (await plane.inbox.get(item.id)).open


async def test_an_edit_above_the_limit_of_whoever_edits_is_refused_and_below_it_done_once() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        item = await asked(plane)
        for total in (500_001, 10**9):
            with pytest.raises(errors.NotAuthorized):
                await plane.approvals.decide(item.id, Decision.edit({"total": total}), by="person:bo")
        await plane.approvals.decide(item.id, Decision.edit({"supplier": "best", "total": 500_000}), by="person:bo")
        assert (await plane.wait(item.case_id, until="ended", timeout=30)).status == "completed"
        assert erp.orders == [("best", 500_000)]


async def test_in_two_stages_an_edit_starts_again_and_no_approval_of_another_action_counts() -> None:
    """di edits, ed edits that again: the first edit counts no more, and di may say yes to what ed has made of it."""
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        for name in ("di", "ed"):
            plane.register_actor(Person(name, authorities={"purchasing": BIG}))
        item = await asked(plane, 3_000_000)
        assert item.need == {"purchasing": 2}
        await plane.approvals.decide(item.id, Decision.edit({"total": 2_900_000}), by="person:di")
        await plane.wait(item.case_id, timeout=30)
        second = await only_item(plane, item.case_id)
        assert second.action["args"]["total"] == 2_900_000
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(second.id, Decision.approve(), by="person:di")
        await plane.approvals.decide(second.id, Decision.edit({"total": 2_800_000}), by="person:ed")
        await plane.wait(item.case_id, timeout=30)
        third = await only_item(plane, item.case_id)
        assert (third.action["args"]["total"], [one["by"] for one in third.given]) == (2_800_000, ["person:ed"])
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(third.id, Decision.approve(), by="person:ed")
        assert erp.orders == []
        await plane.approvals.decide(third.id, Decision.approve(), by="person:di")
        assert (await plane.wait(item.case_id, until="ended", timeout=30)).status == "completed"
        assert erp.orders == [("acme", 2_800_000)]


async def test_an_approval_serves_one_call_and_no_other() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        plane.register_actor(Agent("buyer", scopes={"po:write"}))
        plane.register_actor(Agent("other", scopes={"po:write"}))
        args = {"supplier": "acme", "total": 400_000}
        call = await plane.call_tool("erp.create_po", args, actor="agent:buyer")
        assert call.approval is not None
        await plane.approvals.decide(call.approval, Decision.approve(), by="person:bo")
        for wrong, actor in (
            ({**args, "total": 400_001}, "buyer"),
            ({**args, "supplier": "acme "}, "buyer"),
            (args, "other"),
        ):
            told = await plane.call_tool("erp.create_po", wrong, actor=f"agent:{actor}", approval=call.approval)
            assert told.status == "denied", told
        calls = (plane.call_tool("erp.create_po", args, actor="agent:buyer", approval=call.approval) for _ in range(5))
        statuses = [one.status for one in await asyncio.gather(*calls)]
        assert erp.orders == [("acme", 400_000)], statuses
