"""Calls from inside a node: they wait in place, resume where they were, and a swallowed question is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from typing_extensions import TypedDict

from interlock import errors
from interlock.oversight.inbox import Decision, Item
from interlock.storage.claim import CLAIM, Claim
from interlock.tools.site import SITE
from interlock.tools.tool import Suspended, governed_tool, invoke, performing
from interlock.tools.waiting import PERFORMANCE
from tests.tools.plant import CASE, Plant, bank, plant

Work = Callable[[Plant], Awaitable[Any]]


class State(TypedDict, total=False):
    out: Any


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant() as made:
        bank(made)
        yield made


class Case:
    """One case of a graph with one governed node, driven as the engine does it."""

    def __init__(self, plant: Plant, work: Work) -> None:
        self.plant, self.work = plant, work
        self.app: Any = StateGraph(State).add_node("pay", self._node).add_edge(START, "pay").compile(InMemorySaver())
        self.claim = Claim("default", CASE, 1)

    async def _node(self, state: State) -> State:
        conf = get_config().get("configurable", {})
        site = self.plant.site(ns=conf["checkpoint_ns"], durability=conf["__pregel_durability"])
        async with performing(self.plant.gateway, site):
            return {"out": await self.work(self.plant)}

    async def drive(self, value: Any = None) -> Any:
        """Run until nothing is runnable; what the task wrote is committed with it, also when it failed."""
        token = CLAIM.set(self.claim)
        self.claim.rewind()
        try:
            return await self.app.ainvoke(value or {}, {"configurable": {"thread_id": CASE}}, durability="sync")
        finally:
            CLAIM.reset(token)
            for apply in self.claim.take_all():
                await self.plant.db.commit(apply, claim=self.claim)

    async def answer(self, *decisions: Decision) -> Any:
        """Decide what is open, in the order in which it was asked, and drive on."""
        state = await self.app.aget_state({"configurable": {"thread_id": CASE}})
        resume = {}
        for interrupt, decision in zip(state.interrupts, decisions, strict=True):
            item = await self.plant.inbox.get(interrupt.value["interlock"]["approval_id"])
            await self.plant.approve(item, "person:bo" if item.kind == "approval" else "person:op", decision)
            resume[interrupt.id] = {"type": decision.kind}
        return await self.drive(Command(resume=resume))

    async def items(self) -> list[Item]:
        return (await self.plant.inbox.list(status=None)).items


async def started(one: Plant, work: Work) -> Case:
    await one.case()
    return Case(one, work)


async def pay(amount: int, key: Any = None, to: str = "acme") -> Any:
    return (await invoke("bank.pay", {"amount": amount, "to": to}, key)).unwrap()


async def test_a_call_waits_in_place_and_goes_on_with_its_result(one: Plant) -> None:
    runs = 0

    async def work(plant: Plant) -> Any:
        nonlocal runs
        runs += 1
        return [await pay(100), await pay(20_000), await pay(200)]

    case = await started(one, work)
    assert [i.value["action_request"]["args"]["amount"] for i in (await case.drive())["__interrupt__"]] == [20_000]
    assert one.world.done == {"pay 100 acme": 1}
    done = await case.answer(Decision.approve())
    assert done["out"] == ["pay 100 acme#1", "pay 20000 acme#1", "pay 200 acme#1"]
    assert runs == 2
    assert one.world.done.total() == 3, "what was done before the question is not done again"
    assert len(await one.events("tool.outcome")) == 3


async def test_several_questions_of_one_task_one_after_the_other(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        return [await pay(20_000), await pay(25_000), await pay(100)]

    case = await started(one, work)
    await case.drive()
    await case.answer(Decision.approve())
    done = await case.answer(Decision.approve())
    assert done["out"] == ["pay 20000 acme#1", "pay 25000 acme#1", "pay 100 acme#1"]
    assert one.world.done.total() == 3
    assert [item.status for item in await case.items()] == ["decided", "decided"]


async def test_two_stages_of_one_call(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        return await pay(2_000_000)

    case = await started(one, work)
    await case.drive()
    await case.answer(Decision.approve())
    assert one.world.done.total() == 0
    second = (await case.items())[1]
    await one.approve(second, "person:cy")
    assert (await case.drive(Command(resume="approve")))["out"] == "pay 2000000 acme#1"


@pytest.mark.parametrize("gather", [True, False])
async def test_parallel_calls_with_keys(one: Plant, gather: bool) -> None:
    async def together() -> Any:
        if gather:
            return await asyncio.gather(*(pay(amount, key) for key, amount in enumerate([100, 20_000, 200])))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(pay(amount, key)) for key, amount in enumerate([100, 20_000, 200])]
        return [task.result() for task in tasks]

    async def work(plant: Plant) -> Any:
        return await together()

    case = await started(one, work)
    assert len((await case.drive())["__interrupt__"]) == 1
    done = await case.answer(Decision.approve())
    assert done["out"] == ["pay 100 acme#1", "pay 20000 acme#1", "pay 200 acme#1"]
    assert one.world.done.total() == 3


async def test_a_number_as_a_key_is_not_the_count_of_another_call(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        return [await pay(100), *[await pay(100 + key, key) for key in range(3)], await pay(100, "0-again")]

    case = await started(one, work)
    assert (await case.drive())["out"] == [
        "pay 100 acme#1", "pay 100 acme#2", "pay 101 acme#1", "pay 102 acme#1", "pay 100 acme#3",
    ]  # fmt: skip


@pytest.mark.parametrize("key", [True, 1.5, b"k", ("a",), object()])
async def test_other_keys_are_refused(one: Plant, key: Any) -> None:
    async def work(plant: Plant) -> Any:
        with pytest.raises(errors.InputError, match="key is"):
            await pay(100, key)
        return "refused"

    case = await started(one, work)
    assert (await case.drive())["out"] == "refused"
    assert one.world.done.total() == 0


async def test_answers_of_every_kind(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        try:
            rejected = await pay(40_000)
        except errors.Rejected as no:
            rejected = f"{no.by}: {no.why}"
        return [await pay(20_000), await pay(30_000), rejected]

    case = await started(one, work)
    await case.drive()
    await case.answer(Decision.reject("too much"))
    await case.answer(Decision.edit({"amount": 15_000, "to": "acme"}))
    done = await case.answer(Decision.respond("paid by cheque"))
    assert done["out"] == ["pay 15000 acme#1", "paid by cheque", "person:bo: too much"]
    assert one.world.done == {"pay 15000 acme": 1}


async def test_a_denial_and_a_failure_raise_and_are_not_asked(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        said = []
        for amount, name in ((100, "bank.play"), ("100", "bank.pay")):
            try:
                (await invoke(name, {"amount": amount, "to": "acme"})).unwrap()
            except errors.Denied as denied:
                said += denied.policy_ids
        one.world.fail.append(ValueError("closed"))
        with pytest.raises(errors.ToolFailed, match="closed"):
            await pay(100)
        return said

    case = await started(one, work)
    assert (await case.drive())["out"] == ["gateway.tool", "gateway.schema"]
    assert await case.items() == []


async def test_except_exception_does_not_swallow_a_question(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        with suppress(Exception):
            await pay(20_000)
        return "went on"

    case = await started(one, work)
    assert "__interrupt__" in await case.drive()
    assert (await case.answer(Decision.approve()))["out"] == "went on"
    assert one.world.done == {"pay 20000 acme": 1}


async def test_a_swallowed_question_stops_everything_after_it(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        with suppress(BaseException):
            await pay(20_000)
        with suppress(BaseException):
            await pay(100)
        return "went on"

    case = await started(one, work)
    with pytest.raises(errors.AgentFailed, match="waits for a person") as failed:
        await case.drive()
    assert len(failed.value.found["items"]) == 1
    assert one.world.done.total() == 0
    assert await case.items() == [], "a question that nobody waits for is not put"


async def test_a_failure_after_a_swallowed_question_is_still_that(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        with suppress(BaseException):
            await pay(20_000)
        raise ValueError("later")

    case = await started(one, work)
    with pytest.raises(errors.AgentFailed):
        await case.drive()


async def test_an_unknown_outcome_waits_for_the_person_who_knows(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        return await pay(100)

    one.world.fail.append(httpx.ReadTimeout("slow"))
    case = await started(one, work)
    (question,) = (await case.drive())["__interrupt__"]
    assert question.value["interlock"]["kind"] == "exception"
    assert one.world.done.total() == 1
    assert (await case.answer(Decision.respond("it was paid")))["out"] == "it was paid"
    assert one.world.done.total() == 1


async def test_code_may_handle_an_unknown_outcome_by_itself(one: Plant) -> None:
    async def work(plant: Plant) -> Any:
        try:
            return await pay(100)
        except errors.UnknownOutcome as unknown:
            return unknown.item

    one.world.fail.append(httpx.ReadTimeout("slow"))
    case = await started(one, work)
    assert (await case.drive())["out"] == (await case.items())[0].id


async def test_a_node_ends_only_after_its_calls(one: Plant) -> None:
    one.world.gate = asyncio.Event()

    async def work(plant: Plant) -> Any:
        task = asyncio.create_task(pay(100, "a"))
        await asyncio.sleep(0.01)
        assert one.world.gate is not None
        asyncio.get_running_loop().call_later(0.02, one.world.gate.set)
        plant.world.fail.append(ValueError("nobody waits for it"))
        task.add_done_callback(lambda done: done.exception())
        return "early"

    case = await started(one, work)
    assert (await case.drive())["out"] == "early"
    assert len(await one.events("tool.outcome")) == 1


async def test_outside_a_governed_task_nothing_is_called(one: Plant) -> None:
    with pytest.raises(errors.ConfigurationError, match="outside a governed task"):
        await pay(100)
    tool = governed_tool(one.tools.get("bank.pay"))
    with pytest.raises(errors.ConfigurationError, match="outside a governed task"):
        await tool.ainvoke({"amount": 100, "to": "acme"})
    with pytest.raises(errors.ConfigurationError, match="without await"):
        tool.invoke({"amount": 100, "to": "acme"})
    assert one.world.done.total() == 0


async def test_the_context_ends_with_the_node_however_it_ends(one: Plant) -> None:
    for end in (None, ValueError("x"), asyncio.CancelledError(), GraphInterrupt(())):
        with suppress(BaseException):
            async with performing(one.gateway, one.site()):
                assert SITE.get() == one.site()
                if end is not None:
                    raise end
        assert SITE.get() is None
        assert PERFORMANCE.get() is None


@pytest.mark.parametrize("kind", [GraphInterrupt, Suspended])
async def test_a_question_in_a_group_of_errors_goes_first(one: Plant, kind: type[BaseException]) -> None:
    signal = GraphInterrupt(())
    raised = signal if kind is GraphInterrupt else Suspended(signal)
    group = BaseExceptionGroup("outer", [ValueError("x"), BaseExceptionGroup("inner", [raised])])
    with pytest.raises(GraphInterrupt) as passed:
        async with performing(one.gateway, one.site()):
            raise group
    assert passed.value is signal


async def test_errors_in_a_group_pass_as_they_are(one: Plant) -> None:
    group = ExceptionGroup("both", [ValueError("x"), errors.Denied("no")])
    with pytest.raises(ExceptionGroup) as passed:
        async with performing(one.gateway, one.site()):
            raise group
    assert passed.value is group


# tool objects


def called(name: str, args: Any, id: str = "1") -> dict[str, Any]:
    return {"type": "tool_call", "name": name, "args": args, "id": id}


async def test_a_tool_object_shows_the_schema_and_raises_to_code(one: Plant) -> None:
    tool = governed_tool(one.tools.get("bank.pay"))
    assert tool.name == "bank__pay"
    assert set(tool.args) == {"amount", "to"}

    async def work(plant: Plant) -> Any:
        with pytest.raises(errors.Denied):
            await tool.ainvoke({"amount": "x", "to": "acme"})
        return await tool.ainvoke({"amount": 100, "to": "acme"})

    case = await started(one, work)
    assert (await case.drive())["out"] == "pay 100 acme#1"


async def test_to_a_model_a_no_is_a_message(one: Plant) -> None:
    tool = governed_tool(one.tools.get("bank.pay"))

    async def work(plant: Plant) -> Any:
        denied = await tool.ainvoke(called("bank__pay", {"amount": "x", "to": "acme"}))
        plant.world.fail.append(ValueError("closed"))
        failed = await tool.ainvoke(called("bank__pay", {"amount": 100, "to": "acme"}))
        done = await tool.ainvoke(called("bank__pay", {"amount": 200, "to": "acme"}))
        return [(message.status, message.content) for message in (denied, failed, done)]

    case = await started(one, work)
    (denied, why), (failed, error), (done, value) = (await case.drive())["out"]
    assert (denied, failed, done, value) == ("error", "error", "success", "pay 200 acme#1")
    assert json.loads(why)["reasons"][0][0] == "gateway.schema"
    assert json.loads(error) == {"error": "tool_failed", "message": "ValueError: closed", "reasons": []}


async def test_an_unknown_outcome_of_a_model_waits_in_place(one: Plant) -> None:
    tool = governed_tool(one.tools.get("bank.pay"))

    async def work(plant: Plant) -> Any:
        return (await tool.ainvoke(called("bank__pay", {"amount": 100, "to": "acme"}))).content

    one.world.fail.append(httpx.ReadTimeout("slow"))
    case = await started(one, work)
    assert "__interrupt__" in await case.drive()
    assert (await case.answer(Decision.respond("it was paid")))["out"] == "it was paid"


async def test_a_tool_node_asks_for_two_at_once(one: Plant) -> None:
    node = ToolNode([governed_tool(one.tools.get("bank.pay"))], handle_tool_errors=True)
    calls = [called("bank__pay", {"amount": amount, "to": "acme"}, str(amount)) for amount in (100, 20_000, 30_000)]

    async def work(plant: Plant) -> Any:
        result = await node.ainvoke([AIMessage("", tool_calls=calls)])
        return [message.content for message in result]

    case = await started(one, work)
    await case.drive()
    await case.answer(Decision.approve())
    done = await case.answer(Decision.approve())
    assert done["out"] == ["pay 100 acme#1", "pay 20000 acme#1", "pay 30000 acme#1"]
    assert one.world.done.total() == 3


async def test_arguments_named_as_langchains_own(one: Plant) -> None:
    async def odd(self: int, config: str, run_manager: str, callbacks: str = "") -> str:
        return f"{self} {config} {run_manager} {callbacks}"

    tool = governed_tool(one.tools.register(odd, name="odd.names", effect="read"))
    one.bind()

    async def work(plant: Plant) -> Any:
        args = {"self": 1, "config": "c", "run_manager": "r", "callbacks": "b"}
        return (await tool.ainvoke(called("odd__names", args))).content

    case = await started(one, work)
    assert (await case.drive())["out"] == "1 c r b"
