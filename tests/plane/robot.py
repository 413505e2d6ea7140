"""A process that drives the office in a home, for tests that kill it: `python -m tests.plane.robot HOME COUNT [wait]`.

The ERP is a file in the home, to which each order appends a line: what happened outside stays when the process dies.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from langgraph.graph import END, START

from interlock import ControlPlane, Money, Workflow
from tests.graphs.office import POLICY, State, people

SLOW_S = 0.002


class FileErp:
    """Orders are lines `key supplier total`; a key that is known is not written again, and counted as a double."""

    def __init__(self, home: Path) -> None:
        self._file, self._doubles = home / "orders.txt", home / "doubles.txt"

    def lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    def doubles(self) -> int:
        return len(self._doubles.read_text().splitlines()) if self._doubles.exists() else 0

    async def create_po(self, supplier: str, total: int, ctx: Any) -> str:
        await asyncio.sleep(SLOW_S)
        known = [line for line in self.lines() if line.startswith(ctx.key)]
        if known:
            self._append(self._doubles, ctx.key)
            return f"PO {supplier}"
        self._append(self._file, f"{ctx.key} {supplier} {total}")
        await asyncio.sleep(SLOW_S)
        return f"PO {supplier}"

    @staticmethod
    def _append(file: Path, line: str) -> None:
        with file.open("a") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def workflow() -> Workflow:
    """Check, then two orders at once, then a note: five steps in which a process may die."""
    wf = Workflow("killable", State, key=lambda value: value["note"])

    @wf.task(skill="checking-code")
    async def check(state: Any, call: Any) -> dict[str, Any]:
        return {"total": len(state["note"])}

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def left(state: Any, call: Any) -> dict[str, Any]:
        return {"left": await call("erp.create_po", {"supplier": f"left-{state['note']}", "total": 1})}

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def right(state: Any, call: Any) -> dict[str, Any]:
        return {"right": await call("erp.create_po", {"supplier": f"right-{state['note']}", "total": 2})}

    @wf.task(skill="noting")
    async def last(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [state["left"], state["right"]]}

    return wf.flow(START, check, [left, right], last, END)


async def opened(home: Path) -> ControlPlane:
    plane = await ControlPlane.open(f"sqlite:///{home / 'interlock.db'}", policies={"office.cedar": POLICY})
    plane.register_tool(
        FileErp(home).create_po, name="erp.create_po", scope="po:write", effect="write", idempotent=True,
        money=lambda args: Money(args["total"], "EUR"),
    )  # fmt: skip
    for person in people():
        plane.register_actor(person)
    plane.register(workflow())
    return plane


async def main(home: Path, count: int) -> None:
    plane = await opened(home)
    inputs = [{"note": f"n{number:03}"} for number in range(count)]
    started = await plane.start_many("killable", inputs, requester="person:ana")
    print("started", flush=True)
    await plane.wait_all([case.id for case in started], timeout=60)  # type: ignore[union-attr]
    await plane.close()
    print("ended", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
