"""How cases end: nothing of theirs is still under way, nothing begins any more, and what is unknown is found out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START

from interlock import ControlPlane, Decision, Person, Workflow, errors
from interlock.testing import ManualClock
from tests.graphs.office import POLICY, START_TIME, Erp, State, events, failure, office, only_item
from tests.graphs.world import ASK, DONE, PERMITTED, UNDONE, World, doing, fill, run, works


@dataclass
class Shelf:
    """A place that only one may change at a time; it says how many did at once, and waits to be let go."""

    now: int = 0
    most: int = 0
    visits: int = 0
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def change(self, place: str) -> str:
        self.now, self.visits = self.now + 1, self.visits + 1
        self.most = max(self.most, self.now)
        self.entered.set()
        await self.go.wait()
        self.now -= 1
        return place


def changing(name: str) -> Workflow:
    """One change of the shelf."""
    wf = Workflow(name, State)

    @wf.task(skill=name, tools=["shelf.change"])
    async def write(state: Any, call: Any) -> dict[str, Any]:
        return {"note": await call("shelf.change", {"place": "a1"})}

    return wf.flow(START, write, END)


def impatient(shelf: Shelf, inner: Workflow, *, fails: bool) -> Workflow:
    """A plain node around a change, which gives up once the change is under way."""

    async def around(state: State) -> State:
        changed = asyncio.ensure_future(graph.ainvoke(state))
        await shelf.entered.wait()
        changed.cancel()
        if fails:
            raise TimeoutError("it takes too long")
        return {"note": "gave up"}

    graph, wf = inner.compile(), Workflow("around", State)
    wf.add_node("inner", around)
    wf.add_edge(START, "inner").add_edge("inner", END)
    return wf


def register_shelf(plane: ControlPlane, shelf: Shelf) -> None:
    plane.register_tool(shelf.change, name="shelf.change", resource=lambda args: f"place/{args['place']}")


async def until(enough: Callable[[], Awaitable[Any]]) -> None:
    """Return once something is as wanted that nobody tells of."""
    while not await enough():  # noqa: ASYNC110  # the database has no event for it
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("status", ["failed", "completed"])
async def test_a_case_that_ends_lets_nobody_in_while_its_effect_is_under_way(status: str) -> None:
    shelf, one = Shelf(), changing("one")
    async with office(one, changing("two"), impatient(shelf, one, fails=status == "failed")) as plane:
        register_shelf(plane, shelf)
        first = await plane.start("around", {}, requester="person:ana")
        await shelf.entered.wait()
        second = await plane.start("two", {}, requester="person:ana")
        await until(lambda: events(plane, second.id, "task.routed"))
        assert (await plane.case(first.id)).status not in ("failed", "completed")
        assert shelf.visits == 1
        shelf.go.set()
        first, second = await plane.wait_all([first.id, second.id], timeout=30)
        assert (first.status, second.status, shelf.most, shelf.visits) == (status, "completed", 1, 2)
        (outcome,) = await events(plane, first.id, "tool.outcome")
        (end,) = await events(plane, first.id, f"case.{status}")
        assert outcome["seq"] < end["seq"]


async def test_cancelling_lets_nobody_in_while_an_effect_is_under_way() -> None:
    shelf = Shelf()
    async with office(changing("one"), changing("two")) as plane:
        register_shelf(plane, shelf)
        first = await plane.start("one", {}, requester="person:ana")
        await shelf.entered.wait()
        cancelling = asyncio.create_task(plane.cancel(first.id, by="person:op"))
        second = await plane.start("two", {}, requester="person:ana")
        await until(lambda: events(plane, second.id, "task.routed"))
        shelf.go.set()
        assert (await cancelling).status == "cancelled"
        second = await plane.wait(second.id, "ended", timeout=30)
        assert (second.status, shelf.most, shelf.visits) == ("completed", 1, 2)


async def test_code_that_swallows_its_cancellation_does_not_keep_the_case_from_being_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("interlock.graphs.engine.embedded._GRACE_S", 0.05)
    world, stuck, go, over = World(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    wf = Workflow("stubborn", State)

    @wf.task(skill="buying", tools=["order"], scopes={"po:write"})
    async def act(state: Any, call: Any) -> dict[str, Any]:
        await call("order", {"about": "pumps"})
        while not go.is_set():
            stuck.set()
            with suppress(asyncio.CancelledError):
                await go.wait()
        with suppress(Exception):
            await call("order", {"about": "more"}, key="more")
        over.set()
        return {}

    async with works(world, wf.flow(START, act, END)) as plane:
        case = await plane.start("stubborn", {}, requester="person:ana")
        await stuck.wait()
        case = await plane.cancel(case.id, by="person:op")
        assert (case.status, world.log) == ("cancelled", ["order pumps", "undo order-1 pumps"])
        go.set()
        await over.wait()
        assert (await plane.case(case.id)).status == "cancelled"
        assert world.log == ["order pumps", "undo order-1 pumps"]


@pytest.mark.parametrize("ended", [True, False])
async def test_a_call_that_was_on_its_way_when_the_case_ended_does_not_begin(ended: bool) -> None:
    """It had been let in before the end, and comes to its intent after it."""
    world, looking, go = World(), asyncio.Event(), asyncio.Event()

    async def look(args: Any, ctx: Any) -> dict[str, Any]:
        looking.set()
        await go.wait()
        return {"known": True}

    async with works(world, doing(fails=False), policy=PERMITTED if ended else POLICY) as plane:
        case = await run(plane)
        plane.register_facts("look", look, actions=["mail"], types={"known": "bool"})
        late = plane.call_tool("mail", {"about": "late"}, actor="agent:doing.act", case_id=case.id)
        calling = asyncio.create_task(late)
        await looking.wait()
        case = await plane.cancel(case.id, by="person:op")
        assert case.status == ("cancelled" if ended else "waiting")
        go.set()
        result = await calling
        assert (result.status, result.reasons[0].policy) == ("denied", "gateway.scope")
        assert "mail late" not in world.log
        assert [e["data"]["status"] for e in await events(plane, case.id, "tool.outcome")][:3] == ["done"] * 3


async def test_an_unknown_outcome_that_code_swallows_is_asked_about_before_the_case_completes() -> None:
    erp, wf = Erp(failures=[TimeoutError()]), Workflow("careless", State)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        try:
            return {"po": await call("erp.create_po", {"supplier": "acme", "total": 1})}
        except errors.UnknownOutcome:
            return {"po": "none"}

    async with office(wf.flow(START, order, END), erp=erp) as plane:
        case = await plane.start("careless", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert (case.status, case.ending) == ("waiting", "completed")
        item = await only_item(plane, case.id)
        await plane.inbox.decide(item.id, Decision.respond("PO-7"), by="person:op")
        case = await plane.wait(case.id, "ended", timeout=30)
        assert (case.status, case.values["po"], case.ending) == ("completed", "none", None)
        (outcome,) = await events(plane, case.id, "tool.outcome")
        (end,) = await events(plane, case.id, "case.completed")
        assert (outcome["data"]["status"], outcome["data"]["by"]) == ("done", "person")
        assert not {"compensated", "remaining", "stays"} & end["data"].keys()


async def test_the_case_of_a_caller_is_wound_up_when_it_is_cancelled() -> None:
    world = World()
    async with works(world, doing(fails=False), policy=PERMITTED + _ASK_FOR_PAY) as plane:
        await run(plane)
        world.log.clear()
        asked = await plane.call_tool("pay", {"about": "late"}, actor="agent:doing.act")
        (item,) = asked.items
        done = await plane.call_tool("order", {"about": "now"}, actor="agent:doing.act", case_id=item.case_id)
        assert (asked.status, done.status, world.log) == ("asked", "done", ["order now"])
        case = await plane.cancel(item.case_id, by="person:op")
        assert (case.workflow, case.status, world.log) == ("adhoc", "cancelled", ["order now", "undo order-1 now"])
        again = await plane.call_tool("mail", {"about": "x"}, actor="agent:doing.act", case_id=case.id)
        assert again.status == "denied"


_ASK_FOR_PAY = """
@id("ASK-PAY") forbid(principal, action == Interlock::Action::"pay", resource)
  when { context.args.about == "late" && context.approvals.purchasing < 1 };
"""


async def test_the_unknown_call_of_a_caller_is_asked_about_before_its_case_is_cancelled() -> None:
    erp = Erp(failures=[TimeoutError()])
    async with office(_idle(), erp=erp) as plane:
        result = await plane.call_tool("erp.create_po", {"supplier": "a", "total": 1}, actor="agent:idle.order")
        (item,) = result.items
        case = await plane.cancel(item.case_id, by="person:op")
        assert (result.status, case.status, case.ending) == ("unknown", "waiting", "cancelled")
        await plane.inbox.decide(item.id, Decision.reject("it never came"), by="person:op")
        case = await plane.wait(case.id, "ended", timeout=30)
        assert (case.status, [e["data"]["status"] for e in await events(plane, case.id, "tool.outcome")]) == (
            "cancelled", ["failed"],
        )  # fmt: skip


def _idle() -> Workflow:
    wf = Workflow("idle", State)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {}

    return wf.flow(START, order, END)


async def test_another_engine_winds_up_without_the_workflow_once_the_actor_is_there(tmp_path: Path) -> None:
    world, url = World(), f"sqlite:///{tmp_path / 'interlock.db'}"
    async with works(world, policy=POLICY, url=url) as plane:
        case = await run(plane)
        item = await only_item(plane, case.id)
    async with ControlPlane.open(url, policies={"office.cedar": PERMITTED}) as plane:
        fill(plane, world)
        await plane.inbox.decide(item.id, Decision.approve(), by="person:op")
        case = await plane.wait(case.id, timeout=30)
        assert (case.status, case.waiting_for[0].action) == ("waiting", "no actor 'agent:doing.act' is registered")
        plane.register(doing())
        case = await plane.wait(case.id, "ended", timeout=30)
        assert (case.status, world.log) == ("failed", DONE + UNDONE)


async def test_an_answer_instead_of_a_compensation_is_the_word_of_a_person() -> None:
    world = World()
    async with works(world, policy=POLICY + ASK) as plane:
        case = await run(plane)
        while case.status == "waiting":
            item = await only_item(plane, case.id)
            await plane.approvals.decide(item.id, Decision.respond("seen to"), by="person:bo")
            case = await plane.wait(case.id, timeout=30)
        (end,) = await events(plane, case.id, "case.failed")
        assert [row["tool"] for row in end["data"]["by_person"]] == ["pay", "order"]
        assert (case.status, failure(case)["message"], world.log) == ("failed", "the press is on fire", DONE)


async def test_what_is_undone_later_makes_no_room_on_another_day() -> None:
    world, clock = World(), ManualClock(START_TIME)
    async with ControlPlane.open(":memory:", policies={"office.cedar": PERMITTED}, clock=clock) as plane:
        fill(plane, world)
        plane.register(doing(fails=False))
        case = await run(plane)
        await clock.advance(timedelta(days=40))
        case = await plane.cancel(case.id, by="person:op")
        sums = await plane.services.db.read(lambda tx: tx.rows("SELECT reserved, settled FROM limits"))
        assert (case.status, {(row["reserved"], row["settled"]) for row in sums}) == ("cancelled", {(0, 0)})
        kept = await plane.services.db.read(lambda tx: tx.rows("SELECT status FROM reservations"))
        assert {row["status"] for row in kept} == {"refunded"}
        (end,) = await events(plane, case.id, "case.cancelled")
        assert [row["tool"] for row in end["data"]["compensated"]] == ["pay", "order"]


async def test_a_guest_that_fails_is_undone_and_its_thread_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    world, graph, thread = World(), doing().compile(InMemorySaver()), str(uuid.uuid4())
    config: Any = {"configurable": {"thread_id": thread}}
    async with works(world) as plane:
        plane.register_actor(Person("studio"))
        monkeypatch.setattr("interlock.guest.open_guest", lambda: asyncio.sleep(0, plane))
        with pytest.raises(ValueError, match="on fire"):
            await graph.ainvoke({}, config)
        case = await plane.wait(thread, "ended", timeout=30)
        assert (case.status, case.ending, world.log) == ("failed", None, DONE + UNDONE)
        with pytest.raises(errors.Conflict, match="another thread"):
            await graph.ainvoke(None, config)
        assert world.log == DONE + UNDONE
