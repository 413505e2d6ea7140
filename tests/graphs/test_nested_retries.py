"""Nodes of plain graphs that LangGraph tries again around governed calls: each effect happens once all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from interlock import Agent, Workflow, errors, governed
from interlock.graphs.cases import Case
from interlock.tools.tool import invoke
from tests.graphs.office import Erp, State, events, failure, office
from tests.graphs.test_cancellation import AGAIN, ordering, outcomes, ran

Run = Callable[[Any], Awaitable[Any]]
ORDER = {"supplier": "acme", "total": 1}
SHORT = AGAIN._replace(max_attempts=3)


def graph_of(node: Any, **options: Any) -> Any:
    """A plain graph of one node."""
    builder: Any = StateGraph(State).add_node("only", node, **options)
    return builder.add_edge(START, "only").add_edge("only", END).compile()


async def act(state: Any) -> dict[str, Any]:
    return {"po": (await invoke("erp.create_po", ORDER)).unwrap()}


def calling(graph: Any) -> Run:
    """A node that encloses a graph."""

    async def node(state: Any) -> Any:
        return await graph.ainvoke(state)

    return node


def failing(run: Run, tries: list[Any], times: int = 2) -> Any:
    """Do it, and fail so many times when it is done."""

    async def node(state: Any) -> Any:
        out = await run(state)
        tries.append(out.get("po"))
        if len(tries) <= times:
            raise ConnectionError("afterwards")
        return {"po": out["po"]}

    return node


async def bought(run: Any, erp: Erp) -> tuple[Case, list[str], int]:
    """A case in which an agent does it: the case, what came of its calls, and how many intents there were."""
    wf = Workflow("bought", State)
    wf.task("buy", skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async with office(wf.flow(START, "buy", END), erp=erp) as plane:
        plane.register_actor(Agent("buyer", skills={"buying"}, scopes={"po:write"}, run=run))
        case = await ran(plane, "bought")
        intents = await events(plane, case.id, "tool.intent")
        assert (await plane.ledger.verify()).ok
        return case, await outcomes(plane, case), len(intents)


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_an_agents_graph_that_tries_a_node_again_acts_once(depth: int) -> None:
    erp, tries = Erp(), list[Any]()
    run: Run = act
    for _ in range(depth):
        run = calling(graph_of(run))
    case, outcome, intents = await bought(graph_of(failing(run, tries), retry_policy=AGAIN), erp)
    assert (case.status, tries, erp.orders) == ("completed", ["PO-1"] * 3, [("acme", 1)])
    assert (outcome, intents) == (["done"], 1)


async def test_retries_inside_of_retries() -> None:
    erp, inner, outer = Erp(), list[Any](), list[Any]()
    within = graph_of(failing(calling(graph_of(act)), inner), retry_policy=AGAIN)
    case, outcome, _ = await bought(graph_of(failing(calling(within), outer), retry_policy=AGAIN), erp)
    assert (case.status, outer, erp.orders, outcome) == ("completed", ["PO-1"] * 3, [("acme", 1)], ["done"])
    assert set(inner) == {"PO-1"}


async def test_a_code_agent_whose_graph_tries_again_acts_once() -> None:
    erp, tries = Erp(), list[Any]()
    plain = graph_of(failing(calling(graph_of(act)), tries), retry_policy=AGAIN)

    async def run(state: Any, call: Any) -> Any:
        return {"po": (await plain.ainvoke({}))["po"]}

    case, outcome, _ = await bought(run, erp)
    assert (case.status, tries, erp.orders, outcome) == ("completed", ["PO-1"] * 3, [("acme", 1)], ["done"])


async def test_a_code_task_whose_graph_tries_again_acts_once() -> None:
    erp, tries, wf = Erp(), list[Any](), Workflow("coded", State)
    plain = graph_of(failing(calling(graph_of(act)), tries), retry_policy=AGAIN)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def buy(state: Any, call: Any) -> dict[str, Any]:
        return {"po": (await plain.ainvoke({}))["po"]}

    async with office(wf.flow(START, buy, END), erp=erp) as plane:
        case = await ran(plane, "coded")
        assert (case.status, tries, erp.orders) == ("completed", ["PO-1"] * 3, [("acme", 1)])


async def test_a_workflow_inside_a_plain_graph_that_tries_again() -> None:
    erp, tries, sub = Erp(), list[Any](), ordering()
    plain = graph_of(failing(calling(sub.compile()), tries), retry_policy=AGAIN)
    wf = Workflow("around", State)
    wf.add_node("plain", plain)
    wf.add_edge(START, "plain").add_edge("plain", END)
    async with office(sub, wf, erp=erp) as plane:
        case = await ran(plane, "around")
        assert (case.status, tries, erp.orders) == ("completed", ["PO-1"] * 3, [("acme", 1)])
        assert await outcomes(plane, case) == ["done"]


async def test_a_time_out_inside_a_plain_graph_joins_the_effect_in_flight() -> None:
    erp, timed_out, times = Erp(release=asyncio.Event()), asyncio.Event(), iter(range(1000))

    def again(exc: Exception) -> bool:
        if erp.entered.is_set() and next(times) == 1:
            timed_out.set()
        return True

    plain = graph_of(calling(graph_of(act)), timeout=0.2, retry_policy=AGAIN._replace(retry_on=again))
    builder: Any = StateGraph(State).add_node("buy", plain).add_edge(START, "buy").add_edge("buy", END)
    async with office(erp=erp) as plane:
        plane.register(governed(builder, name="timed", tools={"erp.create_po": erp.create_po}))
        case = await plane.start("timed", {}, requester="person:ana")
        await timed_out.wait()
        assert erp.release is not None
        erp.release.set()
        case = await plane.wait(case.id, timeout=60)
        assert (case.status, case.values["po"], erp.orders) == ("completed", "PO-1", [("acme", 1)])
        assert await outcomes(plane, case) == ["done"]


async def test_our_errors_are_not_tried_again_inside_a_plain_graph() -> None:
    tries = list[int]()

    async def denied(state: Any) -> None:
        tries.append(1)
        raise errors.Denied("no")

    case, _, _ = await bought(graph_of(denied, retry_policy=[SHORT, AGAIN]), Erp())
    assert (case.status, tries) == ("waiting", [1])


async def test_an_entrypoint_that_is_tried_again_acts_once() -> None:
    erp, tries = Erp(), list[Any]()
    inner = graph_of(act)

    @entrypoint(retry_policy=AGAIN)
    async def flow(state: Any) -> Any:
        return await failing(calling(inner), tries)(state)

    async def run(state: Any, call: Any) -> Any:
        return {"po": (await flow.ainvoke({}))["po"]}

    case, outcome, _ = await bought(run, erp)
    assert (case.status, tries, erp.orders, outcome) == ("completed", ["PO-1"] * 3, [("acme", 1)], ["done"])


# graphs that nobody can find beforehand


def made_while_it_runs(run: Run, tries: list[Any], times: int) -> Any:
    async def plain(state: Any) -> Any:
        return await graph_of(failing(calling(graph_of(run)), tries, times), retry_policy=SHORT).ainvoke(state)

    return graph_of(plain)


async def test_a_graph_made_while_it_runs_is_refused_its_second_try() -> None:
    erp, tries = Erp(), list[Any]()
    case, outcome, intents = await bought(made_while_it_runs(act, tries, times=2), erp)
    assert (case.status, tries, erp.orders, outcome, intents) == ("waiting", ["PO-1"], [("acme", 1)], ["done"], 1)
    (item,) = case.waiting_for
    assert item.kind == "exception"


async def test_a_graph_made_while_it_runs_is_welcome_as_long_as_nothing_fails() -> None:
    erp, tries = Erp(), list[Any]()
    case, outcome, _ = await bought(made_while_it_runs(act, tries, times=0), erp)
    assert (case.status, tries, erp.orders, outcome) == ("completed", ["PO-1"], [("acme", 1)], ["done"])


async def test_a_step_that_is_tried_again_around_a_graph_is_refused_with_a_hint() -> None:
    """LangGraph's `@task` has a policy of its own, which no compiled graph shows."""
    erp, tries = Erp(), list[Any]()
    inner = graph_of(act)

    step: Any = task(retry_policy=SHORT)
    order = step(failing(calling(inner), tries))

    async def buy(state: Any) -> Any:
        return await order(state)

    builder: Any = StateGraph(State).add_node("buy", buy).add_edge(START, "buy").add_edge("buy", END)
    async with office(erp=erp) as plane:
        plane.register(governed(builder, name="stepped", tools={"erp.create_po": erp.create_po}))
        case = await ran(plane, "stepped")
        assert (case.status, failure(case)["code"], erp.orders) == ("failed", "configuration", [("acme", 1)])
        assert "'node' was tried again" in failure(case)["message"]
        assert "retry policy" in failure(case)["message"]


def test_a_mended_graph_can_be_used_by_others_as_before() -> None:
    tries = list[int]()

    def node(state: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("afterwards")
        return {"po": "PO-1"}

    plain = graph_of(node, retry_policy=RetryPolicy(1e-3, max_attempts=3, jitter=False))
    for name in ("one", "two"):
        Agent(name, run=plain)
    assert (plain.invoke({})["po"], len(tries)) == ("PO-1", 3)
