"""Budgets are kept, also across interrupts; confidence is asked for; what was found is there for the person."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import errors
from interlock.agents.agent import Agent
from interlock.agents.guardrails import Budget, check_confidence
from interlock.agents.runtime import Contract, Outcome, perform
from interlock.money import Money
from tests.agents.conftest import Events, MakeCall
from tests.loopback_openai import LoopbackOpenAI, as_json, error, text, tool_call

PRICES = {"openai:small": {"input": 1_000_000, "output": 2_000_000, "currency": "EUR"}}


class State(TypedDict, total=False):
    note: str


class Answer(BaseModel):
    code: str


def solver(**about: Any) -> Agent:
    return Agent("solver", model="openai:small", **about)


async def find(asset: str) -> str:
    """Find the readings of an asset."""
    return f"{asset} vibrates"


def looping(server: LoopbackOpenAI, usage: tuple[int, int] = (10, 5)) -> None:
    """A model that never stops calling its tool."""
    server.respond = lambda body: tool_call("cmms__find", {"asset": "p"}, usage=usage)


async def run(make_call: MakeCall, budget: Budget, **settings: Any) -> Outcome:
    contract = Contract("diagnose", tools=("cmms.find",), budget=budget, into="note")
    return await perform(solver(), contract, {}, make_call({"cmms.find": find}, **settings))


async def test_steps(server: LoopbackOpenAI, make_call: MakeCall, events: Events) -> None:
    looping(server)
    with pytest.raises(errors.BudgetExceeded, match="3 model calls") as failed:
        await run(make_call, Budget(steps=3))
    assert len(server.chats) == 3
    assert len(events.of("model.called")) == 3
    assert failed.value.found["used"] == {"tokens": 45, "steps": 3}
    assert "p vibrates" in json.dumps(failed.value.found)


async def test_tokens_stop_after_the_call_that_took_too_many(
    server: LoopbackOpenAI, make_call: MakeCall, events: Events
) -> None:
    looping(server)
    with pytest.raises(errors.BudgetExceeded, match="40 tokens"):
        await run(make_call, Budget(tokens=40))
    assert len(server.chats) == 3
    assert [row["status"] for row in events.of("model.called")] == ["done"] * 3, "each call is recorded once"


async def test_a_budget_just_reached_leaves_no_further_call(server: LoopbackOpenAI, make_call: MakeCall) -> None:
    looping(server)
    with pytest.raises(errors.BudgetExceeded):
        await run(make_call, Budget(tokens=30))
    assert len(server.chats) == 2
    server.respond = None
    server.script(text("done", usage=(20, 10)))
    assert (await run(make_call, Budget(tokens=30))).update == {"note": "done"}


async def test_money(server: LoopbackOpenAI, make_call: MakeCall, events: Events) -> None:
    looping(server)
    with pytest.raises(errors.BudgetExceeded, match=r"0\.50 EUR"):
        await run(make_call, Budget(money=Money(50, "EUR")), prices=PRICES)
    assert len(server.chats) == 3, "20 cents each"
    assert events.of("model.called")[0]["cost"] == {"amount": 20, "currency": "EUR", "micros": 20_000_000}


@pytest.mark.parametrize("prices", [{}, {"openai:small": {"input": 1, "output": 1, "currency": "USD"}}])
async def test_money_without_a_price_cannot_be_kept(
    server: LoopbackOpenAI, make_call: MakeCall, prices: dict[str, Any]
) -> None:
    server.script(text("done"))
    with pytest.raises(errors.BudgetExceeded, match="no price in EUR for openai:small"):
        await run(make_call, Budget(money=Money(50, "EUR")), prices=prices)
    assert len(server.chats) <= 1


async def test_seconds(server: LoopbackOpenAI, make_call: MakeCall) -> None:
    async def forever(state: Any, call: Any) -> dict[str, Any]:
        await call.context("pumps")
        await asyncio.Event().wait()
        return {}

    with pytest.raises(errors.BudgetExceeded, match=r"longer than 0\.05 s") as failed:
        await perform(Agent("code", run=forever), Contract("t", budget=Budget(seconds=0.05)), {}, make_call())
    assert failed.value.found == {"calls": [{"context": "pumps", "facts": []}]}


async def test_a_time_out_of_the_agents_own_is_no_budget(make_call: MakeCall) -> None:
    async def slow(state: Any, call: Any) -> dict[str, Any]:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
        return {}

    with pytest.raises(errors.AgentFailed, match="TimeoutError") as failed:
        await perform(Agent("code", run=slow), Contract("t", budget=Budget(seconds=60)), {}, make_call())
    assert not isinstance(failed.value, errors.BudgetExceeded)


async def test_cancelling_is_no_failure(make_call: MakeCall) -> None:
    async def forever(state: Any, call: Any) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    task = asyncio.create_task(perform(Agent("code", run=forever), Contract("t"), {}, make_call()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_failed_calls_count_as_steps(server: LoopbackOpenAI, make_call: MakeCall, events: Events) -> None:
    server.script(error(500), text("never"))
    agent = solver(fallbacks=["openai:big"])
    contract = Contract("t", budget=Budget(steps=1))
    with pytest.raises(errors.BudgetExceeded):
        await perform(agent, contract, {}, make_call(model_retries=0))
    assert server.left == 1
    assert [row["status"] for row in events.of("model.called")] == ["failed"]


async def test_a_repair_counts_too(server: LoopbackOpenAI, make_call: MakeCall) -> None:
    server.script(as_json({"no": 1}), as_json({"code": "M7"}))
    contract = Contract("t", output=Answer, budget=Budget(steps=1))
    with pytest.raises(errors.BudgetExceeded) as failed:
        await perform(solver(), contract, {}, make_call())
    assert server.left == 1
    assert '"no"' in failed.value.found["messages"][-1]["text"]


async def test_what_an_endpoint_does_not_count_is_estimated(make_call: MakeCall, events: Events) -> None:
    silent = GenericFakeChatModel(messages=iter([AIMessage("word " * 400)]))
    contract = Contract("t", instructions="word " * 400, budget=Budget(tokens=300), into="note")
    with pytest.raises(errors.BudgetExceeded):
        await perform(Agent("silent", model=silent), contract, {}, make_call())
    (called,) = events.of("model.called")
    assert called["output_tokens"] > 300


async def test_models_that_code_calls_by_itself_are_counted(
    server: LoopbackOpenAI, make_call: MakeCall, events: Events
) -> None:
    async def talk(state: Any, call: Any) -> dict[str, Any]:
        for _ in range(3):
            await call.models.chat("default").ainvoke("hello")
        return {}

    server.respond = lambda body: text("hi", usage=(10, 5))
    with pytest.raises(errors.BudgetExceeded):
        await perform(Agent("talker", run=talk), Contract("t", budget=Budget(steps=2)), {}, make_call())
    assert len(server.chats) == 2
    assert [row["agent"] for row in events.of("model.called")] == ["agent:talker"] * 2


async def test_parallel_calls_share_one_budget(server: LoopbackOpenAI, make_call: MakeCall) -> None:
    async def talk(state: Any, call: Any) -> dict[str, Any]:
        model = call.models.chat("default")
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(model.ainvoke("hello"))
        return {}

    server.respond = lambda body: text("hi")
    with pytest.raises(errors.BudgetExceeded):
        await perform(Agent("talker", run=talk), Contract("t", budget=Budget(steps=4)), {}, make_call())
    assert len(server.chats) <= 4


async def test_what_was_spent_before_an_interrupt_still_counts(
    server: LoopbackOpenAI, make_call: MakeCall, events: Events
) -> None:
    """The task starts again at its first line, the agent's own steps are not repeated; nor is its budget."""

    async def ask(asset: str) -> str:
        """Ask a person."""
        return str(interrupt(f"about {asset}"))

    async def node(state: State) -> Any:
        contract = Contract("diagnose", tools=("ask",), budget=Budget(steps=2, tokens=1000), into="note")
        return (await perform(solver(), contract, state, make_call({"ask": ask}))).update

    app = StateGraph(State).add_node("diagnose", node).add_edge(START, "diagnose").compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    server.script(tool_call("ask", {"asset": "p"}, usage=(100, 50)))
    assert "__interrupt__" in await app.ainvoke({}, config, durability="sync")
    server.script(tool_call("ask", {"asset": "q"}, usage=(200, 50)))
    assert "__interrupt__" in await app.ainvoke(Command(resume="yes"), config, durability="sync")
    server.script(text("never"))
    with pytest.raises(errors.BudgetExceeded) as failed:
        await app.ainvoke(Command(resume="yes"), config, durability="sync")
    assert failed.value.found["used"] == {"tokens": 400, "steps": 2}
    assert server.left == 1
    assert len(events.of("model.called")) == 2


@pytest.mark.parametrize("bound", ["tokens", "steps", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_budget_allows_something(bound: str, value: float) -> None:
    about: dict[str, Any] = {bound: value}
    with pytest.raises(errors.InputError, match=bound):
        Budget(**about)


@pytest.mark.parametrize(
    ("confidence", "least", "enough"),
    [
        (None, None, True), (0.0, None, True), (0.7, 0.7, True), (1.0, 0.7, True), (0.69, 0.7, False),
        (None, 0.7, False), (70.0, 0.7, False), (1.01, 0.7, False), (-1.0, 0.0, False), (float("nan"), 0.0, False),
        (float("inf"), 0.7, False),
    ],
)  # fmt: skip
def test_confidence(confidence: float | None, least: float | None, enough: bool) -> None:
    if enough:
        return check_confidence(confidence, least)
    with pytest.raises(errors.AgentFailed, match="the task asks for"):
        check_confidence(confidence, least, {"code": "M7"})
    return None
