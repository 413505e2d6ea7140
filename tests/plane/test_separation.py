"""Separation of duties: nobody who takes part in a case gets through, whatever the item and the way of answering."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from langgraph.graph import END, START
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import Agent, ControlPlane, Decision, Money, Person, Workflow, errors

POLICY = """
@id("pay") permit (principal, action == Interlock::Action::"bank.pay", resource)
when { context.approvals.treasury >= 2 };
@id("note") permit (principal, action == Interlock::Action::"bank.note", resource);
@id("app") permit (principal is Interlock::Person, action == Interlock::Action::"approve:bank.pay", resource)
when { principal.limit >= context.amount };
"""
PEOPLE = ("requester", "caller", "owner", "first", "second", "cover")
WAYS = ["own right", "deputy of", "delegate of", "handed to"]
ANSWERS = [Decision.approve(), Decision.edit({"amount": 5}), Decision.reject("no"), Decision.respond("done")]


class Pay(BaseModel):
    amount: int


def _nothing(**_: Any) -> str:
    return "ok"


@asynccontextmanager
async def bank(note: Any = _nothing) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(":memory:", policies={"t.cedar": POLICY}) as plane:
        options: dict[str, Any] = {"system": "bank", "scope": "bank", "effect": "write", "args_schema": Pay}
        plane.register_tool(_nothing, name="bank.pay", money=lambda args: Money(args["amount"], "EUR"), **options)
        plane.register_tool(note, name="bank.note", **options)
        plane.register_actor(Agent("payer", scopes={"bank"}, owner="owner"))
        for name in PEOPLE:
            rights = {} if name == "cover" else {"treasury": Money(1000, "EUR")}
            plane.register_actor(Person(name, authorities=rights, scopes={"bank"}, roles={"operator"}))
        await plane.ready()
        yield plane


async def second_stage(plane: ControlPlane) -> str:
    first = await plane.call_tool("bank.pay", {"amount": 10}, actor="agent:payer")
    assert first.approval is not None
    await plane.approvals.decide(first.approval, Decision.approve(), by="person:first")
    again = await plane.call_tool("bank.pay", {"amount": 10}, actor="agent:payer", approval=first.approval)
    assert again.approval not in (None, first.approval)
    return str(again.approval)


async def by_way(plane: ControlPlane, way: str, role: str, item: str) -> str:
    """Who answers when this person tries it like that."""
    person = plane.services.actors.person(f"person:{role}")
    now = plane.services.clock.now()
    if way == "deputy of":
        person.deputy, person.calendar = "person:cover", [(now, now + timedelta(days=1))]
        return "person:cover"
    if way == "delegate of":
        await plane.delegations.give(person.id, "person:cover", until=now + timedelta(days=1), by=person.id)
        return "person:cover"
    if way == "handed to":
        with pytest.raises(errors.NotAuthorized):
            await plane.services.inbox.delegate(item, to=person.id, by="person:second")
    return person.id


@pytest.mark.parametrize("decision", ANSWERS, ids=lambda one: one.kind)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["owner", "first"])
async def test_nobody_gets_through_to_a_second_stage(role: str, way: str, decision: Decision) -> None:
    async with bank() as plane:
        item = await second_stage(plane)
        by = await by_way(plane, way, role, item)
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(item, decision, by=by)
        assert (await plane.inbox.get(item)).open
        await plane.approvals.decide(item, Decision.approve(), by="person:second")


@pytest.mark.parametrize("decision", ANSWERS, ids=lambda one: one.kind)
@pytest.mark.parametrize("way", WAYS)
async def test_who_asks_for_a_call_does_not_approve_it(way: str, decision: Decision) -> None:
    async with bank() as plane:
        item = (await plane.call_tool("bank.pay", {"amount": 10}, actor="person:requester")).approval
        assert item is not None
        by = await by_way(plane, way, "requester", item)
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(item, decision, by=by)
        assert "person:cover" not in (await plane.inbox.get(item)).eligible


class State(TypedDict, total=False):
    """What flows: nothing but the text of a task."""

    text: str


class Text(BaseModel):
    text: str


async def at_second_stage_of_gate(plane: ControlPlane) -> str:
    """caller has written the text, first has given the first of two approvals; asked for by requester."""
    wf = Workflow("flow", State)
    wf.task("write", skill="writing", output=Text)
    plane.register(wf.flow(START, "write", wf.approval("gate", authority="treasury", quorum=2, show=["text"]), END))
    plane.services.actors.person("person:caller").skills.add("writing")
    case = await plane.start("flow", {}, requester="person:requester")
    for by in ("caller", "first"):
        await plane.wait(case.id, "settled", 60)
        (item,) = (await plane.inbox.list()).items
        if item.kind == "task":
            await plane.inbox.complete(item.id, {"text": "x"}, by=f"person:{by}")
        else:
            await plane.inbox.decide(item.id, Decision.approve(), by=f"person:{by}")
    await plane.wait(case.id, "settled", 60)
    (item,) = (await plane.inbox.list()).items
    return item.id


GATE_ANSWERS = [Decision.approve(), Decision.reject("no"), Decision.respond("done")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["requester", "caller", "first"])
async def test_nobody_gets_through_at_a_gate(role: str, way: str) -> None:
    """Who asked for the case, who prepared it, and who gave the first approval, whatever the answer."""
    async with bank() as plane:
        item = await at_second_stage_of_gate(plane)
        by = await by_way(plane, way, role, item)
        for decision in GATE_ANSWERS:
            with pytest.raises(errors.NotAuthorized):
                await plane.approvals.decide(item, decision, by=by)
        assert (await plane.inbox.get(item)).open
        await plane.approvals.decide(item, Decision.approve(), by="person:second")


@pytest.mark.parametrize("role", ["requester", "caller", "first"])
async def test_nobody_who_is_kept_apart_claims_or_hands_on(role: str) -> None:
    async with bank() as plane:
        item = await at_second_stage_of_gate(plane)
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.claim(item, by=f"person:{role}")
        plane.services.actors.person(f"person:{role}").roles.discard("operator")
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.delegate(item, to="person:second", by=f"person:{role}")
        await plane.inbox.claim(item, by="person:second")
        with pytest.raises((errors.NotAuthorized, errors.Conflict)):
            await plane.approvals.decide(item, Decision.approve(), by=f"person:{role}")
        await plane.approvals.decide(item, Decision.approve(), by="person:second")


@pytest.mark.parametrize("way", WAYS)
async def test_who_edits_the_first_stage_does_not_decide_the_second_of_what_they_made(way: str) -> None:
    async with bank() as plane:
        asked = await plane.call_tool("bank.pay", {"amount": 10}, actor="agent:payer")
        assert asked.approval is not None
        await plane.approvals.decide(asked.approval, Decision.edit({"amount": 7}), by="person:first")
        again = await plane.call_tool("bank.pay", {"amount": 10}, actor="agent:payer", approval=asked.approval)
        item = str(again.approval)
        assert (await plane.inbox.get(item)).action["args"] == {"amount": 7}
        by = await by_way(plane, way, "first", item)
        for decision in ANSWERS:
            with pytest.raises(errors.NotAuthorized):
                await plane.approvals.decide(item, decision, by=by)
        await plane.approvals.decide(item, Decision.approve(), by="person:second")
        done = await plane.call_tool("bank.pay", {"amount": 10}, actor="agent:payer", approval=asked.approval)
        assert done.status == "done"


def _lost(**_: Any) -> str:
    raise ConnectionResetError("gone")


@pytest.mark.parametrize("way", ["own right", "deputy of", "delegate of"])
@pytest.mark.parametrize("role", ["requester", "caller", "owner"])
async def test_who_asked_worked_or_owns_does_not_say_what_became_of_it(role: str, way: str) -> None:
    """Of a call whose outcome is unknown; all of them are operators."""
    async with bank(note=_lost) as plane:
        gate = await plane.inbox.get(await at_second_stage_of_gate(plane))
        sent = await plane.call_tool("bank.note", {"amount": 1}, actor="agent:payer", case_id=gate.case_id)
        assert sent.status == "unknown" and sent.approval is not None
        plane.services.actors.person("person:cover").roles.discard("operator")
        by = await by_way(plane, way, role, sent.approval)
        for decision in (Decision.approve(), Decision.reject("no"), Decision.respond("it went")):
            with pytest.raises(errors.NotAuthorized):
                await plane.inbox.decide(sent.approval, decision, by=by)
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.claim(sent.approval, by=by)
        await plane.inbox.decide(sent.approval, Decision.respond("it went"), by="person:second")
