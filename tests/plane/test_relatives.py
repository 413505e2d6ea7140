"""Duties across related cases, after the question was asked, and between gates: who did one leaves the other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import ControlPlane, Decision, Money, Person, Workflow, errors
from interlock.graphs.cases import SETTLED, Case
from interlock.oversight import participants
from interlock.oversight.items import Item
from interlock.oversight.participants import preparers
from interlock.tools.contract import ToolResult
from tests.plane.test_answers_at_once import ANSWERER

YES, NO = Decision.approve(), Decision.reject("no")
BASE = """
@id("pay") permit (principal, action == Interlock::Action::"bank.pay", resource) when { context.approvals.chief >= 1 };
@id("note") permit (principal, action == Interlock::Action::"bank.note", resource);
@id("app") permit (principal is Interlock::Person, action == Interlock::Action::"approve:bank.pay", resource);
"""
GATES = """
- between: [twice.first, twice.second]
  within: case
  why: who releases the first step does not release the second
- between: [twice.first, bank.note]
  within: case
  why: who releases does not write the note
"""


class State(TypedDict, total=False):
    amount: int
    text: str
    log: list[str]


class Text(BaseModel):
    text: str


class Pay(BaseModel):
    amount: int


def child(gate: bool = False) -> Workflow:
    """A person writes a text; with a gate, the text is released after that."""
    wf = Workflow("child", State)
    wf.task("write", skill="writing", output=Text)
    if gate:
        wf.flow(START, "write", wf.approval("release", authority="chief", show=["text"]), END)
        return wf
    return wf.flow(START, "write", END)


def parent(*, gate: bool = False, first: bool = False) -> Workflow:
    """Starts a child and waits for it; then a gate, or a call that asks. With `first` a person writes before that."""
    wf = Workflow("parent", State)
    wf.task("draft", skill="writing", output=Text)

    @wf.task(skill="asking")
    async def ask(state: Any, call: Any) -> dict[str, Any]:
        done = await call.start("child", {"amount": 1}, wait=True)
        return {"log": [done["text"]]}

    @wf.task(skill="paying", tools=["bank.pay"], scopes={"bank"})
    async def pay(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [await call("bank.pay", {"amount": 5})]}

    last = wf.approval("agree", authority="chief", show=["log"]) if gate else pay
    return wf.flow(START, *(["draft"] if first else []), ask, last, END)


def twice() -> Workflow:
    wf = Workflow("twice", State)
    first, second = (wf.approval(name, authority="chief") for name in ("first", "second"))
    return wf.flow(START, first, second, END)


@asynccontextmanager
async def firm(
    *workflows: Workflow, url: str = ":memory:", policies: Any = None, extra: str = ""
) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(url, policies=policies or {"t.cedar": BASE + extra}) as plane:
        options: dict[str, Any] = {"system": "bank", "scope": "bank", "effect": "write", "args_schema": Pay}
        plane.register_tool(_paid, name="bank.pay", money=lambda args: Money(args["amount"], "EUR"), **options)
        plane.register_tool(_paid, name="bank.note", **options)
        plane.register_actor(Person("ana"))
        plane.register_actor(Person("wim", skills={"writing"}, scopes={"bank"}, **chief()))
        for name in ("bo", "cy"):
            plane.register_actor(Person(name, roles={"operator"}, scopes={"bank"}, **chief()))
        for workflow in workflows:
            plane.register(workflow)
        yield plane


def chief() -> dict[str, Any]:
    return {"authorities": {"chief": Money(10**6, "EUR")}}


def _paid(amount: int) -> str:
    return f"paid {amount}"


async def begun(plane: ControlPlane, workflow: str) -> Case:
    case = await plane.start(workflow, {"amount": 1}, requester="person:ana")
    await calm(plane)
    return await plane.case(case.id)


async def calm(plane: ControlPlane) -> None:
    """All cases have settled, those too that others have started meanwhile."""
    while True:
        await plane.wait_all([case.id for case in (await plane.cases()).items], "settled", 60)
        if all(case.status in SETTLED for case in (await plane.cases()).items):
            return


async def the_item(plane: ControlPlane, kind: Any) -> Item:
    (item,) = (await plane.inbox.list(kind)).items
    return item


async def written(plane: ControlPlane) -> None:
    """wim does the one task that waits, and the case goes on."""
    item = await the_item(plane, "task")
    assert item.assignee == "person:wim"
    await plane.inbox.complete(item.id, {"text": "x"}, by="person:wim")
    await calm(plane)


async def refused(plane: ControlPlane, item: str, by: str, decision: Decision = YES) -> str:
    with pytest.raises(errors.NotAuthorized) as caught:
        await plane.inbox.decide(item, decision, by=by)
    assert (await plane.inbox.get(item)).open
    return caught.value.message


@pytest.mark.parametrize("decision", [YES, NO], ids=lambda one: one.kind)
@pytest.mark.parametrize("gate", [True, False], ids=["gate", "call"])
async def test_who_prepared_in_the_child_does_not_approve_in_the_parent(gate: bool, decision: Decision) -> None:
    async with firm(child(), parent(gate=gate)) as plane:
        case = await begun(plane, "parent")
        await written(plane)
        item = await the_item(plane, "approval")
        assert item.case_id == case.id and sorted(item.eligible) == ["person:bo", "person:cy"]
        assert "kept apart" in await refused(plane, item.id, "person:wim", decision)
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.claim(item.id, by="person:wim")
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.delegate(item.id, to="person:wim", by="person:bo")
        await plane.inbox.decide(item.id, YES, by="person:bo")
        assert (await plane.wait(case.id, "ended", 60)).status == "completed"


async def test_who_prepared_in_the_parent_does_not_approve_in_the_child() -> None:
    async with firm(child(gate=True), parent(first=True)) as plane:
        case = await begun(plane, "parent")
        await written(plane)
        plane.services.actors.person("person:wim").skills.discard("writing")
        plane.services.actors.person("person:cy").skills.add("writing")
        task = await the_item(plane, "task")
        await plane.inbox.complete(task.id, {"text": "y"}, by=task.assignee or "")
        await calm(plane)
        gate = await the_item(plane, "approval")
        assert gate.case_id != case.id and gate.task == "release"
        done = {"person:wim", task.assignee}
        assert set(gate.eligible) == {"person:wim", "person:bo", "person:cy"} - done
        for by in done:
            await refused(plane, gate.id, str(by))
        await plane.inbox.decide(gate.id, YES, by=gate.eligible[0])


async def test_cases_that_have_nothing_to_do_with_each_other_keep_nobody_apart() -> None:
    async with firm(child(), parent(gate=True)) as plane:
        other = await begun(plane, "child")
        await written(plane)
        case = await begun(plane, "parent")
        task = await the_item(plane, "task")
        await plane.inbox.complete(task.id, {"text": "z"}, by="person:wim")
        await calm(plane)
        assert await plane.services.db.read(lambda tx: preparers(tx, "default", case.id)) == {"person:wim"}
        assert await plane.services.db.read(lambda tx: preparers(tx, "default", other.id)) == {"person:wim"}
        assert await plane.services.db.read(lambda tx: preparers(tx, "other", case.id)) == set()


async def test_who_works_on_the_case_after_the_question_was_asked_does_not_answer_it() -> None:
    """Seen in the commit of the answer: wim was asked, then calls a tool in the case, then says yes."""
    async with firm(twice()) as plane:
        case = await begun(plane, "twice")
        item = await the_item(plane, "approval")
        assert "person:wim" in item.eligible
        assert (await note(plane, case, "person:wim")).status == "done"
        for decision in (YES, NO):
            assert "kept apart" in await refused(plane, item.id, "person:wim", decision)
        await plane.inbox.decide(item.id, YES, by="person:bo")


async def test_an_approval_of_somebody_who_then_works_on_the_case_is_asked_again() -> None:
    async with firm(child()) as plane:
        case = await begun(plane, "child")
        asked = await plane.call_tool("bank.pay", {"amount": 9}, actor="person:cy", case_id=case.id)
        assert asked.approval is not None
        await plane.inbox.decide(asked.approval, YES, by="person:bo")
        assert (await note(plane, case, "person:bo")).status == "done"
        again = await plane.call_tool(
            "bank.pay", {"amount": 9}, actor="person:cy", case_id=case.id, approval=asked.approval
        )
        assert again.status == "asked" and again.approval != asked.approval


@asynccontextmanager
async def apart(tmp_path: Path, text: str = GATES, *workflows: Workflow, **options: Any) -> AsyncIterator[ControlPlane]:
    folder = tmp_path / "policies"
    folder.mkdir(exist_ok=True)
    (folder / "t.cedar").write_text(BASE, "utf-8")
    (folder / "conflicts.yaml").write_text(text, "utf-8")
    async with firm(twice(), *workflows, policies=folder, **options) as plane:
        await plane.ready()
        yield plane


async def test_who_decided_one_gate_does_not_decide_the_other(tmp_path: Path) -> None:
    async with apart(tmp_path) as plane:
        assert plane.policies.check() == [] and plane.policies.hints() == []
        case = await begun(plane, "twice")
        first = await the_item(plane, "approval")
        await plane.inbox.decide(first.id, YES, by="person:bo")
        await calm(plane)
        second = await the_item(plane, "approval")
        assert (second.task, sorted(second.eligible)) == ("second", ["person:cy", "person:wim"])
        for decision in (YES, NO):
            await refused(plane, second.id, "person:bo", decision)
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.claim(second.id, by="person:bo")
        why = (
            plane.policies.explain(second.request, plane.services.actors.people())["who_not"] if second.request else {}
        )
        assert why["chief"]["person:bo"] == [
            "sod.conflict.gate.1.twice.second.twice.first: who releases the first step does not release the second"
        ]
        await plane.inbox.decide(second.id, YES, by="person:cy")
        assert (await plane.wait(case.id, "ended", 60)).status == "completed"


@pytest.mark.parametrize("way", ["deputy", "delegate"])
async def test_nor_through_somebody_else(tmp_path: Path, way: str) -> None:
    """bo decided the first gate; neither does bo stand in for cy at the second, nor anybody for bo."""
    async with apart(tmp_path) as plane:
        await begun(plane, "twice")
        now = plane.services.clock.now()
        await plane.inbox.decide((await the_item(plane, "approval")).id, YES, by="person:bo")
        await calm(plane)
        second = await the_item(plane, "approval")
        plane.register_actor(Person("dee"))
        until = now.replace(year=now.year + 1)
        for giver, taker in (("bo", "dee"), ("cy", "bo")):
            if way == "delegate":
                await plane.delegations.give(f"person:{giver}", f"person:{taker}", until=until, by=f"person:{giver}")
            else:
                person = plane.services.actors.person(f"person:{giver}")
                person.deputy, person.calendar = f"person:{taker}", [(now, until)]
            await refused(plane, second.id, f"person:{taker}")
        await plane.inbox.decide(second.id, YES, by="person:wim")


async def test_a_gate_keeps_from_a_tool_and_a_tool_from_a_gate(tmp_path: Path) -> None:
    async with apart(tmp_path) as plane:
        for by, first in (("person:bo", "gate"), ("person:cy", "tool")):
            case = await begun(plane, "twice")
            item = await the_item(plane, "approval")
            if first == "tool":
                assert (await note(plane, case, by)).status == "done"
                await refused(plane, item.id, by)
                await plane.cancel(case.id, by="person:bo")
                continue
            await plane.inbox.decide(item.id, YES, by=by)
            no = await note(plane, case, by)
            assert no.status == "denied" and no.reasons[0].policy == "sod.conflict.2.bank.note.twice.first"
            assert (await note(plane, case, "person:wim")).status == "done"
            await plane.cancel(case.id, by="person:bo")


async def note(plane: ControlPlane, case: Case, by: str) -> ToolResult:
    return await plane.call_tool("bank.note", {"amount": 1}, actor=by, case_id=case.id)


async def test_two_gates_at_once_are_not_both_decided_by_one(tmp_path: Path) -> None:
    """Both are open in related cases; the second answer sees the first in its commit."""
    wf = Workflow("both", State)

    @wf.task(skill="starting")
    async def start(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [await call.start(name, {"amount": 1}, wait=False) for name in ("one", "two")]}

    parts = [Workflow(name, State) for name in ("one", "two")]
    for part in parts:
        part.flow(START, part.approval("ok", authority="chief"), END)
    rows = "- {between: [one.ok, two.ok], within: case, why: two pairs of eyes}"
    async with apart(tmp_path, rows, wf.flow(START, start, END), *parts) as plane:
        await begun(plane, "both")
        items = (await plane.inbox.list("approval")).items
        assert {item.task for item in items} == {"ok"} and len(items) == 2
        said = [plane.inbox.decide(item.id, YES, by="person:bo") for item in items]
        told = await asyncio.gather(*said, return_exceptions=True)
        assert sorted(type(one).__name__ for one in told) == ["Item", "NotAuthorized"]


def test_a_row_that_names_a_gate_that_is_not_there_is_found_once(tmp_path: Path) -> None:
    async def told() -> list[str]:
        async with apart(tmp_path) as plane:
            (tmp_path / "policies" / "conflicts.yaml").write_text(GATES.replace("twice.second", "twice.secnd"))
            return [str(problem) for problem in await plane.policies.reload()]

    problems = asyncio.run(told())
    assert problems and all("conflicts.yaml:2:1: row 1" in problem for problem in problems)
    assert any("did you mean twice.second" in problem for problem in problems)


async def test_a_decision_from_another_process_is_refused_like_every_other(tmp_path: Path) -> None:
    async with apart(tmp_path, url=f"sqlite:///{tmp_path / 'home' / 'interlock.db'}") as plane:
        case = await begun(plane, "twice")
        await plane.inbox.decide((await the_item(plane, "approval")).id, YES, by="person:bo")
        await calm(plane)
        second = await the_item(plane, "approval")
        for by in ("person:bo", "person:ana", "person:nobody", "person:cy"):
            command = [sys.executable, str(ANSWERER), str(tmp_path / "home"), by, "1"]
            done = await asyncio.to_thread(
                subprocess.run, command, input=second.id, capture_output=True, text=True, check=True, timeout=120
            )
            assert done.stdout.strip() == ("decided" if by == "person:cy" else "not_authorized"), by
        assert (await plane.wait(case.id, "ended", 60)).status == "completed"


async def test_without_a_row_about_gates_nobody_s_acts_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def acts(reader: Any, tenant: str, case_id: str) -> dict[str, list[str]]:
        looked.append(case_id)
        return {}

    monkeypatch.setattr(participants, "acts", acts)
    async with firm(twice()) as plane:
        case = await begun(plane, "twice")
        await plane.inbox.decide((await the_item(plane, "approval")).id, YES, by="person:bo")
        await calm(plane)
        await plane.inbox.decide((await the_item(plane, "approval")).id, YES, by="person:bo")
        assert (await plane.wait(case.id, "ended", 60)).status == "completed"
    assert looked == []


async def test_relatives_are_found_by_indexes(tmp_path: Path) -> None:
    async with firm(url=f"sqlite:///{tmp_path / 'interlock.db'}") as plane:
        sql = "EXPLAIN QUERY PLAN " + participants._RELATED + participants._CALLS
        rows = await plane.services.db.read(lambda tx: tx.rows(sql, ("c", "default", "default", "default")))
        scans = [row["detail"] for row in rows if row["detail"].startswith("SCAN") and "related" not in row["detail"]]
        assert [scan for scan in scans if scan not in {"SCAN up", "SCAN CONSTANT ROW"}] == []
