"""An approval that no longer holds when the case goes on: another person is asked, under a question of its own."""

from __future__ import annotations

from typing import Any

from langgraph.graph import END, START
from pydantic import BaseModel

from interlock import ControlPlane, Decision, Money, Person, Workflow


class Purchase(BaseModel):
    total: int
    ordered: bool = False


def buying() -> Workflow:
    workflow = Workflow("buying", Purchase, input=Purchase, output=Purchase, version="1", owner="ops")
    approve = workflow.approval("approve", amount="total", authority="purchasing", show=["total"], on_reject=END)

    @workflow.task(skill="ordering")
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"ordered": True}

    workflow.flow(START, approve, order, END)
    return workflow


async def test_a_gate_asks_again_when_the_approver_lost_the_limit_meanwhile() -> None:
    async with ControlPlane.open(":memory:") as plane:
        for name in ("ana", "bo", "cy"):
            plane.register_actor(Person(name, authorities={"purchasing": Money(1000, "EUR")}))
        plane.register(buying())
        case = await plane.start("buying", {"total": 500}, requester="person:ana")
        first = (await plane.wait(case.id, timeout=30)).waiting_for[0].item
        await plane.pause(case.id, by="person:ana")
        assert first is not None
        await plane.approvals.decide(first, Decision.approve(), by="person:bo")
        plane.services.actors.person("person:bo").authorities["purchasing"] = Money(1, "EUR")
        await plane.resume(case.id, by="person:ana")
        waiting = await plane.wait(case.id, timeout=30)
        assert waiting.status == "waiting"
        second = waiting.waiting_for[0].item
        assert second not in (None, first)
        await plane.approvals.decide(str(second), Decision.approve(), by="person:cy")
        done = await plane.wait(case.id, timeout=30)
        assert (done.status, done.values) == ("completed", {"total": 500, "ordered": True})
