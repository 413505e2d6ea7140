"""Drain: open cases go on, no new one begins, whatever is drained; and who has set which switch, when and why."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from interlock import Agent, ControlPlane, Decision, Person, Workflow, errors, governed
from interlock.oversight.switches import Setting
from interlock.testing import ManualClock
from interlock.tools.tool import invoke
from tests.graphs.office import START_TIME, Erp, State, buying, events, office, waits_on

TARGETS = ["agent:buying.order", "tool:erp.create_po", "system:erp", "workflow:buying", "tenant:default", "all"]


async def start(plane: ControlPlane, workflow: str = "buying", **value: Any) -> str:
    """How a new case ends: its status, or why it did not begin."""
    try:
        case = await plane.start(workflow, value, requester="person:ana")
    except errors.Denied as no:
        return no.message
    return (await plane.wait(case.id, timeout=60)).status


@pytest.mark.parametrize("target", TARGETS)
async def test_open_cases_go_on_and_no_new_one_begins(target: str) -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        item = waits_on(await plane.wait(case.id, timeout=60))
        await plane.switch(target, "drain", by="person:op", comment="to be replaced")
        why = f"{target} is set to drain by person:op: to be replaced"
        assert await start(plane) == f"'buying' takes no new cases: {why}"
        (refused,) = await plane.start_many("buying", [{"total": 1}], requester="person:ana")
        assert isinstance(refused, errors.Denied) and why in refused.message
        assert [e["data"]["why"] for e in await events(plane, None, "access.denied")] == [why] * 2
        await plane.approvals.decide(item, Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=60)
        assert (case.status, erp.orders) == ("completed", [("acme", 400_000)])
        await plane.switch(target, "on", by="person:op")
        assert await start(plane, total=1) == "completed"


@pytest.mark.parametrize("target", ["agent:other.order", "tool:erp.stock", "system:crm", "workflow:selling"])
async def test_what_a_workflow_does_not_use_keeps_no_case_from_it(target: str) -> None:
    async with office(buying()) as plane:
        await plane.switch(target, "drain", by="person:op")
        assert await start(plane, total=1) == "completed"


async def test_a_task_of_open_cases_is_done_by_a_drained_agent_that_alone_can_do_it() -> None:
    """It is drained before the open case has come to it."""
    wf = Workflow("slow", State)

    @wf.task(skill="stock", tools=["erp.create_po"], scopes={"po:write"})
    async def first(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "a", "total": state["total"]})}

    @wf.task(skill="noting")
    async def second(state: Any, call: Any) -> dict[str, Any]:
        return {"note": "noted"}

    async with office(wf.flow(START, first, second, END)) as plane:
        case = await plane.start("slow", {"total": 400_000}, requester="person:ana")
        item = waits_on(await plane.wait(case.id, timeout=60))
        await plane.switch("agent:slow.second", "drain", by="person:op")
        await plane.approvals.decide(item, Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, until="ended", timeout=60)).values["note"] == "noted"


async def test_other_agents_take_what_a_drained_one_would_have_done() -> None:
    done: list[str] = []

    def worker(name: str) -> Agent:
        async def run(state: Any, call: Any) -> dict[str, Any]:
            done.append(name)
            return {"note": name}

        return Agent(name, skills={"sorting"}, run=run)

    wf = Workflow("sorting", State)
    wf.task("sort", skill="sorting")
    async with office(wf.flow(START, "sort", END)) as plane:
        plane.register_actor(worker("a"))
        plane.register_actor(worker("b"))
        plane.register_actor(Person("eve", skills={"sorting"}))
        assert await start(plane, "sorting") == "completed"
        await plane.switch("agent:a", "drain", by="person:op")
        assert await start(plane, "sorting") == "completed"
        assert done == ["a", "b"]
        await plane.switch("agent:b", "off", by="person:op")
        assert "agent:a is set to drain" in await start(plane, "sorting")
        await plane.switch("agent:a", "on", by="person:op")
        await plane.switch("agent:b", "drain", by="person:op")
        assert await start(plane, "sorting") == "completed"
        assert done == ["a", "b", "a"]


async def test_a_node_of_a_plain_graph_counts_as_well() -> None:
    async def order(state: Any) -> dict[str, Any]:
        return {"po": (await invoke("erp.create_po", {"supplier": "acme", "total": 1})).unwrap()}

    erp = Erp()
    builder: Any = StateGraph(State).add_node("order", order).add_edge(START, "order").add_edge("order", END)
    async with office(erp=erp) as plane:
        plane.register(governed(builder, name="plain", tools={"erp.create_po": erp.create_po}))
        for target in ("agent:plain.order", "tool:erp.create_po", "system:erp"):
            await plane.switch(target, "drain", by="person:op")
            assert f"{target} is set to drain" in await start(plane, "plain")
            await plane.switch(target, "on", by="person:op")
        assert await start(plane, "plain") == "completed"


async def test_a_child_of_an_open_case_begins() -> None:
    wf = Workflow("parent", State)

    @wf.task(skill="delegating", tools=["erp.stock"])
    async def delegate(state: Any, call: Any) -> dict[str, Any]:
        await plane.switch("workflow:buying", "drain", by="person:op")
        return {"po": (await call.start("buying", {"total": 1}, wait=True))["po"]}

    async with office(wf.flow(START, delegate, END), buying()) as plane:
        case = await plane.start("parent", {}, requester="person:ana")
        assert (await plane.wait(case.id, until="ended", timeout=60)).values["po"] == "PO-1"


@pytest.mark.parametrize("target", ["agent:buying.order", "tool:erp.create_po", "system:erp", "workflow:adhoc", "all"])
async def test_a_new_call_from_outside_is_refused_and_one_that_was_asked_about_goes_on(target: str) -> None:
    erp, args = Erp(), {"supplier": "acme", "total": 400_000}
    async with office(buying(), erp=erp) as plane:
        asked = await plane.call_tool("erp.create_po", args, actor="agent:buying.order")
        await plane.approvals.decide(str(asked.approval), Decision.approve(), by="person:bo")
        await plane.switch(target, "drain", by="person:op", comment="to be replaced")
        refused = await plane.call_tool("erp.create_po", {**args, "total": 1}, actor="agent:buying.order")
        assert (refused.status, refused.reasons[0].policy) == ("denied", "gateway.switch")
        assert refused.reasons[0].text == f"{target} is set to drain by person:op: to be replaced"
        done = await plane.call_tool("erp.create_po", args, actor="agent:buying.order", approval=asked.approval)
        assert (done.status, erp.orders) == ("done", [("acme", 400_000)])


async def test_the_history_of_switches_says_from_what_to_what_by_whom_why_and_when() -> None:
    clock = ManualClock(START_TIME)
    async with office(buying(), clock=clock) as plane:
        plane.register_actor(Person("eve"))
        for target, state, by, comment in (
            ("tool:erp.stock", "off", "person:op", "wrong"),
            ("all", "drain", "person:eve", ""),
            ("tool:erp.stock", "on", "person:eve", "right again"),
            ("tool:erp.stock", "off", "person:op", "wrong again ✓"),
        ):
            await plane.switch(target, state, by=by, comment=comment)
            at = clock.now()
        found = await plane.switches.history("tool:erp.stock")
        assert [(s.before, s.state, s.by, s.comment) for s in found] == [
            ("on", "off", "person:op", "wrong"),
            ("off", "on", "person:eve", "right again"),
            ("on", "off", "person:op", "wrong again ✓"),
        ]
        everything = await plane.switches.history()
        assert [s.target for s in everything] == ["tool:erp.stock", "all", "tool:erp.stock", "tool:erp.stock"]
        stamp = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert everything[1] == Setting("default", "all", "on", "drain", "person:eve", "", stamp)
        assert await plane.switches.history("system:erp") == []
        assert [s.target for s in plane.switches.list()] == ["all", "tool:erp.stock"]
        with pytest.raises(errors.InputError):
            await plane.switches.history("nonsense")
