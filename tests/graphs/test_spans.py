"""What a traced plane sends: the drive of a case, the agent of a task, its tool calls; and LangSmith's tags."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from typing_extensions import TypedDict

from interlock import ControlPlane, Person, Workflow
from interlock.observability import trace
from interlock.settings import Settings


class State(TypedDict, total=False):
    sum: int


@pytest.fixture
def sent() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    trace.configure(Settings(), exporter)
    yield exporter
    trace.shutdown()


async def test_a_case_is_a_span_with_its_agents_and_tools_below(sent: InMemorySpanExporter) -> None:
    wf = Workflow("adding", State)

    @wf.task(tools=["calc.add"], scopes={"calc"})
    async def add(state: State, call: object) -> State:
        return {"sum": await call("calc.add", {"a": 1, "b": 2})}  # type: ignore[operator]  # untyped here

    wf.flow("__start__", add, "__end__")
    policy = {"calc.cedar": '@id("ANY") permit(principal, action, resource);'}
    async with ControlPlane.open(":memory:", policies=policy, settings=Settings(langsmith=True)) as plane:
        plane.register_tool(lambda a, b: a + b, name="calc.add", args_schema=_ADD, system="calc", effect="read")
        plane.register_actor(Person("ana"))
        plane.register(wf)
        case = await plane.start("adding", {}, requester="person:ana")
        assert (await plane.wait(case.id)).values == {"sum": 3}
    assert trace._provider is not None
    trace._provider.force_flush()
    spans = {span.name: span for span in sent.get_finished_spans()}
    drive, agent, tool = (
        spans["invoke_workflow adding"],
        spans["invoke_agent agent:adding.add"],
        spans["execute_tool calc.add"],
    )
    assert drive.context and agent.parent and tool.parent and agent.context
    assert agent.context.trace_id == drive.context.trace_id
    assert tool.parent.span_id == agent.context.span_id


_ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
