"""A small project for the commands: orders that are vetted and placed, an ERP that is a file, three people.

`SHOP_ERP` names the file to which every order is appended. `SHOP_HOLD` names a file whose absence holds orders back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from langgraph.graph import END, START
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from interlock import ControlPlane, Money, Person, ToolContext, Workflow, errors


class Order(BaseModel):
    supplier: str = Field(min_length=1)
    total: int = Field(ge=0, description="Cents.")
    note: str = ""


class Placed(BaseModel):
    po: str | None = None


class State(TypedDict, total=False):
    supplier: str
    total: int
    note: str
    checked: bool
    po: str


def figures(pairs: Sequence[tuple[Any, Any]]) -> dict[str, int]:
    return {"orders": sum(bool(result["po"]) for _, result in pairs)}


wf = Workflow(
    "orders",
    State,
    input=Order,
    output=Placed,
    owner="finance",
    sla=timedelta(days=1),
    key=lambda order: f"{order.supplier}/{order.note}/{order.total}",
    order=lambda order: order.total,
    figures=figures,
)


@wf.task(skill="vendors")
async def vet(state: Any, call: Any) -> dict[str, Any]:
    if state["supplier"] == "unknown":
        raise errors.AgentFailed("nobody knows this supplier", "name another", found={"asked": state["supplier"]})
    return {"checked": True}


@wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
async def order(state: Any, call: Any) -> dict[str, Any]:
    while (hold := os.environ.get("SHOP_HOLD")) and not Path(hold).exists():  # noqa: ASYNC110  # it waits for a file
        await asyncio.sleep(0.02)
    return {"po": await call("erp.create_po", {"supplier": state["supplier"], "total": state["total"]})}


def route(state: Any) -> str | None:
    if state["supplier"] == "broken":
        raise RuntimeError("the route is broken")
    return "look" if state["note"] == "by hand" else None


wf.task("look", skill="looking", output=Placed)
wf.flow(START, vet, order, END)
wf.branch(vet, route, ["look"])


async def create_po(supplier: str, total: int, ctx: ToolContext) -> str:
    with Path(os.environ["SHOP_ERP"]).open("a", encoding="utf-8") as erp:
        erp.write(f"{ctx.key} {supplier} {total}\n")
    return f"PO-{supplier}-{total}"


@asynccontextmanager
async def setup(plane: ControlPlane, reference: Path | None = None) -> AsyncIterator[None]:
    if os.environ.get("SHOP_DOWN"):
        raise errors.Unreachable("the ERP does not answer", "start it")
    plane.register_tool(
        create_po, name="erp.create_po", system="erp", scope="po:write", effect="write", idempotent=True,
        money=lambda args: Money(args["total"], "EUR"),
    )  # fmt: skip
    plane.register_actor(Person("requester"))
    plane.register_actor(Person("bo", authorities={"purchasing": Money.of("5000", "EUR")}, roles={"operator"}))
    plane.register_actor(Person("kim", authorities={"purchasing": Money.of("20000", "EUR")}))
    plane.register_actor(Person("loo", skills={"looking"}))
    plane.register(wf)
    yield
