"""What tests of graphs and of the plane share: a small office with people, an ERP that counts, and a policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from langgraph.graph import END, START
from typing_extensions import TypedDict

from interlock import ControlPlane, Money, Person, Workflow
from interlock.graphs.cases import Case
from interlock.settings import Settings

START_TIME = datetime(2026, 3, 2, 8, tzinfo=UTC)
POLICY = """
@id("READ") permit(principal, action in Interlock::Action::"effect:read", resource);
@id("WRITE") permit(principal, action in Interlock::Action::"effect:write", resource)
  when { context.amount <= 100000 };
@id("BUY") permit(principal, action in Interlock::Action::"effect:write", resource)
  when { context.amount <= 1000000 && context.approvals.purchasing >= 1 };
@id("BUY-2") permit(principal, action in Interlock::Action::"effect:write", resource)
  when { context.approvals.purchasing >= 2 };
@id("WHO") permit(principal is Interlock::Person, action in Interlock::Action::"approve:effect:write", resource)
  when { principal.limit >= context.amount };
"""


class State(TypedDict, total=False):
    """Enough for the workflows of the tests."""

    total: int
    left: str
    right: str
    po: str
    note: str
    log: list[str]


@dataclass
class Erp:
    """An outside system that counts what happens to it, and can be told to be slow or to break."""

    orders: list[tuple[str, int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event | None = None

    async def create_po(self, supplier: str, total: int) -> str:
        self.entered.set()
        if self.release is not None:
            await self.release.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.orders.append((supplier, total))
        return f"PO-{len(self.orders)}"

    async def stock(self, item: str) -> int:
        return len(item)


def people() -> list[Person]:
    return [
        Person("ana", skills={"checking"}),
        Person("bo", authorities={"purchasing": Money.of("5000", "EUR")}),
        Person("cy", authorities={"purchasing": Money.of("50000", "EUR")}),
        Person("op", roles={"operator"}),
    ]


def fill(plane: ControlPlane, erp: Erp) -> None:
    plane.register_tool(
        erp.create_po, name="erp.create_po", system="erp", scope="po:write", effect="write", sandbox=True,
        money=lambda args: Money(args["total"], "EUR"),
    )  # fmt: skip
    plane.register_tool(erp.stock, name="erp.stock", effect="read")
    for person in people():
        plane.register_actor(person)


@asynccontextmanager
async def office(
    *workflows: Any, url: str = ":memory:", erp: Erp | None = None, policy: str = POLICY, **options: Any
) -> AsyncIterator[ControlPlane]:
    """An open plane with the office on it."""
    if "settings" in options:
        options["settings"] = Settings(**options["settings"])
    async with ControlPlane.open(url, policies={"office.cedar": policy}, **options) as plane:
        fill(plane, erp or Erp())
        for workflow in workflows:
            plane.register(workflow)
        yield plane


def buying(version: str = "1", **options: Any) -> Workflow:
    """One task that orders for `total` cents."""
    wf = Workflow("buying", State, version=version, owner="finance", **options)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": state.get("total", 100)})}

    return wf.flow(START, order, END)


async def events(plane: ControlPlane, case_id: str | None = None, *types: str) -> list[dict[str, Any]]:
    """The ledger's events of a case, of some types."""
    return [e async for e in plane.ledger.export(case_id=case_id) if not types or e["type"] in types]


async def asked_to_drain(plane: ControlPlane, case_id: str) -> None:
    """Return when the drive of a case has been told to end at its next step."""
    while not plane._engine._controls[case_id].drain_requested:  # noqa: ASYNC110  # a flag of LangGraph's
        await asyncio.sleep(0.001)


async def only_item(plane: ControlPlane, case_id: str) -> Any:
    """The one open item of a case."""
    (item,) = (await plane.inbox.list(case_id=case_id)).items
    return item


def waits_on(case: Case, place: int = 0) -> str:
    """The inbox item that a case waits for."""
    item = case.waiting_for[place].item
    assert item is not None, case
    return item


def failure(case: Case) -> dict[str, Any]:
    """Why a case failed."""
    assert case.error is not None, case
    return case.error
