"""A person who is switched off decides nothing, and a task goes only to whom the router could have chosen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import ControlPlane, Decision, Person, Workflow, errors
from tests.graphs.office import Erp, State, buying, events, office, only_item


async def test_a_person_who_is_switched_off_approves_nothing_until_switched_on() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=60)
        item = await only_item(plane, case.id)
        await plane.switch("person:bo", "off", by="person:op", comment="badge stolen")
        for touched in (
            plane.approvals.decide(item.id, Decision.approve(), by="person:bo"),
            plane.inbox.claim(item.id, by="person:bo"),
            plane.inbox.delegate(item.id, to="person:cy", by="person:bo"),
            plane.inbox.delegate(item.id, to="person:bo", by="person:cy"),
        ):
            with pytest.raises(errors.NotAuthorized, match="badge stolen"):
                await touched
        assert len(await events(plane, case.id, "access.denied")) == 4
        assert erp.orders == []
        await plane.switch("person:bo", "on", by="person:op")
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, until="ended", timeout=60)).status == "completed"


async def test_people_decide_while_all_is_off() -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=60)
        item = await only_item(plane, case.id)
        await plane.switch("all", "off", by="person:op")
        assert (await plane.approvals.decide(item.id, Decision.reject("no"), by="person:bo")).status == "decided"


async def test_nobody_is_asked_who_is_switched_off() -> None:
    async with office(buying()) as plane:
        await plane.switch("person:bo", "off", by="person:op", comment="suspended")
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=60)
        assert "person:bo" not in (await only_item(plane, case.id)).eligible


@pytest.mark.parametrize("how", ["lacks the role", "switched off", "on leave"])
async def test_a_task_is_handed_to_nobody_whom_the_router_could_not_choose(how: str) -> None:
    async with office() as plane:
        wf = Workflow("w", State, owner="finance")
        wf.task("look", skill="looking", roles={"senior"})
        plane.register(wf.flow(START, "look", END))
        _two_who_look(plane, how)
        case = await plane.start("w", {"total": 1}, requester="person:ana", assign={"look": "person:sen"})
        await plane.wait(case.id, timeout=60)
        item = await only_item(plane, case.id)
        if how == "switched off":
            await plane.switch("person:jim", "off", by="person:op", comment="suspended")
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.delegate(item.id, to="person:jim", by="person:sen")
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.complete(item.id, {}, by="person:jim")


def _two_who_look(plane: ControlPlane, how: str) -> None:
    now = plane.services.clock.now()
    away: Any = [(now - timedelta(days=1), now + timedelta(days=5))] if how == "on leave" else []
    plane.register_actor(Person("sen", skills={"looking"}, roles={"senior"}))
    roles = set[str]() if how == "lacks the role" else {"senior"}
    plane.register_actor(Person("jim", skills={"looking"}, roles=roles, calendar=away))
