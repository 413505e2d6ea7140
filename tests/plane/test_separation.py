"""Separation of duties: nobody who takes part in a case gets through, whatever the item and the way of answering."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from interlock import Agent, ControlPlane, Decision, Money, Person, errors

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
async def bank() -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(":memory:", policies={"t.cedar": POLICY}) as plane:
        options: dict[str, Any] = {"system": "bank", "scope": "bank", "effect": "write", "args_schema": Pay}
        plane.register_tool(_nothing, name="bank.pay", money=lambda args: Money(args["amount"], "EUR"), **options)
        plane.register_tool(_nothing, name="bank.note", **options)
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
