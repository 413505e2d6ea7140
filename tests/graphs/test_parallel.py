"""Parallel lists: branches go on while others wait, join once, and answers come in any order or at the same instant."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

import pytest
from langgraph.graph import END, START
from typing_extensions import TypedDict

from interlock import Decision, Workflow, errors
from tests.graphs.office import Erp, events, failure, office, waits_on


class Log(TypedDict, total=False):
    total: int
    left: str
    right: str
    log: Annotated[list[str], operator.add]


def forked(left: int, right: int) -> Workflow:
    """Two orders at the same time, of these amounts; then a join that says how often it ran."""
    wf = Workflow("forked", Log)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def west(state: Any, call: Any) -> dict[str, Any]:
        return {"left": await call("erp.create_po", {"supplier": "west", "total": left}), "log": ["west"]}

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def east(state: Any, call: Any) -> dict[str, Any]:
        return {"right": await call("erp.create_po", {"supplier": "east", "total": right}), "log": ["east"]}

    @wf.task(skill="joining")
    async def join(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [f"join {len(state['log'])}"]}

    return wf.flow(START, [west, east], join, END)


async def test_both_run_and_join_once() -> None:
    async with office(forked(1, 2)) as plane:
        case = await plane.start("forked", {}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.status == "completed"
        assert sorted(case.values["log"][:2]) == ["east", "west"]
        assert case.values["log"][2:] == ["join 2"]


async def test_a_branch_runs_to_its_end_while_the_other_waits() -> None:
    erp = Erp()
    async with office(forked(500_000, 2), erp=erp) as plane:
        case = await plane.start("forked", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert [waiting.kind for waiting in case.waiting_for] == ["approval"]
        assert erp.orders == [("east", 2)]
        (east,) = [e["data"]["task"] for e in await events(plane, case.id, "task.finished")]
        assert east == "east"
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["log"][2:] == ["join 2"]
        assert sorted(erp.orders) == [("east", 2), ("west", 500_000)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [True, False])
async def test_two_answers_complete_the_case_once(order: tuple[int, int], together: bool) -> None:
    erp = Erp()
    async with office(forked(200_000, 300_000), erp=erp) as plane:
        case = await plane.start("forked", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert len(case.waiting_for) == 2
        answers = [plane.approvals.decide(waits_on(case, i), Decision.approve(), by="person:bo") for i in order]
        if together:
            await asyncio.gather(*answers)
        else:
            for answer in answers:
                await answer
                await plane.wait(case.id, timeout=30)
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, case.values["log"][2:]) == ("completed", ["join 2"])
        assert sorted(erp.orders) == [("east", 300_000), ("west", 200_000)]
        assert len(await events(plane, case.id, "case.completed")) == 1
        assert len(await events(plane, case.id, "tool.outcome")) == 2


async def test_one_no_and_one_yes() -> None:
    async with office(forked(200_000, 300_000)) as plane:
        case = await plane.start("forked", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        first, second = (waits_on(case, place) for place in (0, 1))
        await asyncio.gather(
            plane.approvals.decide(first, Decision.reject("too dear"), by="person:bo"),
            plane.approvals.decide(second, Decision.approve(), by="person:bo"),
        )
        case = await plane.wait(case.id, timeout=30)
        (waiting,) = case.waiting_for
        assert waiting.kind == "exception"
        item = await plane.inbox.get(str(waiting.item))
        assert item.reasons[0].policy == "rejected"
        await plane.inbox.decide(item.id, Decision.reject("then not"), by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, failure(case)["code"]) == ("failed", "rejected")


async def test_a_branch_cannot_branch() -> None:
    wf = forked(1, 1)
    with pytest.raises(errors.ConfigurationError, match="parallel"):
        wf.branch("west", lambda state: END)


async def test_many_branches_keep_their_order_in_a_reducer() -> None:
    wf = Workflow("wide", Log)

    def task(name: str) -> Any:
        async def run(state: Any, call: Any) -> dict[str, Any]:
            await asyncio.sleep(0.001 * (hash(name) % 7))
            return {"log": [name]}

        run.__name__ = name
        return wf.task(skill="x")(run)

    names = [f"b{number:02}" for number in range(12)]
    wf.flow(START, [task(name) for name in names], END)
    async with office(wf) as plane:
        case = await plane.start("wide", {}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["log"] == names


def gated(on_reject: Any = None) -> Workflow:
    wf = Workflow("gated", Log)

    @wf.task(skill="checking-code")
    async def check(state: Any, call: Any) -> dict[str, Any]:
        return {"log": ["check"]}

    @wf.task(skill="going")
    async def go(state: Any, call: Any) -> dict[str, Any]:
        return {"log": ["go"]}

    @wf.task(skill="undoing")
    async def undo(state: Any, call: Any) -> dict[str, Any]:
        return {"log": ["undo"]}

    gate = wf.approval("gate", authority="purchasing", amount="total", on_reject=undo if on_reject else None)
    wf.flow(START, [check, gate], go, END)
    return wf.flow(undo, END)


@pytest.mark.parametrize(
    ("on_reject", "decision", "log"),
    [(False, Decision.approve(), ["check", "go"]), (False, Decision.reject("no"), ["check"]),
     (True, Decision.reject("no"), ["check", "undo"])],
)  # fmt: skip
async def test_a_gate_in_a_parallel_list(on_reject: bool, decision: Decision, log: list[str]) -> None:
    async with office(gated(on_reject)) as plane:
        case = await plane.start("gated", {"total": 1000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        await plane.approvals.decide(waits_on(case), decision, by="person:bo")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, case.values["log"]) == ("completed", log)
