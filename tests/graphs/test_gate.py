"""Gates of the flow: who is asked, what a no does, what policy says, and the calls that a gate names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import Decision, Money, Person, Workflow, errors
from interlock.testing import ManualClock
from tests.graphs.office import POLICY, START_TIME, Erp, State, events, failure, office, only_item


def gated(total: Any = 70_000, **options: Any) -> Workflow:
    wf = Workflow("gated", State)
    gate = wf.approval("gate", authority="purchasing", **{"amount": lambda s: total, "show": ["note"], **options})

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": state["total"]})}

    @wf.task(skill="ending")
    async def refuse(state: Any, call: Any) -> dict[str, Any]:
        return {"note": "refused"}

    wf.flow(START, gate, order, END)
    return wf.flow(refuse, END)


async def test_it_waits_for_the_authority_and_shows_what_it_is_about() -> None:
    async with office(gated(Money(70_000, "EUR"))) as plane:
        case = await plane.start("gated", {"total": 1, "note": "pumps"}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        (waiting,) = case.waiting_for
        assert (waiting.kind, waiting.action, waiting.authority) == ("approval", "gated.gate", "purchasing")
        item = await only_item(plane, case.id)
        assert item.action["args"] == {"note": "pumps"}
        assert item.money == {"amount": 70_000, "currency": "EUR"}
        assert sorted(item.eligible) == ["person:bo", "person:cy"]
        assert item.need == {"purchasing": 1}
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["po"] == "PO-1"
        said = [e["data"]["decision"] for e in await events(plane, case.id, "policy.decided")]
        assert said == ["asked", "allowed", "allowed"]


async def test_an_integer_counts_minor_units_of_the_authority() -> None:
    async with office(gated(amount="total")) as plane:
        case = await plane.start("gated", {"total": 600_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert (item.money, item.eligible) == ({"amount": 600_000, "currency": "EUR"}, ["person:cy"])
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        assert len(await events(plane, case.id, "access.denied")) == 1


@pytest.mark.parametrize("total", [12.5, "12", True])
async def test_an_amount_that_is_none_fails_the_case(total: Any) -> None:
    async with office(gated(total)) as plane:
        case = await plane.start("gated", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert (case.status, failure(case)["code"]) == ("failed", "configuration")


async def test_a_no_ends_the_flow_and_is_recorded() -> None:
    erp = Erp()
    async with office(gated(), erp=erp) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await plane.approvals.decide(item.id, Decision.reject("no budget"), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, erp.orders) == ("completed", [])
        state = await plane.graph("gated").aget_state({"configurable": {"thread_id": case.id}})
        assert state.values["interlock_tasks"]["gate"]["problem"] == {
            "code": "rejected",
            "message": "person:bo: no budget",
        }


@pytest.mark.parametrize("answer", [Decision.reject("no"), Decision.respond("ask again in May")])
async def test_a_no_leads_to_where_the_workflow_says(answer: Decision) -> None:
    wf = gated(on_reject="refuse")
    async with office(wf) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        await plane.approvals.decide((await only_item(plane, case.id)).id, answer, by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["note"] == "refused"


async def test_a_gate_cannot_be_edited() -> None:
    async with office(gated()) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        with pytest.raises(errors.InputError, match="cannot be edited"):
            await plane.approvals.decide(item.id, Decision.edit({"note": "x"}), by="person:bo")


async def test_the_requester_does_not_approve() -> None:
    async with office(gated()) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:bo")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert item.eligible == ["person:cy"]
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")


OPEN = '@id("OPEN") permit(principal, action == Interlock::Action::"gated.gate", resource);'
SHUT = (
    '@id("SHUT") @reason("no orders in March") forbid(principal, action == Interlock::Action::"gated.gate", resource);'
)
TWO = """@id("TWO") forbid(principal, action == Interlock::Action::"gated.gate", resource)
  when { context.approved < 2 };"""


async def test_a_policy_that_asks_nobody_lets_the_flow_through() -> None:
    async with office(gated(), policy=POLICY + OPEN) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, case.values["po"]) == ("completed", "PO-1")
        assert (await plane.inbox.list(status=None)).items == []


async def test_a_policy_that_forbids_is_a_no_without_a_question() -> None:
    async with office(gated(on_reject="refuse"), policy=POLICY + SHUT) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["note"] == "refused"
        (denied,) = await events(plane, case.id, "policy.decided")
        assert denied["data"]["decision"] == "denied"
        assert denied["data"]["reasons"][0][0] == "SHUT"


async def test_two_stages_are_two_items_and_two_persons() -> None:
    async with office(gated(), policy=POLICY + TWO) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        first = await only_item(plane, case.id)
        assert first.need == {"purchasing": 2}
        await plane.approvals.decide(first.id, Decision.approve(), by="person:cy")
        case = await plane.wait(case.id, timeout=30)
        second = await only_item(plane, case.id)
        assert (second.id != first.id, second.stage, second.eligible) == (True, 1, ["person:bo"])
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(second.id, Decision.approve(), by="person:cy")
        await plane.approvals.decide(second.id, Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["po"] == "PO-1"


async def test_an_approval_is_checked_again_when_it_is_executed() -> None:
    """Between decision and execution the approver loses the authority: the gate asks somebody else."""
    wf = gated()
    async with office(wf) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await plane.pause(case.id, by="person:op")
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        bo = plane.services.actors.get("person:bo")
        assert isinstance(bo, Person)
        bo.authorities.clear()
        case = await plane.resume(case.id, by="person:op")
        case = await plane.wait(case.id, timeout=30)
        again = await only_item(plane, case.id)
        assert (again.id == item.id, again.eligible) == (False, ["person:cy"])
        await plane.approvals.decide(again.id, Decision.approve(), by="person:cy")
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"


def naming(call: Any) -> Workflow:
    return gated(call=call, for_task="order", amount=None)


def the_order(state: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "erp.create_po", {"supplier": "acme", "total": state["total"]}


async def test_a_gate_that_names_a_call_approves_that_call() -> None:
    erp = Erp()
    async with office(naming(the_order), erp=erp) as plane:
        case = await plane.start("gated", {"total": 400_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert item.action["tool"] == "erp.create_po"
        assert item.action["args"] == {"supplier": "acme", "total": 400_000}
        assert item.money == {"amount": 400_000, "currency": "EUR"}
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, erp.orders) == ("completed", [("acme", 400_000)])
        assert len((await plane.inbox.list(status=None, case_id=case.id)).items) == 1
        assert (await plane.inbox.get(item.id)).used_at is not None


async def test_a_gate_that_names_another_call_does_not_count() -> None:
    async with office(naming(lambda s: ("erp.create_po", {"supplier": "acme", "total": 399_999}))) as plane:
        case = await plane.start("gated", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        await plane.approvals.decide((await only_item(plane, case.id)).id, Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, timeout=30)
        (waiting,) = case.waiting_for
        assert (case.status, waiting.action) == ("waiting", "erp.create_po")


async def test_a_gate_is_no_approval_of_a_call_that_it_does_not_name() -> None:
    async with office(gated(Money(1, "EUR"))) as plane:
        case = await plane.start("gated", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        await plane.approvals.decide((await only_item(plane, case.id)).id, Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, timeout=30)
        assert [waiting.action for waiting in case.waiting_for] == ["erp.create_po"]


async def test_a_gate_for_a_task_that_does_not_exist() -> None:
    with pytest.raises(errors.ConfigurationError, match="no task 'nothing'"):
        gated(call=the_order, for_task="nothing").compile()


async def test_a_deadline_that_passes_is_a_no() -> None:
    clock = ManualClock(START_TIME)
    async with office(gated(sla=timedelta(hours=4), on_reject="refuse"), clock=clock) as plane:
        case = await plane.start("gated", {"total": 1}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await clock.advance(timedelta(hours=3))
        assert (await plane.inbox.get(item.id)).open
        await clock.advance(timedelta(hours=1))
        assert (await plane.inbox.get(item.id)).status == "expired"
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["note"] == "refused"
        with pytest.raises(errors.Expired):
            await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")


async def test_a_gate_whose_amount_is_not_there_asks_nobody() -> None:
    wf = Workflow("gated", State)
    gate = wf.approval("gate", authority="purchasing", amount="total")
    async with office(wf.flow(START, gate, END)) as plane:
        case = await plane.start("gated", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert (case.status, failure(case)["code"]) == ("failed", "configuration")
        assert "amount" in failure(case)["message"]
