"""Graphs in plain LangGraph under governance: tools, agents, retries, caches, and what does not get in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as langchain_tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import CachePolicy, Command, RetryPolicy
from typing_extensions import TypedDict

from interlock import Agent, ControlPlane, Decision, Money, Workflow, errors, governed
from tests.graphs.office import Erp, State, events, failure, office, waits_on


def po_tool(erp: Erp) -> BaseTool:
    @langchain_tool
    async def create_po(supplier: str, total: int) -> str:
        """Order something."""
        return await erp.create_po(supplier, total)

    return create_po


def with_tool(plane: ControlPlane, tool: BaseTool, name: str = "shop.create_po", **options: Any) -> None:
    plane.register_tool(
        tool, name=name, system="shop", scope="shop:write", effect="write", money=lambda a: Money(a["total"], "EUR"),
        **options,
    )  # fmt: skip


def plain(node: Any, **options: Any) -> StateGraph[Any]:
    builder = StateGraph(State)
    builder.add_node("buy", node, **options)
    builder.add_edge(START, "buy")
    builder.add_edge("buy", END)
    return builder


async def run(plane: ControlPlane, name: str, value: dict[str, Any] | None = None) -> Any:
    case = await plane.start(name, value or {}, requester="person:ana")
    return await plane.wait(case.id, timeout=30)


async def test_a_tool_in_a_plain_node_goes_through_the_gateway() -> None:
    erp = Erp()
    tool = po_tool(erp)

    async def buy(state: Any) -> dict[str, Any]:
        return {"po": await tool.ainvoke({"supplier": "acme", "total": state["total"]})}

    async with office() as plane:
        with_tool(plane, tool)
        tasks = {"buy": {"skill": "b"}}
        plane.register(governed(plain(buy), name="plain", tools={"shop.create_po": tool}, tasks=tasks))
        case = await run(plane, "plain", {"total": 500})
        assert (case.status, case.values["po"]) == ("completed", "PO-1")
        (outcome,) = await events(plane, case.id, "tool.outcome")
        assert (outcome["actor"], outcome["data"]["task"]) == ("agent:plain.buy", "buy")
        case = await run(plane, "plain", {"total": 400_000})
        assert (case.status, len(erp.orders)) == ("waiting", 1)
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.values["po"], len(erp.orders)) == ("PO-2", 2)


async def test_a_synchronous_node_calls_from_its_thread() -> None:
    erp = Erp()
    tool = po_tool(erp)

    def buy(state: Any) -> dict[str, Any]:
        return {"po": tool.invoke({"supplier": "acme", "total": state["total"]})}

    async with office() as plane:
        with_tool(plane, tool)
        plane.register(governed(plain(buy), name="plain", tools={"shop.create_po": tool}))
        case = await run(plane, "plain", {"total": 400_000})
        assert case.status == "waiting"
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, until="ended", timeout=30)).values["po"] == "PO-1"


async def test_an_adopted_tool_refuses_outside_of_tasks() -> None:
    tool = po_tool(Erp())
    async with office() as plane:
        with_tool(plane, tool)
        plane.register(governed(plain(lambda state: {}), name="plain", tools={"shop.create_po": tool}))
        with pytest.raises(errors.ConfigurationError, match="outside a governed task"):
            await tool.ainvoke({"supplier": "acme", "total": 1})
        with pytest.raises(errors.ConfigurationError, match="without await"):
            tool.invoke({"supplier": "acme", "total": 1})
        result = await plane.call_tool("shop.create_po", {"supplier": "a", "total": 1}, actor="agent:plain.buy")
        assert result.unwrap() == "PO-1"


async def test_the_same_tool_object_serves_two_planes() -> None:
    erp = Erp()
    tool = po_tool(erp)

    async def buy(state: Any) -> dict[str, Any]:
        return {"po": await tool.ainvoke({"supplier": "acme", "total": 1})}

    for number in (1, 2):
        async with office() as plane:
            with_tool(plane, tool)
            plane.register(governed(plain(buy), name="plain", tools={"shop.create_po": tool}))
            assert (await run(plane, "plain")).values["po"] == f"PO-{number}"


async def test_the_tools_of_a_node_are_its_bounds() -> None:
    tool, seen = po_tool(Erp()), []

    async def buy(state: Any) -> None:
        try:
            await tool.ainvoke({"supplier": "acme", "total": 1})
        except errors.Denied as exc:
            seen.extend(exc.policy_ids)

    async with office() as plane:
        with_tool(plane, tool)
        plane.register(governed(plain(buy), name="none", tools={"shop.create_po": tool}, tasks={"buy": {"tools": []}}))
        plane.register(governed(plain(buy), name="weak", tools={"shop.create_po": tool}, tasks={"buy": {"scopes": []}}))
        await run(plane, "none")
        await run(plane, "weak")
        assert seen == ["gateway.scope", "gateway.scope"]


async def test_a_node_may_act_as_a_registered_agent() -> None:
    tool = po_tool(Erp())

    async def buy(state: Any) -> dict[str, Any]:
        return {"po": await tool.ainvoke({"supplier": "acme", "total": 1})}

    async with office() as plane:
        with_tool(plane, tool)
        plane.register_actor(Agent("buyer", skills={"b"}, scopes={"shop:write"}))
        graph = governed(
            plain(buy), name="plain", tools={"shop.create_po": tool}, tasks={"buy": {"actor": "agent:buyer"}}
        )
        plane.register(graph)
        case = await run(plane, "plain")
        (outcome,) = await events(plane, case.id, "tool.outcome")
        assert outcome["actor"] == "agent:buyer"


async def test_tools_that_are_not_registered_or_not_named_do_not_get_in() -> None:
    tool = po_tool(Erp())

    async def buy(state: Any) -> dict[str, Any]:
        return {"po": await tool.ainvoke({"supplier": "acme", "total": 1})}

    async with office() as plane:
        with pytest.raises(errors.ConfigurationError, match="not registered"):
            plane.register(governed(plain(buy), name="plain", tools={"shop.create_po": tool}))
        with pytest.raises(errors.ConfigurationError, match="not governed: create_po"):
            plane.register(plain(buy), name="plain")
        with pytest.raises(errors.ConfigurationError, match="not governed: create_po"):
            plane.register(plain(ToolNode([po_tool(Erp())])), name="plain")
        assert plane.registry.latest() == {}


async def test_a_tool_is_registered_with_the_options_given_beside_it() -> None:
    tool = po_tool(Erp())

    async def buy(state: Any) -> dict[str, Any]:
        return {"po": await tool.ainvoke({"supplier": "acme", "total": 1})}

    async with office() as plane:
        described = {"target": tool, "scope": "po:write", "effect": "write"}
        plane.register(governed(plain(buy), name="plain", tools={"shop.create_po": described}))
        assert (await run(plane, "plain")).values["po"] == "PO-1"


async def test_retries_of_langgraph_do_not_repeat_effects() -> None:
    erp, attempts = Erp(), []
    tool = po_tool(erp)

    async def buy(state: Any) -> dict[str, Any]:
        po = await tool.ainvoke({"supplier": "acme", "total": 1})
        attempts.append(po)
        if len(attempts) < 3:
            raise ConnectionError("afterwards")
        return {"po": po}

    async with office() as plane:
        with_tool(plane, tool)
        policy = RetryPolicy(initial_interval=0.001, max_attempts=3)
        plane.register(governed(plain(buy, retry_policy=policy), name="plain", tools={"shop.create_po": tool}))
        case = await run(plane, "plain")
        assert (case.status, attempts, len(erp.orders)) == ("completed", ["PO-1"] * 3, 1)
        assert len(await events(plane, case.id, "tool.outcome")) == 1
        assert len(await events(plane, case.id, "task.finished")) == 1


@pytest.mark.parametrize("retry_on", [Exception, (Exception,), lambda exc: True])
async def test_our_errors_are_not_retried(retry_on: Any) -> None:
    attempts = []

    async def buy(state: Any) -> None:
        attempts.append(1)
        raise errors.Denied("no")

    async with office() as plane:
        policy = RetryPolicy(initial_interval=0.001, max_attempts=3, retry_on=retry_on)
        plane.register(plain(buy, retry_policy=policy), name="plain")
        case = await run(plane, "plain")
        assert (case.status, failure(case)["code"], attempts) == ("failed", "denied", [1])


def caching(builder: StateGraph[Any], where: str) -> StateGraph[Any]:
    if where == "cache":
        return plain(lambda state: {}, cache_policy=CachePolicy())
    if where == "timeout":
        return plain(_nothing, timeout=1.0)
    if where == "cache_default":
        return builder.set_node_defaults(cache_policy=CachePolicy())
    return builder.set_node_defaults(timeout=1.0)


async def _nothing(state: Any) -> None:
    return None


@pytest.mark.parametrize("where", ["cache", "timeout", "cache_default", "timeout_default"])
async def test_caches_and_timeouts_around_effects_are_refused(where: str) -> None:
    tool = po_tool(Erp())
    async with office() as plane:
        with_tool(plane, tool)
        with pytest.raises(errors.ConfigurationError, match=r"cache policy|time-out"):
            plane.register(governed(caching(plain(_nothing), where), name="plain", tools={"shop.create_po": tool}))


def test_workflows_refuse_caches_for_their_tasks() -> None:
    wf = Workflow("cached", State)
    wf.task("one", skill="x")
    wf.flow(START, "one", END)
    wf.set_node_defaults(cache_policy=CachePolicy())
    with pytest.raises(errors.ConfigurationError, match="cache policy"):
        wf.compile()


def test_a_description_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="no node"):
        governed(plain(_nothing), name="plain", tasks={"sell": {}})
    with pytest.raises(errors.ConfigurationError, match="use skill"):
        governed(plain(_nothing), name="plain", tasks={"buy": {"skil": "x"}})
    with pytest.raises(errors.ConfigurationError, match="StateGraph"):
        governed(plain(_nothing).compile(), name="plain")  # type: ignore[arg-type]  # wrong on purpose


async def test_what_can_be_registered() -> None:
    async with office() as plane:
        with pytest.raises(errors.ConfigurationError, match="no name"):
            plane.register(plain(_nothing))
        with pytest.raises(errors.ConfigurationError, match="no workflow"):
            plane.register(plain(_nothing).compile())
        wf = Workflow("w", State)
        wf.add_node("n", _nothing)
        wf.add_edge(START, "n").add_edge("n", END)
        with pytest.raises(errors.ConfigurationError, match="belong to a plain"):
            plane.register(wf, owner="me")
        with pytest.raises(errors.ConfigurationError, match="takes no ownr"):
            plane.register(plain(_nothing), name="plain", ownr="me")
        assert plane.register(wf.compile()).workflow is wf
        entry = plane.register(plain(_nothing), name="plain", version="2", owner="me", sla=timedelta(hours=1))
        assert (entry.workflow.version, entry.workflow.owner) == ("2", "me")


class Chat(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    answer: str


class Scripted(GenericFakeChatModel):
    """A model that says what the script says; it takes any tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def scripted(*messages: AIMessage) -> Scripted:
    return Scripted(messages=iter(messages))


def orders(total: int) -> AIMessage:
    call = {"name": "create_po", "args": {"supplier": "acme", "total": total}, "id": "c1", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


async def test_an_agent_of_langchain_inside_a_plain_graph() -> None:
    """create_agent as a subgraph: its tool waits in place for an approval, and the model is not asked again."""
    erp = Erp()
    tool = po_tool(erp)
    agent = create_agent(scripted(orders(400_000), AIMessage("done")), [tool])
    builder = StateGraph(Chat)
    builder.add_node("agent", agent)
    builder.add_edge(START, "agent")
    builder.add_edge("agent", END)
    async with office() as plane:
        with_tool(plane, tool)
        plane.register(governed(builder, name="chat", tools={"shop.create_po": tool}))
        case = await run(plane, "chat", {"messages": [{"role": "user", "content": "order"}]})
        assert [waiting.action for waiting in case.waiting_for] == ["shop.create_po"]
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.status == "completed"
        assert erp.orders == [("acme", 400_000)]
        assert [message["type"] for message in case.values["messages"]] == ["human", "ai", "tool", "ai"]


async def test_a_denial_is_told_to_the_model() -> None:
    tool = po_tool(Erp())
    agent = create_agent(scripted(orders(100_000_000), AIMessage("sorry")), [tool])
    builder = StateGraph(Chat)
    builder.add_node("agent", agent)
    builder.add_edge(START, "agent")
    builder.add_edge("agent", END)
    async with office(policy='@id("NO") forbid(principal, action, resource) when { context.amount > 5 };'
                             '@id("ALL") permit(principal, action, resource);') as plane:  # fmt: skip
        with_tool(plane, tool)
        plane.register(governed(builder, name="chat", tools={"shop.create_po": tool}))
        case = await run(plane, "chat", {"messages": [{"role": "user", "content": "order"}]})
        told = next(message for message in case.values["messages"] if message["type"] == "tool")
        assert (told["status"], "NO" in told["content"]) == ("error", True)


async def test_parallel_tool_calls_of_a_tool_node() -> None:
    erp = Erp()
    tool = po_tool(erp)

    async def plan(state: Any) -> dict[str, Any]:
        calls = [
            {"name": "create_po", "args": {"supplier": name, "total": total}, "id": name, "type": "tool_call"}
            for name, total in (("a", 1), ("b", 400_000), ("c", 3))
        ]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    builder = StateGraph(Chat)
    builder.add_node("plan", plan)
    builder.add_node("tools", ToolNode([tool]))
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "tools")
    builder.add_edge("tools", END)
    async with office() as plane:
        with_tool(plane, tool)
        plane.register(governed(builder, name="chat", tools={"shop.create_po": tool}))
        case = await run(plane, "chat")
        assert (case.status, len(erp.orders)) == ("waiting", 2)
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert sorted(erp.orders) == [("a", 1), ("b", 400_000), ("c", 3)]
        said = [message for message in case.values["messages"] if message["type"] == "tool"]
        assert [message["tool_call_id"] for message in said] == ["a", "b", "c"]


async def test_commands_loops_and_sends_still_work() -> None:
    async def route(state: Any) -> Command[Any]:
        return Command(update={"note": "seen"}, goto="last" if state.get("total", 0) > 2 else "add")

    async def add(state: Any) -> Command[Any]:
        await asyncio.sleep(0)
        return Command(update={"total": state.get("total", 0) + 1}, goto="route")

    builder = StateGraph(State)
    builder.add_node("route", route, destinations=("last", "add"))
    builder.add_node("add", add, destinations=("route",))
    builder.add_node("last", lambda state: {"left": "end"})
    builder.add_edge(START, "route")
    async with office() as plane:
        plane.register(builder, name="plain")
        case = await run(plane, "plain", {"total": 0})
        assert (case.values["total"], case.values["left"], case.values["note"]) == (3, "end", "seen")


async def test_a_graph_as_an_agent_of_a_task() -> None:
    """A supervisor-like graph performs one task of a workflow: its tools are governed where it is compiled."""
    erp = Erp()
    tool = po_tool(erp)
    async with office() as plane:
        with pytest.raises(errors.ConfigurationError, match="not governed"):
            Agent("boss", skills={"b"}, run=create_agent(scripted(), [po_tool(Erp())]))
        with_tool(plane, tool)
        plane.register(governed(plain(_nothing), name="adopting", tools={"shop.create_po": tool}))
        worker = create_agent(scripted(orders(10), AIMessage("ordered")), [tool], name="worker")
        boss = StateGraph(Chat)
        boss.add_node("worker", worker)
        boss.add_node("answer", _last_text)
        boss.add_edge(START, "worker")
        boss.add_edge("worker", "answer")
        boss.add_edge("answer", END)
        plane.register_actor(Agent("boss", skills={"b"}, scopes={"shop:write"}, run=boss.compile()))
        wf = Workflow("task", Chat)
        wf.task("do", skill="b", tools=["shop.create_po"])
        plane.register(wf.flow(START, "do", END))
        case = await run(plane, "task")
        assert (case.status, case.values["answer"], erp.orders) == ("completed", "ordered", [("acme", 10)])


def _last_text(state: Any) -> dict[str, Any]:
    return {"answer": state["messages"][-1].text}
