"""Objects that cases hold: seen with who waits for them, and never held in a circle that nobody gets out of."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langgraph.graph import END, START

from interlock import ControlPlane, Workflow
from interlock.graphs.cases import Case
from tests.graphs.office import State, office


class Yard:
    """Two places, and a bar before the second one that a case enters."""

    def __init__(self) -> None:
        self.moved: list[str] = []
        self.inside = 0
        self.both = asyncio.Event()

    async def move(self, place: str) -> str:
        self.moved.append(place)
        return place

    async def meet(self) -> None:
        """Until both cases have their first place."""
        self.inside += 1
        if self.inside == 2:
            self.both.set()
        await self.both.wait()


def shunting(yard: Yard) -> Workflow:
    """Takes the places of `left` and `right`, in this order; a refusal is its result."""
    wf = Workflow("shunting", State)

    @wf.task(skill="shunting", tools=["yard.move"])
    async def shunt(state: Any, call: Any) -> dict[str, Any]:
        await call("yard.move", {"place": state["left"]})
        await yard.meet()
        try:
            return {"note": await call("yard.move", {"place": state["right"]})}
        except Exception as exc:
            return {"note": str(exc)}

    return wf.flow(START, shunt, END)


def parent(yard: Yard) -> Workflow:
    wf = Workflow("parent", State)

    @wf.task(skill="delegating", tools=["yard.move"])
    async def delegate(state: Any, call: Any) -> dict[str, Any]:
        await call("yard.move", {"place": "b"})
        return {"note": (await call.start("shunting", {"left": "a", "right": "b"}, wait=True))["note"]}

    yard.inside = 1
    return wf.flow(START, delegate, END)


def settle(plane: ControlPlane, yard: Yard) -> None:
    plane.register_tool(yard.move, name="yard.move", effect="write", resource=lambda args: f"place/{args.place}")


async def meeting(plane: ControlPlane, *ways: tuple[str, str]) -> list[Case]:
    started = [
        await plane.start("shunting", {"left": left, "right": right}, requester="person:ana") for left, right in ways
    ]
    return await plane.wait_all([case.id for case in started], timeout=50)


async def test_two_cases_that_go_opposite_ways_do_not_wait_for_the_time_out() -> None:
    yard = Yard()
    async with office(shunting(yard), settings={"tool_timeout_s": 600}) as plane:
        settle(plane, yard)
        found = await meeting(plane, ("a", "b"), ("b", "a"))
        refused, moved = sorted(found, key=lambda case: len(case.values["note"]), reverse=True)
        assert len(moved.values["note"]) == 1
        assert "which waits for" in refused.values["note"]
        assert all(case.id in refused.values["note"] for case in found)
        assert len(yard.moved) == 3
        assert all(case.holds == [] for case in found)


async def test_a_child_that_wants_what_its_parent_holds_is_refused() -> None:
    yard = Yard()
    async with office(shunting(yard), parent(yard), settings={"tool_timeout_s": 600}) as plane:
        settle(plane, yard)
        case = await plane.start("parent", {}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=50)
        assert f"place/b is held by case {case.id}, which waits for case" in case.values["note"]


async def test_a_case_is_shown_with_what_it_holds_and_who_waits_for_it(tmp_path: Path) -> None:
    yard, url = Yard(), f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(shunting(yard), url=url, settings={"tool_timeout_s": 600}) as plane:
        settle(plane, yard)
        first = await plane.start("shunting", {"left": "a", "right": "b"}, requester="person:ana")
        while yard.inside == 0:  # noqa: ASYNC110  # the case has its first place
            await asyncio.sleep(0.001)
        second = await plane.start("shunting", {"left": "a", "right": "c"}, requester="person:ana")
        while not (seen := (await plane.case(first.id)).holds[0]).waiting:  # noqa: ASYNC110  # it comes to wait
            await asyncio.sleep(0.001)
        assert (seen.resource, seen.token, seen.waiting) == ("place/a", 1, [second.id])
        assert seen.since and (await plane.case(second.id)).holds == []
        shown = await cases_show(first.id, tmp_path)
        assert (shown["holds"], shown["status"]) == ([asdict(seen)], "running")
        async with ControlPlane.open(url, read_only=True) as reader:
            assert (await reader.case(first.id)).holds == [seen]
        yard.both.set()
        assert [case.status for case in await plane.wait_all([first.id, second.id], timeout=50)] == ["completed"] * 2
        assert (await plane.case(second.id)).holds == []
    assert (await cases_show(first.id, tmp_path))["status"] == "completed", "without an engine, from the database"


async def cases_show(case_id: str, home: Path) -> Any:
    """What `interlock cases show` prints, in a process of its own."""
    arguments = (
        "-c",
        "from interlock.cli.main import app; app()",
        "cases",
        "show",
        case_id,
        "--home",
        str(home),
        "--json",
    )
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)
