"""Policies on earlier calls: how many, how much, only after, not twice; exact under a race, with the plane's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from typing_extensions import TypedDict

from interlock import Agent, ControlPlane, Money, Person, Workflow
from interlock.graphs.cases import Case
from interlock.testing import ManualClock

MONDAY = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


class World:
    """What the tools of these tests do; `fail` holds what the next calls raise."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.fail: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    def tool(self, name: str) -> Any:
        async def act(to: str, text: str = "", amount: int = 0) -> str:
            if self.gate is not None:
                self.entered.set()
                await self.gate.wait()
            if self.fail:
                raise self.fail.pop(0)
            self.sent.append((name, {"to": to, "text": text, "amount": amount}))
            return "ok"

        return act


Opener = Callable[[str], AbstractAsyncContextManager[ControlPlane]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MONDAY)


@pytest.fixture
def opened(world: World, clock: ManualClock) -> Opener:
    """Opens a plane with one condition on `crm.mail`; everything else is permitted."""

    @asynccontextmanager
    async def opening(condition: str, url: str = ":memory:") -> AsyncIterator[ControlPlane]:
        mail = f'permit (principal, action == Interlock::Action::"crm.mail", resource) when {{ {condition} }};'
        rest = 'permit (principal, action, resource) unless { action == Interlock::Action::"crm.mail" };'
        texts = {"mail.cedar": f'@id("mail") {mail}', "rest.cedar": f'@id("rest") {rest}'}
        async with ControlPlane.open(url, policies=texts, clock=clock) as plane:
            fill(plane, world)
            yield plane

    return opening


def fill(plane: ControlPlane, world: World) -> None:
    plane.register_actor(Person("ana"))
    for name in ("clerk", "other"):
        plane.register_actor(Agent(name))
    money = lambda args: Money(args["amount"], "EUR")  # noqa: E731  # as short as it can be
    for name, effect in (("crm.mail", "write"), ("crm.note", "write"), ("crm.look", "read")):
        plane.register_tool(
            world.tool(name), name=name, system="crm", effect=effect, money=money if effect == "write" else None,
            targets={"to": "address"}, untrusted_output=False,
        )  # fmt: skip
    plane.register_registry("address", lambda value, ctx: {}, source="test")


async def mail(plane: ControlPlane, *, tool: str = "crm.mail", actor: str = "agent:clerk", **args: Any) -> str:
    result = await plane.call_tool(tool, {"to": "a", **args}, actor=actor)
    return str(result.status)


async def test_at_most_three_a_day_holds_for_parallel_cases(opened: Opener, world: World) -> None:
    async with opened("context.counts.day < 3") as plane:
        results = await asyncio.gather(*(mail(plane, text=str(n)) for n in range(32)))
        assert (results.count("done"), results.count("denied"), len(world.sent)) == (3, 29, 3)
        assert (await plane.ledger.verify()).ok


async def test_at_most_three_a_day_holds_for_cases_of_a_workflow(opened: Opener, world: World) -> None:
    class State(TypedDict, total=False):
        n: int

    workflow = Workflow("mailing", State)

    async def send(state: State, call: Any) -> None:
        await call("crm.mail", {"to": "a", "text": str(state.get("n"))})

    workflow.task(tools=["crm.mail"])(send)
    async with opened("context.counts.day < 3") as plane:
        plane.register(workflow.flow(START, "send", END))
        cases = await plane.start_many("mailing", [{"n": n} for n in range(32)], requester="person:ana")
        await asyncio.gather(*(plane.wait(case.id) for case in cases if isinstance(case, Case)))
        assert len(world.sent) == 3


@pytest.mark.parametrize(
    ("period", "step", "fresh"),
    [
        ("hour", timedelta(minutes=29), timedelta(minutes=1)),
        ("day", timedelta(hours=11, minutes=29), timedelta(minutes=1)),
        ("week", timedelta(days=6, hours=11), timedelta(minutes=30)),
        ("month", timedelta(days=7, hours=11), timedelta(minutes=30)),
    ],
)
async def test_counts_begin_anew_with_the_calendar(
    opened: Opener, clock: ManualClock, period: str, step: timedelta, fresh: timedelta
) -> None:
    """Monday 12:30: just before the end of the hour, day, week or month it is the same period, at it another one."""
    async with opened(f"context.counts.{period} < 1") as plane:
        assert await mail(plane) == "done"
        await clock.advance(step)
        assert await mail(plane) == "denied"
        await clock.advance(fresh)
        assert await mail(plane) == "done"


@pytest.mark.parametrize(
    ("period", "length"),
    [("hour", timedelta(hours=1)), ("day", timedelta(days=1)), ("week", timedelta(days=7)),
     ("month", timedelta(days=30))],
)  # fmt: skip
async def test_not_twice_within_a_period_of_that_length(
    opened: Opener, clock: ManualClock, period: str, length: timedelta
) -> None:
    async with opened(f"context.repeats.{period} == 0") as plane:
        assert await mail(plane, text="hello") == "done"
        assert await mail(plane, text="other") == "done"
        await clock.advance(length)
        assert await mail(plane, text="hello") == "denied"
        await clock.advance(timedelta(microseconds=1))
        assert await mail(plane, text="hello") == "done"


async def test_the_same_arguments_in_another_order_are_the_same_call(opened: Opener) -> None:
    async with opened("context.repeats.day == 0") as plane:
        first = await plane.call_tool("crm.mail", {"to": "a", "text": "x"}, actor="agent:clerk")
        second = await plane.call_tool("crm.mail", {"text": "x", "to": "a"}, actor="agent:other")
        assert (first.status, second.status) == ("done", "denied")
        assert "context.repeats.day == 0 (context.repeats.day is 1)" in second.reasons[0].text


@pytest.mark.parametrize(
    ("path", "alike", "apart"),
    [
        ("counts.by_actor.day", {"text": "2"}, {"actor": "agent:other"}),
        ("counts.by_counterparty.day", {"text": "2"}, {"to": "b"}),
        ("repeats.by_counterparty.day", {"text": "2"}, {"to": "b"}),
        ("counts.by_system.day", {"tool": "crm.note"}, None),
    ],
)
async def test_counts_by_actor_counterparty_and_system(
    opened: Opener, path: str, alike: dict[str, Any], apart: dict[str, Any] | None
) -> None:
    async with opened(f"context.{path} < 2") as plane:
        assert [await mail(plane), await mail(plane, **alike), await mail(plane)] == ["done", "done", "denied"]
        if apart is not None:
            assert await mail(plane, **apart) == "done"


async def test_failed_calls_do_not_count_unknown_ones_and_those_in_flight_do(opened: Opener, world: World) -> None:
    async with opened("context.counts.day < 2") as plane:
        world.fail = [ValueError("no")]
        assert await mail(plane) == "failed"
        world.fail = [TimeoutError()]
        assert await mail(plane) == "unknown"
        world.gate = asyncio.Event()
        flying = asyncio.ensure_future(mail(plane))
        await world.entered.wait()
        assert await mail(plane) == "denied"
        world.gate.set()
        assert await flying == "done"


async def test_money_per_system_is_exact_in_a_race(opened: Opener, world: World) -> None:
    async with opened("context.totals.by_system.day + context.amount <= 1000") as plane:
        assert await mail(plane, tool="crm.note", amount=101) == "done"
        results = await asyncio.gather(*(mail(plane, amount=100, text=str(n)) for n in range(24)))
        assert results.count("done") == 8
        assert sum(args["amount"] for _, args in world.sent) == 901


async def test_credits_in_flight_make_no_room(opened: Opener, world: World) -> None:
    async with opened("context.totals.by_system.day + context.amount <= 1000") as plane:
        assert await mail(plane, amount=1000) == "done"
        world.gate = asyncio.Event()
        credit = asyncio.ensure_future(mail(plane, tool="crm.note", amount=-500))
        await world.entered.wait()
        assert await mail(plane, amount=1, text="early") == "denied"
        world.gate.set()
        assert await credit == "done"
        assert await mail(plane, amount=500, text="late") == "done"


async def steps(plane: ControlPlane, *tools: str) -> list[str]:
    """One case that calls some tools, one after the other; what came of each."""
    seen: list[str] = []

    class State(TypedDict, total=False):
        calls: int

    async def work(state: State, call: Any) -> None:
        for tool in tools:
            try:
                await call(tool, {"to": "a"})
                seen.append("done")
            except Exception as exc:
                seen.append(type(exc).__name__)

    workflow = Workflow("steps", State)
    workflow.task(tools=["crm.mail", "crm.note", "crm.look"])(work)
    plane.register(workflow.flow(START, "work", END))
    case = await plane.start("steps", {}, requester="person:ana")
    await plane.wait(case.id)
    return seen


@pytest.mark.parametrize("first", ["crm.note", "crm.look"])
async def test_only_after_another_tool_in_the_same_case(opened: Opener, first: str, world: World) -> None:
    async with opened(f'context.history.done.contains("{first}")') as plane:
        assert await mail(plane, tool=first) == "done"  # of another case
        assert await steps(plane, "crm.mail", first, "crm.mail") == ["Denied", "done", "done"]


async def test_only_after_means_after_it_succeeded(opened: Opener, world: World) -> None:
    async with opened('context.history.done.contains("crm.note")') as plane:
        world.fail = [ValueError("no")]
        assert await steps(plane, "crm.note", "crm.mail") == ["ToolFailed", "Denied"]


async def test_not_after_another_tool_counts_what_has_begun(opened: Opener, world: World) -> None:
    async with opened('!context.history.begun.contains("crm.note")') as plane:
        assert await steps(plane, "crm.mail", "crm.note", "crm.mail") == ["done", "done", "Denied"]


async def test_reads_are_counted_exactly_where_a_policy_limits_them(world: World, clock: ManualClock) -> None:
    policy = 'permit (principal, action == Interlock::Action::"crm.look", resource) when { context.counts.hour < 5 };'
    async with ControlPlane.open(":memory:", policies={"look.cedar": f'@id("look") {policy}'}, clock=clock) as plane:
        fill(plane, world)
        results = await asyncio.gather(*(mail(plane, tool="crm.look", text=str(n)) for n in range(16)))
        assert (results.count("done"), len(world.sent)) == (5, 5)


async def test_what_no_policy_names_is_not_looked_up(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened("true") as plane:
        await mail(plane)
        asked: list[str] = []
        judge = plane.services.gateway.judge
        real = judge._db.read

        async def counted(work: Any) -> Any:
            def spied(tx: Any) -> Any:
                class Spy:
                    def row(self, sql: str, values: Any = ()) -> Any:
                        asked.append(sql)
                        return tx.row(sql, values)

                    def rows(self, sql: str, values: Any = ()) -> Any:
                        asked.append(sql)
                        return tx.rows(sql, values)

                return work(Spy())

            return await real(spied)

        monkeypatch.setattr(judge._db, "read", counted)
        await mail(plane)
        assert asked and not [sql for sql in asked if "intent_at >=" in sql or "DISTINCT" in sql]


async def test_counts_outlive_the_process(world: World, clock: ManualClock, opened: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    for expected in ("done", "done", "denied"):
        async with opened("context.counts.day < 2", url) as plane:
            assert await mail(plane) == expected


async def test_one_tenants_calls_are_not_anothers(world: World, clock: ManualClock, tmp_path: Path) -> None:
    policy = {"all.cedar": '@id("all") permit (principal, action, resource) when { context.counts.day < 1 };'}
    for tenant in ("one", "two"):
        url = f"sqlite:///{tmp_path / 'interlock.db'}"
        async with ControlPlane.open(url, policies=policy, clock=clock, tenant=tenant) as plane:
            fill(plane, world)
            assert [await mail(plane), await mail(plane)] == ["done", "denied"]
