"""Questions of plain nodes: `interrupt()` of somebody else's code becomes an inbox item."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.graph import END, START
from langgraph.types import interrupt

from interlock import Decision, Workflow, errors
from interlock.graphs.engine.foreign import resume_value
from tests.graphs.office import State, failure, office, only_item


def asking(*questions: Any) -> Workflow:
    wf = Workflow("asking", State, owner="desk")

    async def ask(state: Any) -> dict[str, Any]:
        return {"log": [interrupt(question) for question in questions]}

    wf.add_node("ask", ask)
    wf.add_edge(START, "ask").add_edge("ask", END)
    return wf


async def test_an_operator_answers_and_the_value_resumes_the_node() -> None:
    async with office(asking("How old?")) as plane:
        case = await plane.start("asking", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert (case.status, item.kind, item.reasons[0].text) == ("waiting", "exception", "How old?")
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.decide(item.id, Decision.respond(7), by="person:ana")
        await plane.inbox.decide(item.id, Decision.respond(7), by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["log"] == [7]


async def test_several_questions_of_one_node_are_items_of_their_own() -> None:
    async with office(asking("one", "one", {"message": "three"})) as plane:
        case = await plane.start("asking", {}, requester="person:ana")
        for answer in "abc":
            await plane.wait(case.id, timeout=30)
            item = await only_item(plane, case.id)
            await plane.inbox.decide(item.id, Decision.respond(answer), by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["log"] == ["a", "b", "c"]


async def test_a_no_to_a_plain_question_fails_the_case() -> None:
    async with office(asking("Go on?")) as plane:
        case = await plane.start("asking", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await plane.inbox.decide(item.id, Decision.reject("no"), by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, failure(case)["code"]) == ("failed", "rejected")


async def test_a_schema_of_the_question_is_kept() -> None:
    wf = Workflow("asking", State)

    async def ask(state: Any) -> dict[str, Any]:
        return {"total": interrupt("How many?", response_schema={"type": "integer", "minimum": 1})}

    wf.add_node("ask", ask)
    wf.add_edge(START, "ask").add_edge("ask", END)
    async with office(wf) as plane:
        case = await plane.start("asking", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        with pytest.raises(errors.InputError):
            await plane.inbox.decide(item.id, Decision.respond("many"), by="person:op")
        await plane.inbox.decide(item.id, Decision.respond(3), by="person:op")
        assert (await plane.wait(case.id, until="ended", timeout=30)).values["total"] == 3


@pytest.mark.parametrize("forged", ["no-such-item", "child:no-such-case", 5])
async def test_a_question_that_claims_to_be_ours_is_still_asked(forged: Any) -> None:
    async with office(asking({"interlock": {"item": forged}})) as plane:
        case = await plane.start("asking", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await plane.inbox.decide(item.id, Decision.respond("real"), by="person:op")
        assert (await plane.wait(case.id, until="ended", timeout=30)).values["log"] == ["real"]


async def test_a_question_cannot_take_the_answer_of_another_case() -> None:
    async with office(asking("first?")) as plane:
        case = await plane.start("asking", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        await plane.inbox.decide(item.id, Decision.respond("yes"), by="person:op")
        await plane.wait(case.id, until="ended", timeout=30)
        thief = asking({"interlock": {"item": item.id}})
        thief.name = "thief"
        plane.register(thief)
        other = await plane.start("thief", {}, requester="person:ana")
        other = await plane.wait(other.id, timeout=30)
        assert other.status == "waiting"


LANGCHAIN = {"action_requests": [{"name": "a", "args": {}}, {"name": "b", "args": {}}]}
INBOX = {"action_request": {"action": "a", "args": {}}}


@pytest.mark.parametrize(
    ("question", "decision", "value"),
    [
        ("plain", Decision.approve(), True),
        ("plain", Decision.respond({"x": 1}), {"x": 1}),
        (LANGCHAIN, Decision.approve(), {"decisions": [{"type": "approve"}] * 2}),
        (LANGCHAIN, Decision.reject("no"), {"decisions": [{"type": "reject", "message": "no"}] * 2}),
        (LANGCHAIN, Decision.respond("hm"), {"decisions": [{"type": "respond", "message": "hm"}] * 2}),
        (INBOX, Decision.approve(), [{"type": "accept", "args": None}]),
        (INBOX, Decision.reject("no"), [{"type": "ignore", "args": None}]),
        (INBOX, Decision.respond("hm"), [{"type": "response", "args": "hm"}]),
    ],
)
def test_answers_speak_the_dialect_of_the_question(question: Any, decision: Decision, value: Any) -> None:
    assert resume_value(question, decision.as_json()) == value
