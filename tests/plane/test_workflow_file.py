"""A workflow file as the documentation shows it, word for word, with the tools and people that it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import ControlPlane, Decision, Money, Person, Workflow
from interlock.graphs.cases import Case
from interlock.graphs.compiled import GovernedGraph
from interlock.testing import ManualClock
from tests.graphs.office import START_TIME, events, waits_on

POLICY = """
@id("READ") permit(principal, action in Interlock::Action::"effect:read", resource);
@id("ORDER") permit(principal, action == Interlock::Action::"erp.create_po", resource);
"""


class Request(BaseModel):
    vendor: str
    total: int


class Result(BaseModel):
    po: str | None = None


class ContractReview(BaseModel):
    contract_ok: bool
    notes: str = ""


class State(TypedDict, total=False):
    vendor: str
    total: int
    vendor_ok: bool
    contract_ok: bool
    notes: str
    budget_ok: bool
    po: str


def procurement() -> GovernedGraph:
    wf = Workflow(
        "procurement", State, input=Request, output=Result, version="1", owner="finance-ops", sla=timedelta(days=1)
    )

    @wf.task(skill="vendors", tools=["screening.lookup"], scopes={"vendor:read"})
    async def validate_vendor(state: Any, call: Any) -> dict[str, Any]:
        return {"vendor_ok": await call("screening.lookup", {"vendor": state["vendor"]})}

    wf.task(
        "review_contract",
        skill="contracts",
        instructions="Read the contract.",
        output=ContractReview,
        tools=["screening.lookup"],
        context=["contracts"],
    )

    @wf.task(skill="budgets")
    async def check_budget(state: Any, call: Any) -> dict[str, Any]:
        return {"budget_ok": True}

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"vendor": state["vendor"], "total": state["total"]})}

    approve = wf.approval(
        "approve",
        amount="total",
        authority="purchasing",
        show=["vendor", "total", "contract_ok", "budget_ok"],
        sla=timedelta(hours=4),
        escalate=["manager", "cfo"],
        on_reject=END,
    )
    wf.flow(START, validate_vendor, ["review_contract", "check_budget"], approve, order, END)
    wf.branch(validate_vendor, lambda s: END if not s["vendor_ok"] else None)
    return wf.compile()


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'home' / 'interlock.db'}"


@asynccontextmanager
async def company(url: str, clock: ManualClock) -> AsyncIterator[ControlPlane]:
    async def lookup(vendor: str) -> bool:
        return vendor != "shady"

    async def create_po(vendor: str, total: int) -> str:
        return f"PO-{vendor}-{total}"

    async with ControlPlane.open(url, policies={"procurement.cedar": POLICY}, clock=clock) as plane:
        plane.register_tool(lookup, name="screening.lookup", system="screening", scope="vendor:read", effect="read")
        plane.register_tool(
            create_po, name="erp.create_po", system="erp", scope="po:write", effect="write", idempotent=True,
            money=lambda args: Money(args["total"], "EUR"),
        )  # fmt: skip
        for person in (
            Person("ana"),
            Person("lea", skills={"contracts"}),
            Person("bo", authorities={"purchasing": Money.of("5000", "EUR")}),
        ):
            plane.register_actor(person)
        plane.register(procurement())
        yield plane


async def at_the_gate(plane: ControlPlane) -> Case:
    """A case whose contract was reviewed within ten minutes, by the person with that skill."""
    case = await plane.start("procurement", {"vendor": "acme", "total": 90_000}, requester="person:ana")
    case = await plane.wait(case.id, timeout=30)
    assert [(w.kind, w.action) for w in case.waiting_for] == [("task", "review_contract")]
    task = await plane.inbox.claim(waits_on(case), by="person:lea")
    await plane.services.clock.advance(timedelta(minutes=10))  # type: ignore[attr-defined]
    await plane.inbox.complete(task.id, {"contract_ok": True}, by="person:lea")
    return await plane.wait(case.id, timeout=30)


async def test_from_request_to_order(url: str) -> None:
    async with company(url, ManualClock(START_TIME)) as plane:
        case = await at_the_gate(plane)
        assert [(w.kind, w.action, w.authority) for w in case.waiting_for] == [
            ("approval", "procurement.approve", "purchasing")
        ]
        (item,) = (await plane.approvals.list()).items
        assert item.action["args"] == {"vendor": "acme", "total": 90_000, "contract_ok": True, "budget_ok": True}
        assert (item.money, item.eligible) == ({"amount": 90_000, "currency": "EUR"}, ["person:bo"])
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo", comment="fine")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, case.values) == ("completed", {"po": "PO-acme-90000"})
        figures = await plane.metrics.summary("procurement")
        assert (figures.cycle_s.p50, figures.work_s, figures.wait_s) == (600.0, 600.0, 0.0)
        assert (figures.money.EUR.executed, figures.approvals.approved, figures.sla_met) == (90_000, 1, 1.0)


async def test_a_vendor_that_does_not_pass_ends_the_case(url: str) -> None:
    async with company(url, ManualClock(START_TIME)) as plane:
        case = await plane.start("procurement", {"vendor": "shady", "total": 1}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, case.values) == ("completed", {"po": None})
        assert [e["data"]["task"] for e in await events(plane, case.id, "task.finished")] == ["validate_vendor"]


@pytest.mark.parametrize("answer", ["no", "silence"])
async def test_a_no_and_a_deadline_lead_where_the_gate_says(url: str, answer: str) -> None:
    clock = ManualClock(START_TIME)
    async with company(url, clock) as plane:
        case = await at_the_gate(plane)
        if answer == "no":
            await plane.approvals.decide(waits_on(case), Decision.reject("too dear"), by="person:bo")
        else:
            await clock.advance(timedelta(hours=4))
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, case.values) == ("completed", {"po": None})
        assert await events(plane, case.id, "tool.intent") == []
