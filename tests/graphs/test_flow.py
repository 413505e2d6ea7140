"""Sequences, branches and loops of code tasks, in every kind of state class."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest
from langgraph.graph import END, START
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import Money, Workflow, errors
from tests.graphs.office import State, buying, events, failure, office


class Log(TypedDict, total=False):
    total: int
    log: Annotated[list[str], operator.add]


@dataclass
class DataLog:
    total: int = 0
    log: Annotated[list[str], operator.add] = None  # type: ignore[assignment]  # channels start empty


class ModelLog(BaseModel):
    total: int = 0
    log: Annotated[list[str], operator.add] = []


def writing(name: str, wf: Workflow) -> Any:
    async def task(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [f"{name}:{call.task}"]}

    task.__name__ = name
    return wf.task(skill=name)(task)


async def done(wf: Workflow, value: dict[str, Any]) -> Any:
    async with office(wf) as plane:
        case = await plane.start(wf.name, value, requester="person:ana")
        return await plane.wait(case.id, until="ended", timeout=30)


@pytest.mark.parametrize("schema", [Log, DataLog, ModelLog])
async def test_tasks_run_in_the_order_of_the_flow(schema: Any) -> None:
    wf = Workflow("steps", schema)
    case = await done(wf.flow(START, *(writing(name, wf) for name in "abc"), END), {"total": 1})
    assert (case.status, case.values["log"]) == ("completed", ["a:a", "b:b", "c:c"])


async def test_code_sees_its_own_state_class() -> None:
    wf, seen = Workflow("classes", ModelLog), []

    @wf.task(skill="x")
    async def look(state: ModelLog, call: Any) -> None:
        seen.append(state)

    await done(wf.flow(START, look, END), {"total": 3})
    assert seen == [ModelLog(total=3)]


async def test_a_branch_chooses_and_none_keeps_the_flow() -> None:
    def built() -> Workflow:
        wf = Workflow("ways", Log)
        a, b, c = (writing(name, wf) for name in "abc")
        wf.flow(START, a, b, c, END)
        return wf.branch(a, lambda s: c if s["total"] > 5 else None)

    assert (await done(built(), {"total": 9})).values["log"] == ["a:a", "c:c"]
    assert (await done(built(), {"total": 1})).values["log"] == ["a:a", "b:b", "c:c"]


def test_a_flow_to_nowhere_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="no step 'nowhere'"):
        buying().flow("order", "nowhere").compile()


async def test_three_visits_are_three_orders() -> None:
    wf = Workflow("loop", Log)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [await call("erp.create_po", {"supplier": "acme", "total": 1})]}

    wf.flow(START, order, END).branch(order, lambda s: "order" if len(s["log"]) < 3 else END, ["order", END])
    async with office(wf) as plane:
        case = await plane.start("loop", {}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values["log"] == ["PO-1", "PO-2", "PO-3"]
        assert len(await events(plane, case.id, "tool.outcome")) == 3
        assert [e["data"]["visit"] for e in await events(plane, case.id, "task.finished")] == [1, 2, 3]


async def test_typed_input_and_output() -> None:
    class Request(BaseModel):
        total: int
        at: datetime

    class Result(BaseModel):
        year: int
        price: dict[str, Any]

    class Full(TypedDict, total=False):
        total: int
        at: datetime
        year: int
        price: Money

    wf = Workflow("typed", Full, input=Request, output=Result, sla=timedelta(hours=1))

    @wf.task(skill="x")
    async def look(state: Any, call: Any) -> dict[str, Any]:
        return {"year": state["at"].year, "price": Money(state["total"], "EUR")}

    @wf.task(skill="y")
    async def again(state: Any, call: Any) -> dict[str, Any]:
        assert isinstance(state["price"], Money), "a checkpoint gives back what was put into it"
        return {"price": {"amount": state["price"].amount}}

    wf.flow(START, look, again, END)
    async with office(wf) as plane:
        with pytest.raises(errors.InputError, match="at:"):
            await plane.start("typed", {"total": 5, "at": "never"}, requester="person:ana")
        case = await plane.start("typed", {"total": "5", "at": "2026-03-01T00:00:00Z"}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert case.values == {"year": 2026, "price": {"amount": 5}}
        (ended,) = await events(plane, case.id, "case.completed")
        assert ended["data"]["sla_met"] is True


async def test_an_output_that_does_not_fit_fails_the_case() -> None:
    class Result(BaseModel):
        po: int

    wf = Workflow("typed", State, output=Result)

    @wf.task(skill="x")
    async def look(state: Any, call: Any) -> dict[str, Any]:
        return {"po": "no number"}

    case = await done(wf.flow(START, look, END), {})
    assert (case.status, failure(case)["code"]) == ("failed", "output")


async def test_a_plain_node_that_raises_fails_the_case_with_its_error() -> None:
    wf = Workflow("plain", State)

    async def breaks(state: Any) -> None:
        raise ZeroDivisionError("nothing divides by nought")

    wf.add_node("breaks", breaks)
    wf.add_edge(START, "breaks").add_edge("breaks", END)
    case = await done(wf, {})
    assert case.status == "failed"
    assert case.error == {"code": "ZeroDivisionError", "message": "nothing divides by nought"}


def test_a_description_that_makes_no_sense_is_refused() -> None:
    wf = Workflow("bad", State)
    wf.task("one", skill="x")
    with pytest.raises(errors.ConfigurationError, match="twice"):
        wf.task("one", skill="x")
    with pytest.raises(errors.ConfigurationError, match="keywords"):
        wf.task("two", skil="x")
    with pytest.raises(errors.ConfigurationError, match="not async"):
        wf.task(skill="x")(lambda state, call: {})  # type: ignore[arg-type,return-value]  # no task of ours
    with pytest.raises(errors.ConfigurationError, match="state class"):
        Workflow("bad", dict)
    with pytest.raises(errors.ConfigurationError, match="both call"):
        wf.approval("gate", authority="x", for_task="one")
    with pytest.raises(errors.InputError):
        Workflow("bad name", State)
    with pytest.raises(errors.InputError):
        wf.approval("bad name", authority="x")


@pytest.mark.parametrize("option", [{"amount": "totl"}, {"show": ["totl"]}, {"show": "total"}, {"escalate": "cfo"}])
def test_a_gate_that_asks_for_what_is_not_there_is_refused(option: dict[str, Any]) -> None:
    """A misspelt amount would be no amount, which is within everybody's limit."""
    with pytest.raises(errors.ConfigurationError):
        Workflow("bad", State).approval("gate", authority="x", **option)


@pytest.mark.parametrize("option", ["tools", "context", "scopes", "roles"])
def test_one_name_is_no_list_of_names(option: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"write \w+=\['erp.stock'\]"):
        Workflow("bad", State).task("one", **{option: "erp.stock"})


def test_nodes_carry_what_studio_shows() -> None:
    drawn = buying(sla=timedelta(days=1)).compile().get_graph()
    shown = drawn.nodes["order"].metadata or {}
    assert {"kind": "agent", "skill": "buying", "tools": ["erp.create_po"], "owner": "finance"}.items() <= shown.items()
