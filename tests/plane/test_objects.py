"""Cases that write the same business object take turns."""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.graph import END, START

from interlock import ToolContext, Workflow
from interlock.graphs.cases import Case
from tests.graphs.office import State, events, office


class Shelf:
    """Counts how many write to it at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def change(self, place: str, ctx: ToolContext) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return f"{place} {ctx.token}"


def moving() -> Workflow:
    wf = Workflow("moving", State)

    @wf.task(skill="moving", tools=["shelf.change"])
    async def move(state: Any, call: Any) -> dict[str, Any]:
        first = await call("shelf.change", {"place": "a1"})
        return {"log": [first, await call("shelf.change", {"place": "a1"})]}

    return wf.flow(START, move, END)


async def test_many_cases_on_one_object_all_have_their_turn() -> None:
    shelf = Shelf()
    async with office(moving()) as plane:
        plane.register_tool(shelf.change, name="shelf.change", resource=lambda args: f"place/{args.place}")
        started = await plane.start_many("moving", [{}] * 8, requester="person:ana")
        cases = await plane.wait_all([case.id for case in started if isinstance(case, Case)], timeout=60)
        assert [case.status for case in cases] == ["completed"] * 8
        assert shelf.most == 1
        assert sorted(case.values["log"] for case in cases) == [[f"a1 {n}", f"a1 {n}"] for n in range(1, 9)]
        kinds = [event["type"] for event in await events(plane, None, "lease.taken", "lease.released")]
        assert kinds == ["lease.taken", "lease.released"] * 8
