"""Code agents and graph agents: what they get, what becomes of what they raise, what the person then finds."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt, GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import errors
from interlock.agents.agent import Agent
from interlock.agents.runtime import Contract, Outcome, perform
from interlock.tools.site import SITE
from interlock.tools.tool import Suspended
from tests.agents.conftest import Events, Fact, MakeCall
from tests.loopback_openai import LoopbackOpenAI, text, tool_call


class Diagnosis(BaseModel):
    code: str


class Talk(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    asset: str
    code: str
    structured_response: Any


def fake(*answers: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter(map(AIMessage, answers)))


def graph(node: Any, state: type[Any] = Talk) -> Any:
    return StateGraph(state).add_node("work", node).add_edge(START, "work").add_edge("work", END).compile()


async def ask(run: Any, make_call: MakeCall, state: dict[str, Any] | None = None, **contract: Any) -> Outcome:
    return await perform(Agent("worker", run=run), Contract("diagnose", **contract), state or {}, make_call())


# code


async def test_code_gets_state_and_call(make_call: MakeCall, events: Events) -> None:
    async def run(state: Any, call: Any) -> Any:
        facts = await call.context("leaks", k=1, where={"trust": "reviewed"})
        child = await call.start("retention", {"x": 1}, wait=False)
        said = (call.case_id, call.task, call.actor, call.requester, call.tenant, call.deadline, call.clock.now().year)
        return {"said": said, "facts": [fact.id for fact in facts], "child": child, "asset": state["asset"]}

    facts = [Fact("f1", "it leaks"), Fact("f2", "no")]
    outcome = await perform(Agent("worker", run=run), Contract("diagnose"), {"asset": "p"}, make_call(facts=facts))
    assert outcome.update["said"] == ("case-1", "diagnose", "agent:solver", "person:ana", "default", None, 2026)
    assert outcome.update["facts"] == ["f1"]
    assert outcome.update["child"] == {"workflow": "retention", "input": {"x": 1}, "wait": False}
    assert outcome.found == {"calls": [{"context": "leaks", "facts": ["f1"]}]}
    assert [kind for kind, _, _ in events.rows] == ["context.retrieved"]


async def test_a_tool_called_by_code_outside_a_governed_node_is_a_clear_error(make_call: MakeCall) -> None:
    async def run(state: Any, call: Any) -> Any:
        await call("cmms.find", {"asset": "p"})

    with pytest.raises(errors.ConfigurationError, match="outside a governed task"):
        await ask(run, make_call)


async def test_notes_outside_a_case_are_a_clear_error(make_call: MakeCall) -> None:
    call = make_call()
    SITE.set(None)
    with pytest.raises(errors.ConfigurationError, match="outside a case"):
        await call.context("leaks")


@pytest.mark.parametrize(
    "raised",
    [
        errors.Denied("no"), errors.Rejected("no"), errors.ToolFailed("no"), errors.UnknownOutcome("no"),
        errors.StorageError("no"), errors.NotFound("no"), GraphInterrupt(()), Suspended(GraphInterrupt(())),
        asyncio.CancelledError(), KeyboardInterrupt(),
    ],
    ids=lambda exc: type(exc).__name__,
)  # fmt: skip
@pytest.mark.parametrize("grouped", [False, True])
async def test_signals_and_errors_of_ours_pass(make_call: MakeCall, raised: BaseException, grouped: bool) -> None:
    async def run(state: Any, call: Any) -> Any:
        raise BaseExceptionGroup("both", [raised]) if grouped else raised

    with pytest.raises(type(raised)) as passed:
        await ask(run, make_call)
    assert passed.value is raised


async def test_a_pending_question_goes_before_the_errors_beside_it(make_call: MakeCall) -> None:
    signal = Suspended(GraphInterrupt(()))

    async def run(state: Any, call: Any) -> Any:
        inner = BaseExceptionGroup("inner", [errors.Denied("no"), signal])
        raise BaseExceptionGroup("outer", [ValueError("x"), inner])

    with pytest.raises(Suspended) as passed:
        await ask(run, make_call)
    assert passed.value is signal


@pytest.mark.parametrize("raised", [ValueError("bad pump"), StopAsyncIteration(), RecursionError(), TypeError("x")])
async def test_other_errors_become_the_agents_failure(make_call: MakeCall, raised: Exception) -> None:
    async def run(state: Any, call: Any) -> Any:
        await call.context("leaks")
        raise raised

    with pytest.raises(errors.AgentFailed, match=type(raised).__name__) as failed:
        await ask(run, make_call)
    assert failed.value.found == {"calls": [{"context": "leaks", "facts": []}]}
    assert failed.value.__cause__ is raised


async def test_a_graph_that_goes_in_circles_used_up_its_budget(make_call: MakeCall) -> None:
    async def run(state: Any, call: Any) -> Any:
        raise GraphRecursionError("25 steps")

    with pytest.raises(errors.BudgetExceeded, match="too often"):
        await ask(run, make_call)


async def test_findings_are_plain_whatever_was_found(make_call: MakeCall) -> None:
    async def run(state: Any, call: Any) -> Any:
        call.done.append({"value": b"\xff", "args": {"when": object, "text": "\ud800"}})
        raise errors.AgentFailed("stop", found={"so": "far"})

    with pytest.raises(errors.AgentFailed) as failed:
        await ask(run, make_call)
    assert json.dumps(failed.value.found).encode("utf-8")
    assert failed.value.found["result"] == {"so": "far"}


async def test_external_agents_perform_nothing(make_call: MakeCall) -> None:
    with pytest.raises(errors.AgentFailed, match="external"):
        await perform(Agent("outside"), Contract("t"), {}, make_call())


async def test_an_outcome_of_its_own_keeps_what_it_found(make_call: MakeCall) -> None:
    async def run(state: Any, call: Any) -> Any:
        await call.context("leaks")
        return Outcome({"code": "M7"}, confidence=0.9, found={"seen": 3})

    outcome = await ask(run, make_call, output=Diagnosis, min_confidence=0.8)
    assert outcome.found == {"calls": [{"context": "leaks", "facts": []}], "seen": 3}


# graphs


async def test_a_graph_gets_the_state_that_it_knows_and_the_task_as_a_message(make_call: MakeCall) -> None:
    seen: dict[str, Any] = {}

    async def node(state: Any) -> Any:
        seen.update(state)
        return {"code": "M7"}

    agent = Agent("worker", run=graph(node), prompt="Be terse.")
    contract = Contract("diagnose", instructions="Look.", output=Diagnosis)
    state = {"asset": "p", "salary": 5, "messages": [HumanMessage("old")]}
    outcome = await perform(agent, contract, state, make_call())
    assert outcome.update == {"code": "M7"}
    assert set(seen) == {"asset", "messages"}
    system, task = seen["messages"]
    assert (system.type, system.text) == ("system", "Be terse.")
    assert "# Task: diagnose" in task.text
    assert "old" not in task.text


@pytest.mark.parametrize(
    ("update", "contract", "result"),
    [
        ({"structured_response": Diagnosis(code="M7")}, {"output": Diagnosis}, {"code": "M7"}),
        ({"code": "M7"}, {"output": Diagnosis}, {"code": "M7"}),
        ({"messages": [AIMessage('{"code": "M7"}')]}, {"output": Diagnosis}, {"code": "M7"}),
        ({"messages": [AIMessage("it leaks")]}, {"into": "note"}, {"note": "it leaks"}),
        ({"code": "M7"}, {"output": Diagnosis, "into": "found"}, {"found": {"code": "M7"}}),
    ],
)
async def test_results_of_a_graph(make_call: MakeCall, update: Any, contract: Any, result: Any) -> None:
    async def node(state: Any) -> Any:
        return update

    assert (await ask(graph(node), make_call, **contract)).update == result


async def test_without_an_output_a_graph_gives_its_state(make_call: MakeCall) -> None:
    class Plain(TypedDict, total=False):
        asset: str
        code: str

    async def node(state: Any) -> Any:
        return {"code": "M7"}

    async def talk(state: Any) -> Any:
        return {"messages": [AIMessage("done")], "code": "M7"}

    assert (await ask(graph(node, Plain), make_call, {"asset": "p"})).update == {"asset": "p", "code": "M7"}
    update = (await ask(graph(talk), make_call)).update
    assert update["code"] == "M7"
    assert [message.text for message in update["messages"]] == ["done"]


@pytest.mark.parametrize(
    "update", [{"messages": [AIMessage("it leaks")]}, {"code": 7}, {"structured_response": {"x": 1}}]
)
async def test_a_graph_whose_result_does_not_fit(make_call: MakeCall, update: Any) -> None:
    async def node(state: Any) -> Any:
        return update

    with pytest.raises(errors.OutputInvalid):
        await ask(graph(node), make_call, output=Diagnosis)


async def test_an_interrupt_inside_a_graph_agent_is_one_of_the_case(make_call: MakeCall) -> None:
    async def node(state: Any) -> Any:
        return {"code": interrupt("which code?")}

    async def work(state: Any) -> Any:
        return (await ask(graph(node), make_call, output=Diagnosis)).update

    case = StateGraph(Talk).add_node("work", work).add_edge(START, "work").compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    (question,) = (await case.ainvoke({}, config, durability="sync"))["__interrupt__"]
    assert question.value == "which code?"
    assert (await case.ainvoke(Command(resume="M7"), config, durability="sync"))["code"] == "M7"


async def test_an_agent_of_create_agent_and_a_supervisor_of_such(
    server: LoopbackOpenAI, make_call: MakeCall, events: Events
) -> None:
    call = make_call()
    worker = create_agent(call.models.chat("default"), name="buyer")

    @tool
    async def hand_over(task: str) -> str:
        """Give a part of the work to the buyer."""
        result = await worker.ainvoke({"messages": [HumanMessage(task)]})
        return str(result["messages"][-1].text)

    boss = create_agent(call.models.chat("default"), [hand_over], name="boss")
    server.script(tool_call("hand_over", {"task": "buy a seal"}), text("bought"), text("all done"))
    agent = Agent("team", run=boss, internal={"hand_over"})
    outcome = await perform(agent, Contract("t", into="note"), {}, call)
    assert outcome.update == {"note": "all done"}
    assert outcome.found["used"]["steps"] == 3
    assert len(events.of("model.called")) == 3, "the inner agent's calls are counted and recorded too"


async def test_callbacks_around_an_agent_see_what_it_does(make_call: MakeCall) -> None:
    """Tracing and token streaming hang on them; the meter must not take their place."""

    class Seen(BaseCallbackHandler):
        models = 0

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            self.models += 1

    async def talk(state: Any) -> Any:
        return {"messages": [await fake("hi").ainvoke("hello")]}

    async def code(state: Any, call: Any) -> Any:
        await fake("hi").ainvoke("hello")

    for run in (graph(talk), code):
        seen = Seen()

        async def work(state: Any, run: Any = run) -> Any:
            outcome = await ask(run, make_call)
            assert outcome.found["used"]["steps"] == 1
            return {}

        await graph(work).ainvoke({}, {"callbacks": [seen]})
        assert seen.models == 1
    seen = Seen()
    llm = Agent("llm", model=fake("hi"))

    async def by_model(state: Any) -> Any:
        await perform(llm, Contract("t", into="note"), {}, make_call())
        return {}

    await graph(by_model).ainvoke({}, {"callbacks": [seen]})
    assert seen.models == 1
