"""Tools that bypass the gateway are found wherever a graph can hold them; those that do not are left alone."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, TodoListMiddleware
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel
from typing_extensions import TypedDict

from interlock import errors
from interlock.agents.agent import Agent
from interlock.agents.governed import ungoverned
from interlock.tools.registry import Tools
from interlock.tools.tool import governed_tool
from tests.naming import named


class State(TypedDict, total=False):
    x: int


@tool
async def foreign(x: int) -> int:
    """Bypasses the gateway."""
    return x


async def look(x: int) -> int:
    return x


GOVERNED = governed_tool(Tools().register(look, name="erp.look"))
LISTED = [GOVERNED, foreign]
MODULE = types.ModuleType("kit")
MODULE.hammer = foreign  # type: ignore[attr-defined]  # a module made here


class FakeModel(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def model() -> FakeModel:
    return FakeModel(messages=iter([AIMessage("done")]))


def graph(node: Any, path: Callable[..., Any] | None = None) -> Pregel[Any, Any, Any, Any]:
    builder = StateGraph(State)
    builder.add_node("work", node)
    builder.add_edge(START, "work")
    if path is None:
        builder.add_edge("work", END)
    else:
        builder.add_conditional_edges("work", path)
    return builder.compile()


async def nothing(state: State) -> State:
    return state


async def calls_global(state: State) -> State:
    return {"x": await foreign.ainvoke({"x": 1})}


async def calls_listed(state: State) -> State:
    return {"x": await LISTED[1].ainvoke({"x": 1})}


async def calls_module(state: State) -> State:
    return {"x": await MODULE.hammer.ainvoke({"x": 1})}


async def calls_helper(state: State) -> State:
    return await calls_global(state)


async def calls_inner(state: State) -> State:
    async def inner() -> int:
        return int(await foreign.ainvoke({"x": 1}))

    return {"x": await inner()}


async def takes_tool(state: State, hammer: BaseTool) -> State:
    return {"x": await hammer.ainvoke({"x": 1})}


async def with_default(state: State, *, hammer: BaseTool = foreign) -> State:
    return {"x": await hammer.ainvoke({"x": 1})}


def closing_over(thing: Any) -> Any:
    async def node(state: State) -> State:
        return {"x": len(str(thing))}

    return node


def wrapped(fn: Any) -> Any:
    @functools.wraps(fn)
    async def outer(state: State) -> Any:
        return await fn(state)

    return outer


class Worker:
    """A node that is a method, or an object that is called."""

    def __init__(self, thing: Any) -> None:
        self.kit = {"hammer": [thing]}

    async def node(self, state: State) -> State:
        return state

    async def __call__(self, state: State) -> State:
        return state


def path_with(thing: Any) -> Callable[[State], str]:
    def path(state: State) -> str:
        return str(thing) if state.get("x") else END

    return path


def nested(inner: Any, depth: int = 3) -> Any:
    for _ in range(depth):
        inner = graph(inner)
    return inner


NODES: dict[str, Any] = {
    "global": calls_global,
    "global list": calls_listed,
    "attribute of a module": calls_module,
    "global through a helper": calls_helper,
    "inner function": calls_inner,
    "default argument": with_default,
    "closure": closing_over(foreign),
    "closure over a list": closing_over([[{"a": (foreign,)}]]),
    "closure over a function": closing_over(calls_global),
    "closure over a partial": closing_over(functools.partial(takes_tool, hammer=foreign)),
    "decorated": wrapped(calls_global),
    "partial": functools.partial(takes_tool, hammer=foreign),
    "partial of a method": functools.partial(Worker(foreign).node),
    "method": Worker(foreign).node,
    "callable object": Worker(foreign),
    "tool node": ToolNode([foreign]),
    "tool as a node": foreign,
    "runnable": RunnableLambda(calls_global),
    "runnable sequence": RunnablePassthrough() | RunnableLambda(closing_over(foreign)),
    "runnable parallel": RunnableParallel(x=RunnableLambda(closing_over(foreign))),
    "runnable with fallbacks": RunnableLambda(nothing).with_fallbacks([RunnableLambda(closing_over(foreign))]),
    "runnable with config": RunnableLambda(closing_over(foreign)).with_config(tags=["a"]),
    "graph in a graph": nested(closing_over(foreign)),
    "graph in a closure": closing_over(nested(closing_over(foreign))),
    "tool in a governed place": ToolNode([GOVERNED, foreign]),
}


@pytest.mark.parametrize("where", NODES)
def test_a_tool_is_found(where: str) -> None:
    assert ungoverned(graph(NODES[where])) == ["foreign"]
    with pytest.raises(errors.ConfigurationError, match="foreign"):
        Agent("worker", run=graph(NODES[where]))


def test_a_tool_is_found_in_a_conditional_edge() -> None:
    assert ungoverned(graph(nothing, path_with(foreign))) == ["foreign"]
    assert ungoverned(graph(nothing, path_with(GOVERNED))) == []


def test_a_tool_is_found_inside_a_tool() -> None:
    @tool
    async def outer(x: int) -> int:
        """Uses another one."""
        return int(await foreign.ainvoke({"x": x}))

    assert ungoverned(graph(ToolNode([outer]))) == ["foreign", "outer"]
    assert ungoverned(graph(ToolNode([outer])), frozenset({"outer"})) == ["foreign"]


def test_agents_and_their_middleware_are_looked_through() -> None:
    class Helpful(AgentMiddleware[Any, Any, Any]):
        def __init__(self, thing: Any) -> None:
            super().__init__()
            self.thing = thing

        async def abefore_model(self, state: Any, runtime: Any) -> None:
            return None

    assert ungoverned(create_agent(model(), [GOVERNED, foreign])) == ["foreign"]
    assert ungoverned(create_agent(model(), [GOVERNED], middleware=[Helpful(foreign)])) == ["foreign"]
    assert ungoverned(create_agent(model(), [GOVERNED], middleware=[Helpful(GOVERNED), TodoListMiddleware()])) == []


def test_a_supervisor_of_agents_is_looked_through() -> None:
    def team(*tools: BaseTool) -> Pregel[Any, Any, Any, Any]:
        helpers = {"buyer": create_agent(model(), list(tools), name="buyer")}

        @tool
        async def hand_over(to: str, task: str) -> str:
            """Give a part of the work to somebody."""
            result = await helpers[to].ainvoke({"messages": [HumanMessage(task)]})
            return str(result["messages"][-1].text)

        return create_agent(model(), [hand_over])

    assert ungoverned(team(GOVERNED, foreign), frozenset({"hand_over"})) == ["foreign"]
    assert ungoverned(team(GOVERNED), frozenset({"hand_over"})) == []
    Agent("boss", run=team(GOVERNED), internal={"hand_over"})
    with pytest.raises(errors.ConfigurationError, match="hand_over"):
        Agent("boss", run=team(GOVERNED))


def test_deep_agents_keep_their_files_in_the_state(tmp_path: Path) -> None:
    deepagents = pytest.importorskip("deepagents")
    helper = {"name": "helper", "description": "Helps.", "system_prompt": "Help.", "tools": [foreign]}
    assert ungoverned(deepagents.create_deep_agent(model(), [GOVERNED])) == []
    assert "foreign" in ungoverned(deepagents.create_deep_agent(model(), [foreign]))
    assert "foreign" in ungoverned(deepagents.create_deep_agent(model(), [GOVERNED], subagents=[helper]))
    disk = deepagents.backends.FilesystemBackend(root_dir=tmp_path)
    assert "write_file" in ungoverned(deepagents.create_deep_agent(model(), [GOVERNED], backend=disk))


def test_governed_tools_and_plain_nodes_are_left_alone() -> None:
    for node in (nothing, closing_over([GOVERNED]), ToolNode([GOVERNED]), Worker(GOVERNED), Worker(GOVERNED).node):
        assert ungoverned(graph(node)) == []
    Agent("worker", run=nested(closing_over(GOVERNED)))


def test_objects_that_hold_each_other_end() -> None:
    ring: list[Any] = [foreign]
    ring.append(ring)
    deep: Any = ring
    for _ in range(20_000):
        deep = [deep]
    assert ungoverned(graph(closing_over(deep))) == ["foreign"]


def test_an_unset_closure_is_no_tool() -> None:
    def build() -> Any:
        async def node(state: State) -> Any:
            return later

        if node.__name__ == "nothing":
            later = foreign
        return node

    assert ungoverned(graph(build())) == []


def test_a_tool_named_like_a_harmless_one_is_still_foreign() -> None:
    async def write_todos(x: int) -> int:
        return x

    impostor = StructuredTool.from_function(coroutine=write_todos, name="write_todos", description="Not the one.")
    assert ungoverned(graph(ToolNode([impostor]))) == ["write_todos"]


def test_a_graph_with_a_checkpointer_of_its_own_is_no_agent() -> None:
    with pytest.raises(errors.ConfigurationError, match="checkpointer"):
        Agent("worker", run=StateGraph(State).add_node("a", nothing).add_edge(START, "a").compile(InMemorySaver()))


@pytest.mark.parametrize(
    "about",
    [
        {"run": nothing, "model": "openai:x"}, {"run": lambda state, call: {}}, {"run": 5}, {"run": StateGraph(State)},
        {"model": 5}, {"model": "openai:x", "output_method": "xml"}, {"model": object()},
    ],
    ids=named,
)  # fmt: skip
def test_agents_that_cannot_work(about: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError):
        Agent("worker", **about)


def test_kinds_of_agents() -> None:
    assert Agent("a", run=nothing).kind == "code"
    assert Agent("a", run=functools.partial(takes_tool, hammer=foreign)).kind == "code"
    assert Agent("a", run=Worker(1)).kind == "code"
    assert Agent("a", run=graph(nothing)).kind == "graph"
    assert Agent("a", model=model()).kind == "llm"
    assert Agent("a").kind == "external"
