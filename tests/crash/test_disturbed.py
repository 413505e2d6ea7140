"""A call disturbed at each numbered point: its node is cancelled by whatever cancels nodes, its effect is not.

For each way of disturbing and each kind of tool: what happened outside, the rows of effects and the ledger agree,
nothing happened twice, and what nobody knows is in the inbox.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import ControlPlane, DidNotHappen, Happened, Workflow
from interlock.graphs.cases import Case
from interlock.settings import Settings
from tests.crash.points import IN_COMMIT, Point, visiting
from tests.graphs.office import POLICY, State, people
from tests.graphs.test_cancellation import AGAIN

KINDS = ["idempotent", "probed", "plain"]
# At these the node itself is over or about to be: what disturbs it has nothing to cancel.
UNHELD = frozenset({Point.TASK_WRITES})
PATIENCE_S = 60


@dataclass
class Outside:
    """An outside system: what happened, by subject, and the keys that it has seen."""

    done: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)

    def act(self, about: str, key: str | None = None) -> str:
        if key is None or key not in self.keys:
            self.done[about] += 1
            self.keys |= {key} if key is not None else set()
        return f"did {about}"


class Disturber:
    """Strikes once, when the call reaches a point, and holds the call there until its node has been cancelled."""

    def __init__(self, at: Point, *, holds: bool = True) -> None:
        self.at, self.holds = at, holds and at not in UNHELD
        self.struck = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._released, self._released_in_commit = asyncio.Event(), threading.Event()
        self._new = True

    def let_go(self) -> None:
        self._released.set()
        self._released_in_commit.set()

    async def reach(self, point: Point) -> None:
        if point is self.at and self._new:
            self._strike()
            await self._released.wait()

    def reach_in_commit(self, point: Point) -> None:
        if point is self.at and self._new:
            self._new = False
            self._loop.call_soon_threadsafe(self._strike)
            assert self._released_in_commit.wait(PATIENCE_S), "nothing cancelled the node"

    def _strike(self) -> None:
        self._new = False
        self.struck.set()
        if not self.holds:
            self.let_go()


@dataclass
class Bench:
    """What workflows and tools of all cells share; `disturber` is that of the running cell."""

    outside: Outside = field(default_factory=Outside)
    disturber: Disturber | None = None
    raises: bool = True

    async def reach(self, point: Point) -> None:
        if self.disturber is not None:
            await self.disturber.reach(point)

    def reach_in_commit(self, point: Point) -> None:
        if self.disturber is not None:
            self.disturber.reach_in_commit(point)

    async def act(self, about: str, key: str | None = None) -> str:
        await self.reach(Point.BEFORE_EFFECT)
        said = self.outside.act(about, key)
        await self.reach(Point.AFTER_EFFECT)
        return said

    def equip(self, plane: ControlPlane) -> None:
        async def known(about: str, ctx: Any) -> str:
            return await self.act(about, ctx.key)

        async def unknown(about: str) -> str:
            return await self.act(about)

        async def probe(args: Any, ctx: Any) -> Happened | DidNotHappen:
            about = args["about"]
            return Happened(f"did {about}") if self.outside.done[about] else DidNotHappen()

        options: dict[str, Any] = {"scope": "do", "effect": "write", "resource": "about"}
        plane.register_tool(known, name="do.idempotent", idempotent=True, **options)
        plane.register_tool(unknown, name="do.probed", reconcile=probe, **options)
        plane.register_tool(unknown, name="do.plain", **options)
        for person in people():
            plane.register_actor(person)
        for workflow in self.workflows():
            plane.register(workflow)

    def workflows(self) -> list[Workflow]:
        """The call alone; beside a node that raises; and each of these inside a plain node that is tried again."""
        alone, pair = self._calling("alone"), self._calling("pair", beside=True)
        timed = _around("timed", alone, timeout=0.15, retry_policy=AGAIN)
        again = _around("again", pair, retry_policy=AGAIN)
        return [alone, pair, timed, again]

    def _calling(self, name: str, *, beside: bool = False) -> Workflow:
        wf = Workflow(name, State)

        @wf.task(skill="doing", tools=[f"do.{kind}" for kind in KINDS], scopes={"do"})
        async def act(state: Any, call: Any) -> dict[str, Any]:
            kind, about = state["left"], state["note"]
            try:
                return {"po": await call(f"do.{kind}", {"about": about})}
            except asyncio.CancelledError:
                if self.disturber is not None:
                    self.disturber.let_go()
                raise

        async def boom(state: Any) -> dict[str, Any]:
            """Raises once the call has reached its point, the first time."""
            if self.raises and self.disturber is not None:
                await self.disturber.struck.wait()
                self.raises = False
                raise RuntimeError("boom")
            return {}

        if not beside:
            return wf.flow(START, act, END)
        wf.add_node("before", lambda state: {})  # while the task is routed
        wf.add_node("boom", boom)
        wf.add_edge(START, act).add_edge(START, "before").add_edge("before", "boom").add_edge(act, END)
        return wf


def _around(name: str, inner: Workflow, **options: Any) -> Workflow:
    wf = Workflow(name, State)
    wf.add_node("inner", inner.compile(), **options)
    return wf.add_edge(START, "inner").add_edge("inner", END)


@dataclass(frozen=True)
class Way:
    """A way of disturbing: the workflow it takes, what is done when the point is reached, and how the case ends."""

    workflow: str
    status: str
    strike: Callable[[ControlPlane, str], Awaitable[Any]] | None = None


async def cancelled(plane: ControlPlane, case_id: str) -> None:
    await plane.cancel(case_id, by="person:op")


WAYS = {
    "a sibling raises": Way("pair", "failed"),
    "a sibling raises inside a node that is tried again": Way("again", "completed"),
    "a time-out of a node around it that is tried again": Way("timed", "completed"),
    "the case is cancelled": Way("alone", "cancelled", cancelled),
}
CELLS = [(kind, point) for kind in KINDS for point in Point]
SOME = [(KINDS[point % len(KINDS)], point) for point in Point]
DRAIN_S = {"drained": 60.0, "cut off": 0.001}


async def cell(plane: ControlPlane, bench: Bench, way: Way, kind: str, point: Point) -> list[str]:
    """One cell: what is wrong afterwards."""
    about = f"{way.workflow}-{kind}-{point.name}"
    bench.disturber, bench.raises = Disturber(point, holds=point not in IN_COMMIT or way.strike is None), True
    case = await plane.start(way.workflow, {"left": kind, "note": about}, requester="person:ana")
    await asyncio.wait_for(bench.disturber.struck.wait(), PATIENCE_S)
    if way.strike is not None:
        await way.strike(plane, case.id)
    case = await plane.wait(case.id, timeout=PATIENCE_S)
    bench.disturber = None
    await plane.services.gateway.drain()
    wrong = [f"the case has {case.status}: {case.error} {case.waiting_for}"] if case.status != way.status else []
    return [*wrong, *await accounts(plane, bench.outside, case, about)]


async def accounts(plane: ControlPlane, outside: Outside, case: Case, about: str) -> list[str]:
    """Where the outside world, the rows of effects, the inbox and the ledger differ about the one call of a case."""
    sql = "SELECT * FROM effects WHERE case_id = ?"
    rows = [dict(row) for row in await plane.services.db.read(lambda tx: tx.rows(sql, (case.id,)))]
    told = [event async for event in plane.ledger.export(case_id=case.id)]
    outcomes = [event["data"]["status"] for event in told if event["type"] == "tool.outcome"]
    intents = sum(event["type"] == "tool.intent" for event in told)
    items = (await plane.inbox.list(case_id=case.id)).items
    happened, statuses = outside.done[about], [row["status"] for row in rows]
    facts = {
        "happened": happened <= 1, "one row": len(rows) <= 1, "rows are final": set(statuses) <= {"done", "failed"},
        "done is what happened": statuses.count("done") == happened, "outcomes": outcomes == statuses,
        "intents": intents == sum(row["attempt"] for row in rows), "nobody is asked": not items,
        "a case that is completed has done it": case.status != "completed" or happened == 1,
    }  # fmt: skip
    return [f"{name}: {happened=} {statuses=} {outcomes=} {intents=}" for name, right in facts.items() if not right]


@pytest.mark.parametrize("way", WAYS)
async def test_whatever_cancels_the_node_the_effect_happens_once_and_is_recorded(way: str) -> None:
    bench = Bench()
    async with ControlPlane.open(":memory:", policies={"office.cedar": POLICY}) as plane:
        bench.equip(plane)
        with visiting(bench):
            found = {f"{kind} {point.name}": await cell(plane, bench, WAYS[way], kind, point) for kind, point in CELLS}
        assert {name: wrong for name, wrong in found.items() if wrong} == {}
        assert (await plane.ledger.verify()).ok
        if WAYS[way].status == "completed":
            assert bench.outside.done.total() == len(CELLS)


@pytest.mark.parametrize("cells", [SOME, pytest.param(CELLS, marks=pytest.mark.chaos)], ids=["some", "all"])
@pytest.mark.parametrize("how", DRAIN_S)
async def test_a_plane_that_is_closed_meanwhile_goes_on_when_it_is_opened_again(
    tmp_path: Path, how: str, cells: list[tuple[str, Point]]
) -> None:
    """As SIGTERM does it: running nodes may end, or are cancelled; effects in flight end before the database closes."""
    bench, found, last = Bench(), dict[str, list[str]](), None
    for kind, point in [*cells, ("plain", None)]:
        async with opened(tmp_path, bench, DRAIN_S[how]) as plane:
            if last is not None:
                case = await plane.wait(last.id, timeout=PATIENCE_S)
                about = str(case.values["note"])
                found[about] = await accounts(plane, bench.outside, case, about)
                found[about] += [f"the case is {case.status}"] if case.status != "completed" else []
            if point is not None:
                last = await closed_at(plane, bench, Disturber(point, holds=how == "cut off"), kind)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert len(found) == len(cells)


async def closed_at(plane: ControlPlane, bench: Bench, disturber: Disturber, kind: str) -> Case:
    """A case whose plane is closed when its call is at a point."""
    bench.disturber = disturber
    with visiting(bench):
        value = {"left": kind, "note": f"{kind}-{disturber.at.name}"}
        case = await plane.start("alone", value, requester="person:ana")
        await asyncio.wait_for(disturber.struck.wait(), PATIENCE_S)
        await plane.close()
    bench.disturber = None
    return case


@asynccontextmanager
async def opened(home: Path, bench: Bench, drain_s: float = 60.0) -> AsyncIterator[ControlPlane]:
    url, settings = f"sqlite:///{home / 'interlock.db'}", Settings(drain_s=drain_s)
    async with ControlPlane.open(url, policies={"office.cedar": POLICY}, settings=settings) as plane:
        bench.equip(plane)
        yield plane
