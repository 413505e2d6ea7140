"""Several approvals of one thing: authorities one after the other, each by so many persons, all of them different."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import ControlPlane, Decision, Money, Person, Workflow, errors
from tests.graphs.office import POLICY, Erp, State, events, office, only_item

HIGH = Money.of("50000", "EUR")
PEOPLE = [
    Person("mia", authorities={"maintenance": HIGH}),
    Person("mo", authorities={"maintenance": HIGH}),
    Person("pia", authorities={"plant": HIGH, "maintenance": HIGH}),
    Person("pat", authorities={"plant": HIGH}),
]


def staged(**options: Any) -> Workflow:
    wf = Workflow("staged", State)
    given: dict[str, Any] = {"authority": ["maintenance", "plant"], "on_reject": END} | options
    gate = wf.approval("gate", amount=lambda s: Money(70_000, "EUR"), show=["note"], **given)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": 1})}

    return wf.flow(START, gate, order, END)


@asynccontextmanager
async def plant(wf: Workflow, **options: Any) -> AsyncIterator[ControlPlane]:
    async with office(wf, **options) as plane:
        for person in PEOPLE:
            plane.register_actor(person)
        yield plane


async def approve(plane: Any, case_id: str, by: str, refused: tuple[str, ...] = ()) -> Any:
    """The item that was open, approved by one after the others were refused."""
    await plane.wait(case_id, timeout=30)
    item = await only_item(plane, case_id)
    for person in refused:
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(item.id, Decision.approve(), by=person)
    await plane.approvals.decide(item.id, Decision.approve(), by=by)
    return item


async def test_stages_are_asked_in_their_order_and_each_needs_another_person() -> None:
    erp = Erp()
    async with plant(staged(), erp=erp) as plane:
        case = await plane.start("staged", {"note": "pump"}, requester="person:ana")
        first = await approve(plane, case.id, "person:pia", refused=("person:pat", "person:ana"))
        assert (first.authority, first.need) == ("maintenance", {"maintenance": 1, "plant": 1})
        assert (first.given, first.missing) == ([], {"maintenance": 1, "plant": 1})
        second = await approve(plane, case.id, "person:pat", refused=("person:pia", "person:mia"))
        assert (second.authority, second.stage) == ("plant", 1)
        assert [(one["by"], one["authority"], one["item"]) for one in second.given] == [
            ("person:pia", "maintenance", first.id)
        ]
        shown = second.as_json()
        assert shown["missing"] == {"plant": 1}
        assert shown["given"][0]["at"] is not None
        assert (await plane.inbox.get(second.id)).missing == {}
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, len(erp.orders)) == ("completed", 1)
        used = [item.used_at is not None for item in (await plane.inbox.list(status=None)).items]
        assert used == [True, True]


async def test_a_quorum_asks_so_many_in_each_stage() -> None:
    async with plant(staged(quorum=2)) as plane:
        case = await plane.start("staged", {}, requester="person:ana")
        asked = [await approve(plane, case.id, "person:mia")]
        asked.append(await approve(plane, case.id, "person:mo", refused=("person:mia",)))
        asked.append(await approve(plane, case.id, "person:pia", refused=("person:mia", "person:mo")))
        asked.append(await approve(plane, case.id, "person:pat", refused=("person:pia",)))
        assert [item.authority for item in asked] == ["maintenance", "maintenance", "plant", "plant"]
        assert [sum(item.missing.values()) for item in asked] == [4, 3, 2, 1]
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"
        assert len(await events(plane, case.id, "inbox.decided")) == 4


async def test_a_quorum_larger_than_what_policies_count_is_kept() -> None:
    async with plant(staged(authority="maintenance", quorum=3)) as plane:
        case = await plane.start("staged", {}, requester="person:ana")
        for by in ("person:mia", "person:mo", "person:pia"):
            assert (await plane.wait(case.id, timeout=30)).status == "waiting"
            await approve(plane, case.id, by)
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"


async def test_a_no_in_the_second_stage_is_final() -> None:
    erp = Erp()
    async with plant(staged(), erp=erp) as plane:
        case = await plane.start("staged", {}, requester="person:ana")
        await approve(plane, case.id, "person:mia")
        await plane.wait(case.id, timeout=30)
        await plane.approvals.decide((await only_item(plane, case.id)).id, Decision.reject("no"), by="person:pat")
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"
        assert erp.orders == []


async def test_a_stage_given_by_somebody_who_lost_the_authority_is_asked_again() -> None:
    mia = Person("mia2", authorities={"maintenance": HIGH})
    async with plant(staged()) as plane:
        plane.register_actor(mia)
        case = await plane.start("staged", {}, requester="person:ana")
        await approve(plane, case.id, "person:mia2")
        await plane.wait(case.id, timeout=30)
        mia.authorities.clear()
        await approve(plane, case.id, "person:pat")
        case = await plane.wait(case.id, timeout=30)
        again = await only_item(plane, case.id)
        assert (again.authority, again.missing) == ("maintenance", {"maintenance": 1})
        await plane.approvals.decide(again.id, Decision.approve(), by="person:mo")
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"


async def test_policies_add_to_what_the_gate_asks() -> None:
    more = '@id("M") forbid(principal, action == Interlock::Action::"staged.gate", resource)' + (
        " when { context.approvals.plant < 2 };"
    )
    async with plant(staged(), policy=POLICY + more) as plane:
        case = await plane.start("staged", {}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        assert (await only_item(plane, case.id)).need == {"maintenance": 1, "plant": 2}
