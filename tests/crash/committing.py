"""A process that commits units until it is killed: says on stdout what was acknowledged. Run by the crash tests.

Many tasks of many cases write at once, each unit with a row, an event and, under graphs, checkpoints; a line
"case number" is printed only after the commit of that unit had returned.
"""

from __future__ import annotations

import asyncio
import operator
import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from interlock.observability.ledger import Ledger
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.claim import CLAIM, Claim
from interlock.storage.database import Database, Reader, Transaction
from interlock.testing import ManualClock

CASES = 8
STEPS = 200
_OPEN = "INSERT INTO cases (tenant, case_id, epoch) VALUES ('default', ?, 0) ON CONFLICT DO NOTHING"
_CLAIM = "UPDATE cases SET epoch = epoch + 1 WHERE case_id = ?"
_EPOCH = "SELECT epoch FROM cases WHERE case_id = ?"
_DONE = "SELECT count(*) AS n FROM switches WHERE tenant = ?"
_STEP = "INSERT INTO switches (tenant, target, state) VALUES (?, ?, 'done')"


class State(TypedDict, total=False):
    done: Annotated[list[int], operator.add]


async def claim(db: Database, case: str) -> Claim:
    def unit(tx: Transaction) -> int:
        tx.execute(_OPEN, (case,))
        tx.execute(_CLAIM, (case,))
        row = tx.row(_EPOCH, (case,))
        assert row is not None
        return int(row["epoch"])

    return Claim("default", case, await db.commit(unit))


def said(ledger: Ledger, case: str, number: int) -> Any:
    data = {"by": str(number), "comment": "x" * 200}
    return ledger.event("case.resumed", tenant="default", case_id=case, data=data, identity=f"{case}/{number}")


def tell(case: str, number: int) -> None:
    os.write(1, f"{case} {number}\n".encode())  # unbuffered, so that a kill loses no line


def done(reader: Reader, case: str) -> int:
    row = reader.row(_DONE, (case,))
    return int(row["n"]) if row else 0


async def units(db: Database, ledger: Ledger, case: str) -> None:
    """Row and event of a step in one unit; goes on after the last durable step."""
    held = await claim(db, case)
    for number in range(await db.read(lambda reader: done(reader, case)), STEPS):
        event = said(ledger, case, number)

        def unit(tx: Transaction, number: int = number, event: Any = event) -> None:
            tx.execute(_STEP, (case, f"{number:04}"))
            tx.append(event)

        await db.commit(unit, claim=held)
        tell(case, number)


async def graph(db: Database, ledger: Ledger, case: str) -> None:
    """A graph whose every step notes one event; its state and the ledger must agree after any kill."""

    async def step(state: State, config: RunnableConfig) -> dict[str, Any]:
        number = len(state.get("done", []))
        ledger.defer(said(ledger, case, number), config.get("configurable", {})["checkpoint_ns"])
        return {"done": [number]}

    builder: Any = StateGraph(State).add_node("step", step).add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if len(state["done"]) < STEPS else "__end__")
    compiled: Any = builder.compile(Checkpoints(db))
    config: RunnableConfig = {"configurable": {"thread_id": case}, "recursion_limit": 10_000}
    CLAIM.set(await claim(db, case))
    value: dict[str, Any] | None = None if (await compiled.aget_state(config)).next else {"done": []}
    async for update in compiled.astream(value, config, stream_mode="updates", durability="sync"):
        tell(case, update["step"]["done"][0])


async def main(url: str, kind: str) -> None:
    db = await Database.open(url, busy_s=60)
    ledger = Ledger(db, ManualClock(datetime(2026, 1, 30, tzinfo=UTC)))
    os.write(1, b"begun\n")
    work = {"units": units, "graph": graph}[kind]
    await asyncio.gather(*(work(db, ledger, f"case-{n}") for n in range(CASES)))
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
