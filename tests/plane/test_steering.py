"""What people do to running cases: cancel, pause, resume, fork; and what child cases do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START

from interlock import Decision, Person, Workflow, errors
from tests.graphs.office import Erp, State, asked_to_drain, buying, events, failure, office, only_item, waits_on


async def test_cancel_waits_for_the_effect_in_flight_and_ends_the_case() -> None:
    erp = Erp(release=asyncio.Event())
    async with office(buying(), erp=erp) as plane:
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        await erp.entered.wait()
        cancelling = asyncio.create_task(plane.cancel(case.id, by="person:op", comment="wrong supplier"))
        waiting = asyncio.create_task(plane.wait(case.id, until="ended", timeout=30))
        await asyncio.sleep(0.05)
        assert not cancelling.done()
        assert erp.release is not None
        erp.release.set()
        case = await cancelling
        assert (case.status, failure(case)["message"]) == ("cancelled", "wrong supplier")
        assert (await waiting).status == "cancelled"
        assert len(erp.orders) == 1
        (outcome,) = await events(plane, case.id, "tool.outcome")
        assert outcome["data"]["status"] == "done"
        with pytest.raises(errors.Conflict, match="cancelled"):
            await plane.cancel(case.id, by="person:op")


async def test_cancel_closes_what_waits() -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        item = waits_on(case)
        with pytest.raises(errors.NotFound):
            await plane.cancel(case.id, by="person:mallory")
        await plane.cancel(case.id, by="person:op")
        with pytest.raises(errors.AlreadyDecided):
            await plane.approvals.decide(str(item), Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, until="ended", timeout=5)).status == "cancelled"


async def test_code_that_swallows_its_cancellation_cannot_write_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlock.graphs.engine.embedded._GRACE_S", 0.05)
    erp, entered, go = Erp(), asyncio.Event(), asyncio.Event()
    wf = Workflow("stubborn", State)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        entered.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": 1})}

    async with office(wf.flow(START, order, END), erp=erp) as plane:
        case = await plane.start("stubborn", {}, requester="person:ana")
        await entered.wait()
        case = await plane.cancel(case.id, by="person:op")
        assert case.status == "cancelled"
        go.set()
        await asyncio.sleep(0.1)
        assert (erp.orders, (await plane.case(case.id)).status) == ([], "cancelled")
        assert await events(plane, case.id, "tool.intent") == []


async def test_a_paused_case_stops_at_its_next_step_and_goes_on() -> None:
    seen: list[str] = []
    entered, go = asyncio.Event(), asyncio.Event()
    wf = Workflow("steps", State)

    async def one(state: Any) -> None:
        seen.append("one")
        entered.set()
        await go.wait()

    async def two(state: Any) -> None:
        seen.append("two")

    wf.add_node("one", one)
    wf.add_node("two", two)
    wf.add_edge(START, "one").add_edge("one", "two").add_edge("two", END)
    async with office(wf) as plane:
        case = await plane.start("steps", {}, requester="person:ana")
        await entered.wait()
        pausing = asyncio.create_task(plane.pause(case.id, by="person:op", comment="wait"))
        await asked_to_drain(plane, case.id)
        go.set()
        case = await pausing
        assert (case.status, seen) == ("queued", ["one"])
        assert [(w.kind, w.action) for w in case.waiting_for] == [("plane", "paused")]
        assert (await plane.wait(case.id, timeout=0.05)).status == "queued"
        await plane.resume(case.id, by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, seen) == ("completed", ["one", "two"])
        assert [e["type"] for e in await events(plane, case.id, "case.paused", "case.resumed")] == [
            "case.paused",
            "case.resumed",
        ]


async def test_an_answer_to_a_paused_case_waits_until_it_goes_on() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await plane.pause(case.id, by="person:op")
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, timeout=0.1)).status == "queued"
        assert erp.orders == []
        await plane.resume(case.id, by="person:op")
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"


async def test_a_fork_goes_on_from_a_checkpoint_and_writes_nothing() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        case = await plane.start("buying", {"total": 5}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        graph = plane.graph("buying")
        config: RunnableConfig = {"configurable": {"thread_id": case.id}}
        history = [state async for state in graph.aget_state_history(config)]
        first = next(state for state in reversed(history) if state.next == ("order",))
        fork = await plane.fork(
            case.id, checkpoint_id=first.config.get("configurable", {})["checkpoint_id"], by="person:op", comment="why?"
        )
        fork = await plane.wait(fork.id, until="ended", timeout=30)
        assert (fork.id != case.id, fork.status, fork.values["po"]) == (True, "completed", "PO-1")
        assert len(erp.orders) == 1
        assert len(await events(plane, fork.id, "policy.shadowed")) == 1
        (told,) = await events(plane, case.id, "case.forked")
        assert (told["data"]["fork"], told["data"]["comment"]) == (fork.id, "why?")
        assert (await plane.case(case.id)).status == "completed"


async def test_a_fork_of_a_waiting_case_asks_for_itself() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        fork = await plane.fork(case.id, by="person:op")
        fork = await plane.wait(fork.id, timeout=30)
        assert fork.waiting_for[0].item != waits_on(case)
        await plane.approvals.decide(waits_on(fork), Decision.approve(), by="person:bo")
        assert (await plane.wait(fork.id, until="ended", timeout=30)).status == "completed"
        assert erp.orders == []
        assert (await plane.wait(case.id, timeout=30)).status == "waiting"
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, until="ended", timeout=30)).values["po"] == "PO-1"


async def test_forks_of_what_is_not_there() -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 5}, requester="person:ana")
        await plane.wait(case.id, until="ended", timeout=30)
        with pytest.raises(errors.NotFound, match="checkpoint"):
            await plane.fork(case.id, checkpoint_id="nowhere", by="person:op")
        with pytest.raises(errors.NotFound, match="no case"):
            await plane.fork("nothing", by="person:op")
        assert len((await plane.cases()).items) == 1


def parent(wait: bool = True, times: int = 1) -> Workflow:
    wf = Workflow("parent", State)

    @wf.task(skill="delegating")
    async def delegate(state: Any, call: Any) -> dict[str, Any]:
        made = [await call.start("buying", {"total": state["total"]}, wait=wait) for _ in range(times)]
        return {"log": [str(one["po"]) if wait else one for one in made]}

    return wf.flow(START, delegate, END)


async def test_a_child_case_gives_its_result_once() -> None:
    erp = Erp()
    async with office(buying(), parent(times=2), erp=erp) as plane:
        case = await plane.start("parent", {"total": 7}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.values["log"], len(erp.orders)) == (["PO-1", "PO-2"], 2)
        children = (await plane.cases(workflow="buying")).items
        assert [(child.parent, child.requester) for child in children] == [(case.id, "person:ana")] * 2


async def test_a_parent_waits_while_its_child_waits_for_a_person() -> None:
    async with office(buying(), parent()) as plane:
        case = await plane.start("parent", {"total": 400_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert case.status == "waiting"
        (child,) = (await plane.cases(workflow="buying")).items
        assert [(w.kind, w.item, w.action) for w in case.waiting_for] == [("case", child.id, "buying")]
        child = await plane.wait(child.id, timeout=30)
        plane.register_actor(Person("new"))  # what is registered anew drives no case that waits for a child
        await plane.ready()
        assert (await plane.case(case.id)).status == "waiting"
        await plane.approvals.decide(waits_on(child), Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.values["log"], case.waiting_for) == (["PO-1"], [])


async def test_the_end_of_a_fork_does_not_move_the_case_it_came_from() -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        before = await plane.case(case.id)
        fork = await plane.fork(case.id, by="person:op")
        fork = await plane.wait(fork.id, timeout=30)
        await plane.cancel(fork.id, by="person:op")
        assert await plane.case(case.id) == before


async def test_a_child_that_is_cancelled_is_an_exception_of_its_parent() -> None:
    async with office(buying(), parent()) as plane:
        case = await plane.start("parent", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        (child,) = (await plane.cases(workflow="buying")).items
        await plane.wait(child.id, timeout=30)
        await plane.cancel(child.id, by="person:op")
        await asyncio.sleep(0)
        case = await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert (item.kind, "cancelled" in item.reasons[0].text) == ("exception", True)


async def test_a_child_that_nobody_waits_for() -> None:
    async with office(buying(), parent(wait=False)) as plane:
        case = await plane.start("parent", {"total": 1}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        child = await plane.wait(case.values["log"][0], until="ended", timeout=30)
        assert child.values["po"] == "PO-1"


async def test_switching_a_workflow_off_parks_its_cases() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await plane.switch("workflow:buying", "off", by="person:op", comment="audit")
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, timeout=30)
        assert (case.waiting_for[0].kind, "audit" in case.waiting_for[0].action) == ("plane", True)
        assert erp.orders == []
        await plane.switch("workflow:buying", "on", by="person:op")
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"
