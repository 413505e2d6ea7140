"""What opening, looking at, and closing a plane promise."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from interlock import Agent, ControlPlane, errors
from tests.graphs.office import START_TIME, buying, office


async def test_looking_at_the_policies_first_does_not_keep_the_engine_from_starting() -> None:
    async with office(buying()) as plane:
        assert plane.policies.check() == []
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        assert (await plane.wait(case.id, timeout=30)).status == "completed"
        kinds = [event["type"] async for event in plane.ledger.export()]
        assert (kinds[0], kinds[-1]) == ("policy.loaded", "case.completed")


async def test_looking_at_them_after_a_registration_does_not_keep_it_from_the_ledger() -> None:
    async with office(buying()) as plane:
        await plane.ready()
        plane.register_actor(Agent("late"))
        assert plane.policies.check() == []
        await plane.ready()
        told = [event["data"]["id"] async for event in plane.ledger.export() if event["type"] == "actor.registered"]
        assert "agent:late" in told


async def test_a_closed_plane_says_so() -> None:
    plane = await ControlPlane.open(":memory:")
    await plane.close()
    for use in (plane.ready(), plane.call_tool("x", {}, actor="agent:x"), plane.start("w", {}, requester="person:x")):
        with pytest.raises(errors.StorageError, match="closed"):
            await use


class Unsteady:
    """A clock that a test sets as it likes."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    async def sleep_until(self, t: datetime) -> None:
        await asyncio.sleep(3600)


async def test_time_never_runs_backwards_whatever_the_clock_says() -> None:
    clock = Unsteady(START_TIME)
    async with office(buying(), clock=clock) as plane:
        for hours in (0, -5, 3, -1):
            clock.time = START_TIME + timedelta(hours=hours)
            case = await plane.start("buying", {"total": 1}, requester="person:ana")
            assert (await plane.wait(case.id, timeout=30)).status == "completed"
        times = [event["at"] async for event in plane.ledger.export()]
        assert times == sorted(times)
        assert {time[11:13] for time in times} == {"08", "11"}


async def test_a_clock_without_a_zone_is_refused_at_once() -> None:
    with pytest.raises(errors.ConfigurationError, match="the clock says"):
        await ControlPlane.open(":memory:", clock=Unsteady(datetime(2026, 1, 1)))  # noqa: DTZ001
