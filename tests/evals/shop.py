"""A small project for the runner: orders, of which the larger ones wait for a person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langgraph.graph import END, START
from typing_extensions import TypedDict

from interlock import ControlPlane, Money, Person, Workflow

POLICY = """
@id("buy") permit (principal, action == Interlock::Action::"shop.buy", resource)
when { context.amount <= 10000 || context.approvals.purchasing >= 1 };
@id("buyer") permit (
  principal in Interlock::Role::"purchasing", action == Interlock::Action::"approve:shop.buy", resource
) when { principal.limit >= context.amount };
"""
OPENED: list[dict[str, Any]] = []


class Order(TypedDict, total=False):
    item: str
    total: int
    receipt: str


def workflow() -> Workflow:
    wf = Workflow("buying", Order)

    @wf.task(tools=["shop.buy"])
    async def buy(state: Order, call: Any) -> Order:
        bought = await call("shop.buy", {name: value for name, value in state.items() if name != "receipt"})
        return {"receipt": bought}

    return wf.flow(START, buy, END)


@asynccontextmanager
async def setup(
    plane: ControlPlane, reference: Path | None = None, faults: Sequence[Mapping[str, Any]] = ()
) -> AsyncIterator[None]:
    """Opens a shop; a fault names an item that is sold out."""
    missing = {fault["sold_out"] for fault in faults}
    stock = dict.fromkeys(["cup", "car"], 2)
    OPENED.append({"reference": reference, "missing": missing})

    async def buy(item: str, total: int) -> str:
        if item in missing or not stock.get(item):
            raise LookupError(f"no {item} left")
        stock[item] -= 1
        return f"{item} {stock[item]}"

    plane.register_tool(buy, name="shop.buy", effect="write", money=lambda args: Money(args["total"], "EUR"))
    for person in (Person("ana"), Person("bo", authorities={"purchasing": Money(500_000, "EUR")}), Person("cy")):
        plane.register_actor(person)
    plane.register_actor(Person("op", roles={"operator"}))
    plane.register(workflow())
    yield
