"""Calls from outside a node: they never raise for what governance decides, and belong to a case."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import Agent, ControlPlane, Decision, Money, Person, Workflow, errors
from interlock.testing import ManualClock
from tests.graphs.office import START_TIME, Erp, State, events, office, waits_on


def buyer(plane: ControlPlane) -> None:
    plane.register_actor(Agent("buyer", scopes={"po:write"}))


def order(plane: ControlPlane, total: int = 1, **options: Any) -> Any:
    return plane.call_tool("erp.create_po", {"supplier": "acme", "total": total}, actor="agent:buyer", **options)


async def test_a_call_belongs_to_a_case_of_its_own() -> None:
    async with office() as plane:
        buyer(plane)
        result = await order(plane)
        assert (result.status, result.unwrap()) == ("done", "PO-1")
        (case,) = (await plane.cases(workflow="adhoc")).items
        assert (case.status, case.values, case.requester) == ("completed", {"result": "PO-1"}, "agent:buyer")
        kinds = [event["type"] for event in await events(plane, case.id)]
        assert kinds[0] == "case.started"
        assert {"tool.intent", "tool.outcome", "case.completed"} <= set(kinds)


async def test_each_call_is_new_unless_a_key_repeats_one() -> None:
    erp = Erp()
    async with office(erp=erp) as plane:
        buyer(plane)
        assert [(await order(plane)).value for _ in range(2)] == ["PO-1", "PO-2"]
        assert [(await order(plane, key="k")).value for _ in range(3)] == ["PO-3"] * 3
        repeated = await asyncio.gather(*(order(plane, key="p") for _ in range(5)))
        assert {result.value for result in repeated} == {"PO-4"}
        other = await order(plane, 2, key="k")
        assert (other.status, other.reasons[0].policy) == ("denied", "gateway.divergence")
        assert len(erp.orders) == 4


async def test_asked_then_approved_then_repeated() -> None:
    erp = Erp()
    async with office(erp=erp) as plane:
        buyer(plane)
        asked = await order(plane, 400_000)
        assert (asked.status, asked.approval is not None) == ("asked", True)
        with pytest.raises(errors.ApprovalNeeded):
            asked.unwrap()
        (case,) = (await plane.cases(status="waiting")).items
        assert case.waiting_for[0].item == asked.approval
        await plane.approvals.decide(asked.approval, Decision.approve(), by="person:bo")
        await asyncio.sleep(0.05)
        assert erp.orders == []  # the plane never executes it by itself
        wrong = await order(plane, 400_001, approval=asked.approval)
        assert (wrong.status, wrong.reasons[0].policy) == ("denied", "gateway.approval")
        assert (await order(plane, 400_000, approval=asked.approval)).unwrap() == "PO-1"
        again = await order(plane, 400_000, approval=asked.approval)
        assert (again.status, len(erp.orders)) == ("denied", 1)
        assert (await plane.case(case.id)).status == "completed"


async def test_approvals_of_calls_expire() -> None:
    clock = ManualClock(START_TIME)
    async with office(clock=clock) as plane:
        buyer(plane)
        asked = await order(plane, 400_000)
        item = await plane.inbox.get(asked.approval)
        assert item.due is None
        await clock.advance(timedelta(days=400))
        assert (await plane.inbox.get(asked.approval)).open


@pytest.mark.parametrize(
    ("call", "policy"),
    [
        ({"name": "erp.nothing"}, "gateway.tool"),
        ({"name": "ERP.CREATE_PO"}, "gateway.tool"),
        ({"name": None}, "gateway.tool"),
        ({"actor": "agent:nobody"}, "gateway.actor"),
        ({"actor": "person:ana"}, "gateway.scope"),
        ({"args": {"supplier": "acme"}}, "gateway.schema"),
        ({"args": None}, "gateway.schema"),
        ({"approval": "nothing"}, "gateway.approval"),
        ({"case_id": "nothing"}, "gateway.scope"),
    ],
)
async def test_what_is_not_let_through_is_a_result(call: dict[str, Any], policy: str) -> None:
    async with office() as plane:
        buyer(plane)
        given = {"name": "erp.create_po", "args": {"supplier": "a", "total": 1}, "actor": "agent:buyer", **call}
        result = await plane.call_tool(given.pop("name"), given.pop("args"), **given)
        assert (result.status, result.reasons[0].policy) == ("denied", policy)


async def test_a_call_inside_a_case_needs_an_open_task() -> None:
    wf = Workflow("reviews", State)
    wf.task("review", skill="checking", tools=["erp.create_po"])
    async with office(wf.flow(START, "review", END)) as plane:
        buyer(plane)
        plane.register_actor(Person("rita", skills={"checking"}))
        case = await plane.start("reviews", {}, requester="person:bo")
        case = await plane.wait(case.id, timeout=30)
        inside = await order(plane, case_id=case.id, task="review")
        assert inside.unwrap() == "PO-1"
        (outcome,) = await events(plane, case.id, "tool.outcome")
        assert outcome["data"]["task"] == "review"
        stock = await plane.call_tool("erp.stock", {"item": "x"}, actor="agent:buyer", case_id=case.id, task="review")
        assert stock.reasons[0].policy == "gateway.scope"  # not among the task's tools
        assert (await order(plane, case_id=case.id, task="other")).reasons[0].policy == "gateway.scope"
        item = waits_on(case)
        assert item is not None
        who = (await plane.inbox.get(item)).assignee
        await plane.inbox.complete(item, {"note": "ok"}, by=str(who))
        await plane.wait(case.id, until="ended", timeout=30)
        late = await order(plane, case_id=case.id, task="review")
        assert (late.status, "completed" in late.reasons[0].text) == ("denied", True)


async def test_an_unknown_outcome_waits_for_a_person() -> None:
    async with office(erp=Erp(failures=[TimeoutError("lost")])) as plane:
        buyer(plane)
        result = await order(plane, key="k")
        assert result.status == "unknown"
        with pytest.raises(errors.UnknownOutcome):
            result.unwrap()
        await plane.inbox.decide(str(result.approval), Decision.respond("PO-77"), by="person:op")
        assert (await order(plane, key="k")).unwrap() == "PO-77"
        (case,) = (await plane.cases()).items
        assert case.status == "completed"


async def test_nothing_that_a_caller_gives_raises() -> None:
    async with office() as plane:
        buyer(plane)
        odd = ["\ud800", "", 3, {"a": 1}, None, "x" * 10_000]
        given = [{place: value} for place in ("name", "actor", "case_id", "task", "approval", "key") for value in odd]
        decisions = []
        for one in given:
            args: Any = {"supplier": "a", "total": 1}
            call: dict[str, Any] = {"name": "erp.create_po", "actor": "agent:buyer", **one}
            result = await plane.call_tool(call.pop("name"), args, **call)
            assert result.status in ("done", "denied"), one
            decisions.append("allowed" if result.status == "done" else "denied")
        recorded = [event["data"]["decision"] for event in await events(plane, None, "policy.decided")]
        assert recorded == decisions
        assert (await plane.ledger.verify()).ok


async def test_a_rejected_call_ends_its_case_when_it_is_repeated() -> None:
    async with office() as plane:
        buyer(plane)
        asked = await order(plane, 400_000)
        await plane.approvals.decide(str(asked.approval), Decision.reject("too much"), by="person:bo")
        with pytest.raises(errors.Rejected, match="too much") as rejected:
            (await order(plane, 400_000, approval=asked.approval)).unwrap()
        assert (rejected.value.by, rejected.value.why) == ("person:bo", "too much")
        (case,) = (await plane.cases(workflow="adhoc")).items
        assert (case.status, case.error and case.error["message"]) == ("failed", "too much")


async def test_who_has_worked_on_the_case_does_not_approve_a_call_in_it() -> None:
    wf = Workflow("reviews", State)
    for task in ("prepare", "review"):
        wf.task(task, skill=task, tools=["erp.create_po"])
    async with office(wf.flow(START, "prepare", "review", END)) as plane:
        buyer(plane)
        purchasing = {"purchasing": Money(10_000_000, "EUR")}
        plane.register_actor(Person("pat", skills={"prepare"}, authorities=purchasing))
        plane.register_actor(Person("rita", skills={"review"}, authorities=purchasing))
        case = await plane.start("reviews", {}, requester="person:cy")
        case = await plane.wait(case.id, timeout=30)
        await plane.inbox.complete(waits_on(case), {"note": "ready"}, by="person:pat")
        case = await plane.wait(case.id, timeout=30)
        asked = await order(plane, 400_000, case_id=case.id, task="review")
        assert (await plane.inbox.get(str(asked.approval))).eligible == ["person:bo"]
        for apart in ("pat", "rita", "cy"):
            with pytest.raises(errors.NotAuthorized, match="apart"):
                await plane.approvals.decide(str(asked.approval), Decision.approve(), by=f"person:{apart}")


async def test_every_way_a_call_ends_says_what_to_do() -> None:
    async def broken() -> None:
        raise RuntimeError("broken")

    async with office(erp=Erp(failures=[TimeoutError("lost")])) as plane:
        buyer(plane)
        plane.register_tool(broken, name="erp.broken")
        asked = await order(plane, 400_000)
        await plane.approvals.decide(str(asked.approval), Decision.reject("no"), by="person:bo")
        ends: dict[type[errors.InterlockError], Any] = {
            errors.ApprovalNeeded: asked,
            errors.Rejected: await order(plane, 400_000, approval=asked.approval),
            errors.UnknownOutcome: await order(plane),
            errors.Denied: await plane.call_tool("erp.create_po", {}, actor="agent:buyer"),
            errors.ToolFailed: await plane.call_tool("erp.broken", {}, actor="agent:buyer"),
        }
        for kind, result in ends.items():
            with pytest.raises(kind) as raised:
                result.unwrap()
            assert type(raised.value) is kind
            assert raised.value.message
            assert raised.value.hint
