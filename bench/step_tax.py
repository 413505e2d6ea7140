"""B3: what durable steps cost. A graph of six steps, and the same as six governed tasks, against the stock saver."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Checkpointer
from typing_extensions import TypedDict

from bench.trial import Trial, measure
from interlock import ControlPlane, Person, Workflow, governed
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.database import Database

STEPS = [f"step{number}" for number in range(6)]
REQUESTER = "person:ana"


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def six_steps() -> StateGraph[Any, Any, Any, Any]:
    """The graph that every peer runs: each step appends its name."""
    builder = StateGraph(State)
    for name in STEPS:
        builder.add_node(name, _step(name))
    for here, there in zip([START, *STEPS], [*STEPS, END], strict=True):
        builder.add_edge(here, there)
    return builder


def six_tasks() -> Workflow:
    """The same as tasks: each is routed to an actor, permitted by policy, performed and recorded."""
    workflow = Workflow("tasks", State)
    for name in STEPS:
        workflow.task(_task(name))
    return workflow.flow(START, *STEPS, END)


def _step(name: str) -> Any:
    async def step(state: State) -> State:
        return {"log": [name]}

    return step


def _task(name: str) -> Any:
    async def task(state: State, call: Any) -> State:
        return {"log": [name]}

    task.__name__ = name
    return task


async def stock(folder: Path, runs: int, concurrency: int) -> Trial:
    """The stock saver in its safest setting, which is its default; no ledger, no governance."""
    async with aiosqlite.connect(folder / "stock.db", factory=_Counted) as connection:
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        await connection.execute("PRAGMA synchronous = FULL")
        return await _invoked(saver, runs, concurrency, lambda: _Counted.commits)


async def saver(folder: Path, runs: int, concurrency: int) -> Trial:
    """Our saver alone, as a drop-in for the stock one; no ledger, no governance."""
    db = await Database.open(f"sqlite:///{folder / 'saver.db'}")
    try:
        return await _invoked(Checkpoints(db), runs, concurrency, lambda: db.commits)
    finally:
        await db.close()


async def graph(folder: Path, runs: int, concurrency: int) -> Trial:
    """The same graph as cases of the plane: ledger, epoch, case rows, resumable after a crash."""
    return await _cases(governed(six_steps(), name="graph"), folder, runs, concurrency)


async def tasks(folder: Path, runs: int, concurrency: int) -> Trial:
    """Six governed tasks as cases of the plane: twelve steps, as each task is routed and then performed."""
    return await _cases(six_tasks(), folder, runs, concurrency)


class _Counted(sqlite3.Connection):
    """Counts the commits of the stock saver, which has no counter."""

    commits = 0

    def commit(self) -> None:
        _Counted.commits += self.in_transaction
        super().commit()


async def _invoked(saver: Checkpointer, runs: int, concurrency: int, commits: Callable[[], int]) -> Trial:
    compiled = six_steps().compile(checkpointer=saver)

    async def once(number: int) -> None:
        config: Any = {"configurable": {"thread_id": f"run{number}"}}
        done = await compiled.ainvoke({"log": []}, config, durability="sync")
        assert done["log"] == STEPS

    return await measure(once, runs, concurrency, commits)


async def _cases(workflow: Any, folder: Path, runs: int, concurrency: int) -> Trial:
    async with ControlPlane.open(f"sqlite:///{folder / 'plane.db'}") as plane:
        plane.register_actor(Person(REQUESTER.partition(":")[2]))
        name = plane.register(workflow).workflow.name

        async def once(number: int) -> None:
            started = await plane.start(name, {"log": []}, requester=REQUESTER)
            done = await plane.wait(started.id)
            assert (done.status, done.values) == ("completed", {"log": STEPS})

        return await measure(once, runs, concurrency, lambda: plane.services.db.commits)


PEERS = {"stock": stock, "saver": saver, "graph": graph, "tasks": tasks}
