"""Tasks of persons, and exceptions: nobody to do it, work that does not do, and what people answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from langgraph.graph import END, START
from pydantic import BaseModel, field_validator
from typing_extensions import TypedDict

from interlock import Agent, Decision, Money, Person, Rule, Workflow, errors
from interlock.agents.runtime import Outcome
from interlock.testing import ManualClock
from tests.graphs.office import START_TIME, Erp, events, failure, office, only_item


class Review(BaseModel):
    verdict: str
    score: int

    @field_validator("score")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("scores are even")
        return value


class Doc(TypedDict, total=False):
    text: str
    verdict: str
    score: int
    note: str


def reviewing(skill: str = "reviewing", **contract: Any) -> Workflow:
    wf = Workflow("reviews", Doc, owner="legal")
    wf.task("review", skill=skill, output=Review, instructions="Read it.", sla=timedelta(hours=2), **contract)
    return wf.flow(START, "review", END)


RUTH = Person("ruth", skills={"reviewing"}, deputy="person:dan")
DAN = Person("dan", roles={"legal"})


async def opened(plane: Any, **options: Any) -> Any:
    case = await plane.start("reviews", {"text": "long"}, requester="person:ana", **options)
    await plane.wait(case.id, timeout=30)
    return case.id, await only_item(plane, case.id)


async def test_a_task_of_a_person_is_an_item_with_its_schema() -> None:
    clock = ManualClock(START_TIME)
    async with office(reviewing(), clock=clock) as plane:
        plane.register_actor(RUTH)
        case_id, item = await opened(plane)
        assert (item.kind, item.assignee, item.due) == ("task", "person:ruth", "2026-03-02T10:00:00.000000Z")
        assert item.eligible == ["person:ruth"]
        assert item.output_schema["required"] == ["verdict", "score"]
        assert item.evidence["state"]["text"] == "long"
        assert (await plane.case(case_id)).waiting_for[0].action == "review"
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.complete(item.id, {"verdict": "ok", "score": 2}, by="person:bo")
        with pytest.raises(errors.InputError, match="complete tasks"):
            await plane.inbox.decide(item.id, Decision.approve(), by="person:ruth")
        await plane.inbox.claim(item.id, by="person:ruth")
        await clock.advance(timedelta(minutes=30))
        with pytest.raises(errors.InputError, match="score"):
            await plane.inbox.complete(item.id, {"verdict": "ok"}, by="person:ruth")
        await plane.inbox.complete(item.id, {"verdict": "ok", "score": 2}, by="person:ruth")
        case = await plane.wait(case_id, until="ended", timeout=30)
        assert (case.values["verdict"], case.values["score"]) == ("ok", 2)
        (finished,) = await events(plane, case_id, "task.finished")
        assert (finished["actor"], finished["data"]["work_s"]) == ("person:ruth", 1800.0)


async def test_a_deputy_stands_in_during_leave() -> None:
    async with office(reviewing()) as plane:
        plane.register_actor(ruth := replace(RUTH))
        plane.register_actor(DAN)
        case_id, item = await opened(plane)
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.complete(item.id, {"verdict": "ok", "score": 4}, by="person:dan")
        ruth.calendar = [(now := plane.services.clock.now(), now + timedelta(days=1))]
        await plane.inbox.complete(item.id, {"verdict": "ok", "score": 4}, by="person:dan")
        assert (await plane.wait(case_id, until="ended", timeout=30)).values["score"] == 4


async def test_an_answer_that_the_model_refuses_is_asked_again() -> None:
    """The JSON schema lets it through, the validator of the model does not: an exception, then a good answer."""
    async with office(reviewing()) as plane:
        plane.register_actor(RUTH)
        case_id, item = await opened(plane)
        await plane.inbox.complete(item.id, {"verdict": "ok", "score": 3}, by="person:ruth")
        await plane.wait(case_id, timeout=30)
        again = await only_item(plane, case_id)
        assert (again.kind, again.id != item.id) == ("exception", True)
        assert "scores are even" in again.reasons[0].text
        await plane.inbox.decide(again.id, Decision.respond({"verdict": "ok", "score": 6}), by="person:op")
        assert (await plane.wait(case_id, until="ended", timeout=30)).values["score"] == 6


async def test_nobody_has_the_skill() -> None:
    async with office(reviewing()) as plane:
        case_id, item = await opened(plane)
        assert (item.kind, item.reasons[0].policy) == ("exception", "no_actor")
        assert item.eligible == ["role:operator", "role:legal"]
        assert "nobody has the skill 'reviewing'" in item.reasons[0].text
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.decide(item.id, Decision.approve(), by="person:ana")
        plane.register_actor(RUTH)
        await plane.inbox.decide(item.id, Decision.approve(), by="person:op")  # perform it again: now there is somebody
        await plane.wait(case_id, timeout=30)
        task = await only_item(plane, case_id)
        assert (task.kind, task.assignee) == ("task", "person:ruth")
        await plane.inbox.complete(task.id, {"verdict": "ok", "score": 2}, by="person:ruth")
        assert (await plane.wait(case_id, until="ended", timeout=30)).status == "completed"
        assert [e["data"]["visit"] for e in await events(plane, case_id, "task.routed")] == [1, 2]


async def test_an_answer_instead_of_the_work_is_checked_by_the_schema() -> None:
    async with office(reviewing()) as plane:
        plane.register_actor(DAN)
        case_id, item = await opened(plane)
        with pytest.raises(errors.InputError):
            await plane.inbox.decide(item.id, Decision.respond({"verdict": 5}), by="person:dan")
        await plane.inbox.decide(item.id, Decision.respond({"verdict": "ok", "score": 2}), by="person:dan")
        case = await plane.wait(case_id, until="ended", timeout=30)
        assert (case.status, case.values["score"]) == ("completed", 2)


async def test_giving_up_fails_the_case_with_the_reason() -> None:
    async with office(reviewing()) as plane:
        case_id, item = await opened(plane)
        await plane.inbox.decide(item.id, Decision.reject("not worth it"), by="person:op")
        case = await plane.wait(case_id, until="ended", timeout=30)
        assert (case.status, failure(case)["code"]) == ("failed", "rejected")
        assert "not worth it" in failure(case)["message"]
        assert (await plane.inbox.list(case_id=case_id)).items == []


@pytest.mark.parametrize("assign", ["person:nobody", "person:ana", "agent:reader"])
async def test_a_forced_assignee_who_is_not_eligible_is_an_exception_never_a_substitute(assign: str) -> None:
    async with office(reviewing()) as plane:
        plane.register_actor(RUTH)
        _, item = await opened(plane, assign={"review": assign})
        assert item.kind == "exception"
        assert f"assigned at start: {assign} is not eligible" in item.reasons[0].text


async def test_a_forced_assignee_who_is_eligible() -> None:
    async with office(reviewing()) as plane:
        plane.register_actor(RUTH)
        plane.register_actor(Person("rob", skills={"reviewing"}))
        _, item = await opened(plane, assign={"review": "person:rob"})
        assert item.assignee == "person:rob"


def reader(answer: Any, **options: Any) -> Agent:
    async def read(state: Any, call: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Agent("reader", skills={"reviewing"}, run=read, **options)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Outcome({"verdict": "ok", "score": 2}, confidence=0.4), "agent_failed"),
        (Outcome({"verdict": "ok", "score": 2}), "agent_failed"),
        ({"verdict": "ok"}, "output"),
        ({"verdict": "ok", "score": 3}, "output"),
        ("text", "output"),
        (RuntimeError("boom"), "agent_failed"),
    ],
)
async def test_work_that_does_not_do_comes_to_a_person_with_everything_found(answer: Any, code: str) -> None:
    async with office(reviewing(min_confidence=0.8)) as plane:
        plane.register_actor(reader(answer))
        case_id, item = await opened(plane)
        assert (item.kind, item.reasons[0].policy) == ("exception", code)
        assert item.evidence["state"]["text"] == "long"
        await plane.inbox.decide(item.id, Decision.respond({"verdict": "by hand", "score": 0}), by="person:op")
        case = await plane.wait(case_id, until="ended", timeout=30)
        assert case.values["verdict"] == "by hand"
        assert [e["data"]["status"] for e in await events(plane, case_id, "task.finished")] == ["failed", "done"]


async def test_rules_and_reasons_of_the_router() -> None:
    rules = [Rule(when=lambda task, case: case.requester == "person:ana", assign="person", why="Ana wants a person")]
    async with office(reviewing(rules=rules)) as plane:
        plane.register_actor(reader({"verdict": "ok", "score": 2}))
        plane.register_actor(RUTH)
        case_id, item = await opened(plane)
        assert (item.kind, item.reasons[0].text) == ("task", "Ana wants a person")
        (routed,) = await events(plane, case_id, "task.routed")
        assert {one["actor"] for one in routed["data"]["considered"]} == {"agent:reader", "person:ruth"}


async def test_an_agent_at_its_capacity_gets_no_more() -> None:
    async with office(reviewing()) as plane:
        plane.register_actor(Person("rob", skills={"reviewing"}, capacity=1))
        _, first = await opened(plane)
        _, second = await opened(plane)
        assert (first.assignee, second.kind) == ("person:rob", "exception")
        assert "capacity of 1" in second.reasons[0].text


async def test_an_agent_that_is_switched_off_is_passed_over() -> None:
    async with office(reviewing()) as plane:
        plane.register_actor(reader({"verdict": "ok", "score": 2}))
        plane.register_actor(RUTH)
        await plane.switch("agent:reader", "off", by="person:op", comment="odd answers")
        _, item = await opened(plane)
        assert item.assignee == "person:ruth"


@pytest.mark.parametrize("again", [False, True])
async def test_a_swallowed_question_executes_nothing(again: bool) -> None:
    """A task that goes on ends as an exception; one that calls again is stopped there, and waits."""
    wf, erp = Workflow("swallow", Doc), Erp()

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        try:
            await call("erp.create_po", {"supplier": "acme", "total": 500_000})
        except BaseException:
            return {"note": await call("erp.create_po", {"supplier": "acme", "total": 1}) if again else "went on"}
        return {}

    async with office(wf.flow(START, order, END), erp=erp) as plane:
        case = await plane.start("swallow", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert (item.kind, erp.orders) == ("approval" if again else "exception", [])
        if again:
            return
        assert "waits for a person" in item.reasons[0].text
        await plane.inbox.decide(item.id, Decision.respond({"note": "done by hand"}), by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.values["note"], erp.orders) == ("done by hand", [])


async def test_a_denied_call_that_nobody_catches_is_an_exception_with_the_reasons() -> None:
    wf = Workflow("denied", Doc)

    @wf.task(skill="buying", tools=["erp.create_po"])  # without the scope
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"note": await call("erp.create_po", {"supplier": "acme", "total": 1})}

    async with office(wf.flow(START, order, END)) as plane:
        case = await plane.start("denied", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert (item.kind, item.reasons[0].policy) == ("exception", "denied")
        assert "po:write" in item.reasons[0].text


@pytest.mark.parametrize(("tools", "status"), [(None, "completed"), ([], "waiting"), (["erp.create_po"], "waiting")])
async def test_a_task_calls_the_tools_that_it_names(tools: list[str] | None, status: str) -> None:
    wf = Workflow("counting", Doc)

    @wf.task(tools=tools)
    async def count(state: Any, call: Any) -> dict[str, Any]:
        return {"note": str(await call("erp.stock", {"item": "pump"}))}

    async with office(wf.flow(START, count, END)) as plane:
        case = await plane.start("counting", {}, requester="person:ana")
        assert (await plane.wait(case.id, timeout=30)).status == status
        denied = await events(plane, case.id, "policy.decided")
        assert [event["data"]["decision"] for event in denied] == ["allowed" if tools is None else "denied"]


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda call: Money.of("much", "EUR"), "input"),
        (lambda call: call.start("nothing", {}), "not_found"),
        (lambda call: call("erp.stock", {"item": "pump"}, key=True), "input"),
    ],
)
async def test_a_mistake_in_code_comes_to_a_person_and_does_not_end_the_case(work: Any, code: str) -> None:
    wf = Workflow("mistaken", Doc)

    @wf.task(skill="anything")
    async def err(state: Any, call: Any) -> dict[str, Any]:
        await work(call)
        return {}

    async with office(wf.flow(START, err, END)) as plane:
        case = await plane.start("mistaken", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert (item.kind, item.reasons[0].policy) == ("exception", code)
        await plane.inbox.decide(item.id, Decision.respond({"note": "by hand"}), by="person:op")
        assert (await plane.wait(case.id, until="ended", timeout=30)).values["note"] == "by hand"


async def test_an_unknown_outcome_waits_for_what_happened() -> None:
    wf, erp = Workflow("unknown", Doc), Erp(failures=[TimeoutError("no answer")])

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"note": await call("erp.create_po", {"supplier": "acme", "total": 1})}

    async with office(wf.flow(START, order, END), erp=erp) as plane:
        case = await plane.start("unknown", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        assert (item.kind, item.action["tool"]) == ("exception", "erp.create_po")
        await plane.inbox.decide(item.id, Decision.respond("PO-9"), by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.values["note"], erp.orders) == ("PO-9", [])
        (outcome,) = await events(plane, case.id, "tool.outcome")
        assert outcome["data"]["by"] == "person"
