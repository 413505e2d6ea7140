"""What LangGraph cancels and tries again: siblings, time-outs, retries; the effect happens once all the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from interlock import ControlPlane, Decision, Workflow, governed
from interlock.graphs.cases import Case
from interlock.tools.tool import invoke
from tests.graphs.office import Erp, State, events, failure, office, waits_on

AGAIN = RetryPolicy(1e-3, backoff_factor=1, max_attempts=1000, jitter=False, retry_on=lambda exc: True)


def ordering(name: str = "ordering") -> Workflow:
    """One order."""
    wf = Workflow(name, State)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": state.get("total", 1)})}

    return wf.flow(START, order, END)


def around(inner: Any, **options: Any) -> Workflow:
    """A plain node that encloses a workflow."""
    wf = Workflow("around", State)
    wf.add_node("inner", inner, **options)
    wf.add_edge(START, "inner").add_edge("inner", END)
    return wf


async def ran(plane: ControlPlane, name: str, value: Any = None) -> Case:
    case = await plane.start(name, value or {}, requester="person:ana")
    return await plane.wait(case.id, timeout=30)


async def being_ended(plane: ControlPlane, name: str) -> Case:
    """A case that has failed, and has something to wait for before it ends."""
    case = await plane.start(name, {}, requester="person:ana")
    while (case := await plane.case(case.id)).ending is None:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.01)
    return case


async def outcomes(plane: ControlPlane, case: Case) -> list[str]:
    return [event["data"]["status"] for event in await events(plane, case.id, "tool.outcome")]


@pytest.mark.parametrize("limit", [0.3, timedelta(seconds=0.3)])
async def test_a_time_out_around_an_effect_joins_it_when_it_is_tried_again(limit: Any) -> None:
    erp, sub = Erp(release=asyncio.Event()), ordering()
    times_out, twice = iter(range(1000)), asyncio.Event()

    def again(exc: Exception) -> bool:
        """Always; and tell when the order, once it was on its way, has been timed out around twice."""
        if erp.entered.is_set() and next(times_out) == 1:
            twice.set()
        return True

    wf = around(sub.compile(), timeout=limit, retry_policy=AGAIN._replace(retry_on=again))
    async with office(sub, wf, erp=erp) as plane:
        case = await plane.start("around", {}, requester="person:ana")
        await twice.wait()
        assert erp.release is not None
        erp.release.set()
        case = await plane.wait(case.id, timeout=30)
        assert (case.status, case.values["po"], erp.orders) == ("completed", "PO-1", [("acme", 1)])
        assert await outcomes(plane, case) == ["done"]


async def test_a_time_out_without_another_try_fails_the_case_once_its_effect_is_recorded() -> None:
    erp, sub = Erp(release=asyncio.Event()), ordering()
    until_under_way = AGAIN._replace(retry_on=lambda exc: not erp.entered.is_set())
    async with office(sub, around(sub.compile(), timeout=0.2, retry_policy=until_under_way), erp=erp) as plane:
        case = await being_ended(plane, "around")
        assert (case.ending, failure(case)["code"], erp.orders) == ("failed", "NodeTimeoutError", [])
        assert erp.release is not None
        erp.release.set()
        case = await plane.wait(case.id, "ended", timeout=20)
        assert (case.status, erp.orders, await outcomes(plane, case)) == ("failed", [("acme", 1)], ["done"])


async def test_a_node_that_is_tried_again_finds_its_subgraph_where_it_left_it() -> None:
    """LangGraph alone would give each attempt's subgraph a namespace of its own, and order three times."""
    erp, sub, tries = Erp(), ordering(), []
    inner = sub.compile()

    async def failing(state: Any) -> Any:
        out = await inner.ainvoke(state)
        tries.append(out["po"])
        if len(tries) < 3:
            raise ConnectionError("afterwards")
        return {"po": out["po"]}

    async with office(sub, around(failing, retry_policy=AGAIN), erp=erp) as plane:
        case = await ran(plane, "around")
        assert (case.status, tries, erp.orders) == ("completed", ["PO-1"] * 3, [("acme", 1)])
        assert await outcomes(plane, case) == ["done"]


async def test_retries_by_default_count_as_well() -> None:
    erp, sub, tries = Erp(), ordering(), []
    inner = sub.compile()

    async def failing(state: Any) -> Any:
        out = await inner.ainvoke(state)
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("afterwards")
        return out

    wf = around(failing)
    wf.set_node_defaults(retry_policy=AGAIN)
    async with office(sub, wf, erp=erp) as plane:
        case = await ran(plane, "around")
        assert (case.status, len(tries), erp.orders) == ("completed", 3, [("acme", 1)])


async def test_two_subgraphs_of_one_node_are_told_apart_on_every_try() -> None:
    erp, sub, tries = Erp(), ordering(), []
    inner = sub.compile()

    async def twice(state: Any) -> Any:
        first = await inner.ainvoke({"total": 1})
        tries.append(first["po"])
        if len(tries) < 3:
            raise ConnectionError("between both")
        second = await inner.ainvoke({"total": 2})
        return {"log": [first["po"], second["po"]]}

    async with office(sub, around(twice, retry_policy=AGAIN), erp=erp) as plane:
        case = await ran(plane, "around")
        assert (case.values["log"], erp.orders) == (["PO-1", "PO-2"], [("acme", 1), ("acme", 2)])


async def test_a_question_inside_a_node_that_was_tried_again_is_asked_once() -> None:
    erp, sub, tries = Erp(), ordering(), []
    inner = sub.compile()

    async def failing(state: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("before")
        return await inner.ainvoke(state)

    async with office(sub, around(failing, retry_policy=AGAIN), erp=erp) as plane:
        case = await ran(plane, "around", {"total": 400_000})
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, erp.orders) == ("completed", [("acme", 400_000)])
        assert len(await events(plane, case.id, "inbox.opened")) == 1


async def test_an_agents_own_graph_inside_a_governed_node_goes_on_when_the_node_is_tried_again() -> None:
    erp, tries = Erp(), []

    async def act(state: Any) -> dict[str, Any]:
        return {"po": (await invoke("erp.create_po", {"supplier": "acme", "total": 1})).unwrap()}

    agent: Any = StateGraph(State).add_node("act", act).add_edge(START, "act").add_edge("act", END).compile()

    async def buy(state: Any) -> Any:
        out = await agent.ainvoke(state)
        tries.append(out["po"])
        if len(tries) < 3:
            raise ConnectionError("afterwards")
        return {"po": out["po"]}

    builder: Any = StateGraph(State).add_node("buy", buy, retry_policy=AGAIN)
    builder.add_edge(START, "buy").add_edge("buy", END)
    async with office(erp=erp) as plane:
        plane.register(governed(builder, name="plain", tools={"erp.create_po": erp.create_po}))
        case = await ran(plane, "plain")
        assert (case.status, tries, erp.orders) == ("completed", ["PO-1"] * 3, [("acme", 1)])


async def test_a_sibling_that_raises_does_not_lose_the_effect_in_flight() -> None:
    erp = Erp(release=asyncio.Event())
    wf = Workflow("pair", State)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": 1})}

    async def boom(state: Any) -> None:
        await erp.entered.wait()
        raise RuntimeError("boom")

    wf.add_node("before", lambda state: {})  # while the task is routed
    wf.add_node("boom", boom)
    wf.add_edge(START, order).add_edge(START, "before").add_edge("before", "boom").add_edge(order, END)
    async with office(wf, erp=erp) as plane:
        case = await being_ended(plane, "pair")
        assert (case.ending, failure(case)["message"], erp.orders) == ("failed", "boom", [])
        assert erp.release is not None
        erp.release.set()
        case = await plane.wait(case.id, "ended", timeout=30)
        assert (case.status, failure(case)["message"]) == ("failed", "boom")
        assert (erp.orders, await outcomes(plane, case)) == ([("acme", 1)], ["done"])
        assert (await plane.ledger.verify()).ok


async def test_a_parallel_call_that_raises_leaves_the_other_one_to_its_end() -> None:
    erp = Erp(release=asyncio.Event())
    wf = Workflow("pair", State)

    @wf.task(skill="buying", tools=["erp.create_po", "erp.stock"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        slow = call("erp.create_po", {"supplier": "acme", "total": 1}, key="slow")
        done = await asyncio.gather(slow, call("erp.stock", {"unknown": 1}))
        return {"po": done[0]}

    async with office(wf.flow(START, order, END), erp=erp) as plane:
        case = await plane.start("pair", {}, requester="person:ana")
        await erp.entered.wait()
        assert erp.release is not None
        asyncio.get_running_loop().call_later(0.05, erp.release.set)
        case = await plane.wait(case.id, timeout=30)
        assert (case.status, case.waiting_for[0].kind, erp.orders) == ("waiting", "exception", [("acme", 1)])
        assert await outcomes(plane, case) == ["done"]
