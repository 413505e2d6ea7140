"""A process with cases that wait: for a person, for the object which that case has, and for a switch. To be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from langgraph.graph import END, START

from interlock import ControlPlane, Workflow
from interlock.settings import Settings
from tests.graphs.office import POLICY, Erp, State, fill

WAYS = [("first", 400_000), ("second", 0), ("third", 0)]


def told(home: Path) -> list[str]:
    """What the yard was told, outside the database."""
    return (home / "yard.txt").read_text().split()


async def opened(home: Path) -> ControlPlane:
    def write(word: str) -> str:
        with (home / "yard.txt").open("a") as file:
            file.write(f"{word}\n")
        return word

    settings = Settings(lease_patience_s=0)
    plane = await ControlPlane.open(
        f"sqlite:///{home / 'interlock.db'}", policies={"o.cedar": POLICY}, settings=settings
    )
    fill(plane, Erp())
    plane.register_tool(write, name="yard.move", effect="write", resource=lambda args: "place/a")
    plane.register_tool(write, name="yard.paint", effect="write")
    plane.register(moving())
    plane.register(painting())
    return plane


def moving() -> Workflow:
    wf = Workflow("moving", State)

    @wf.task(skill="moving", tools=["yard.move", "erp.create_po"], scopes={"po:write"})
    async def move(state: Any, call: Any) -> dict[str, Any]:
        await call("yard.move", {"word": state["note"]})
        if state["total"]:
            await call("erp.create_po", {"supplier": "a", "total": state["total"]})
        return {"log": [state["note"]]}

    return wf.flow(START, move, END)


def painting() -> Workflow:
    wf = Workflow("painting", State)

    @wf.task(skill="painting", tools=["yard.paint"])
    async def paint(state: Any, call: Any) -> dict[str, Any]:
        return {"note": await call("yard.paint", {"word": "paint"})}

    return wf.flow(START, paint, END)


async def main(home: Path) -> None:
    plane = await opened(home)
    await plane.switch("tool:yard.paint", "off", by="person:op")
    for note, total in WAYS:
        case = await plane.start("moving", {"note": note, "total": total}, requester="person:ana")
        await plane.wait(case.id, timeout=60)
    case = await plane.start("painting", {}, requester="person:ana")
    await plane.wait(case.id, timeout=60)
    print("waiting", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
