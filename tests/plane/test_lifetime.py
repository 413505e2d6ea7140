"""What opening, looking at, and closing a plane promise."""

from __future__ import annotations

import pytest

from interlock import Agent, ControlPlane, errors
from tests.graphs.office import buying, office


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
