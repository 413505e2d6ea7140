"""Approvals that nobody could give: exceptions with the reasons, and given by whoever may once the world changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock import Agent, ControlPlane, Decision, Money, Person, errors
from interlock.oversight.items import Item
from interlock.testing import ManualClock
from tests.graphs.office import POLICY, START_TIME, Erp, buying, events, fill, only_item, waits_on
from tests.graphs.test_gate import gated

YES = Decision.approve()
DEAR = 700_000


@pytest.fixture
def erp() -> Erp:
    return Erp()


@pytest.fixture
async def plane(erp: Erp) -> AsyncIterator[ControlPlane]:
    """The office after cy, who alone may approve so much, has gone on leave for a week."""
    policy = {"office.cedar": POLICY}
    async with ControlPlane.open(":memory:", policies=policy, clock=ManualClock(START_TIME)) as plane:
        fill(plane, erp)
        plane.register(buying())
        plane.register(gated(amount="total"))
        plane.services.actors.person("person:cy").calendar = [(START_TIME, START_TIME + timedelta(days=7))]
        yield plane


async def stuck(plane: ControlPlane, workflow: str = "buying", requester: str = "person:ana") -> Item:
    case = await plane.start(workflow, {"total": DEAR}, requester=requester)
    case = await plane.wait(case.id, "settled", 60)
    assert [waiting.kind for waiting in case.waiting_for] == ["exception"]
    return await plane.inbox.get(waits_on(case))


async def ended(plane: ControlPlane, item: Item) -> Any:
    return await plane.wait(item.case_id, "ended", 60)


@pytest.mark.parametrize("workflow", ["buying", "gated"])
async def test_it_is_an_exception_that_says_who_may_not_and_why(plane: ControlPlane, workflow: str) -> None:
    item = await stuck(plane, workflow)
    (why,) = [reason.text for reason in item.reasons if reason.policy == "approval.nobody"]
    assert "person:bo" in why and "principal.limit" in why and "person:cy: on leave" in why and "Delegate" in why
    assert (item.kind, item.authority, item.eligible[0]) == ("exception", "purchasing", "role:operator")
    assert (await plane.approvals.list()).items == []
    assert [one.id for one in (await plane.inbox.list("exception", role="operator")).items] == [item.id]
    figures = await plane.metrics.summary()
    assert (figures["exceptions"], figures["approvals"]["requested"]) == (1, 0)


@pytest.mark.parametrize("workflow", ["buying", "gated"])
async def test_whoever_may_once_the_world_changed_gives_that_very_item(
    plane: ControlPlane, workflow: str, erp: Erp
) -> None:
    item = await stuck(plane, workflow)
    for by in ("person:bo", "person:ana"):
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.decide(item.id, YES, by=by)
    plane.register_actor(Person("dee", authorities={"purchasing": Money(10**7, "EUR")}))
    assert "person:dee" in (await plane.inbox.get(item.id)).eligible
    assert [one.id for one in (await plane.inbox.list(role="purchasing")).items] == [item.id]
    await plane.inbox.decide(item.id, YES, by="person:dee")
    if workflow == "buying":
        assert (await ended(plane, item)).status == "completed" and erp.orders == [("acme", DEAR)]
        figures = await plane.metrics.summary()
        assert figures["money"]["EUR"]["approved"] == DEAR and figures["approvals"]["approved"] == 1
    else:
        assert "purchasing" in [w.authority for w in (await plane.wait(item.case_id, "settled", 60)).waiting_for]


async def test_a_delegation_is_such_a_change(plane: ControlPlane) -> None:
    item = await stuck(plane)
    until = START_TIME + timedelta(days=2)
    await plane.delegations.give("person:cy", "person:op", "purchasing", until=until, by="person:cy")
    done = await plane.inbox.decide(item.id, YES, by="person:op")
    assert done.decision is not None and done.decision.acting_for == "person:cy"
    assert (await ended(plane, item)).status == "completed"


async def test_the_end_of_a_leave_is_such_a_change(plane: ControlPlane) -> None:
    item = await stuck(plane)
    clock = plane.services.clock
    assert isinstance(clock, ManualClock)
    await clock.advance(timedelta(days=8))
    await plane.inbox.decide(item.id, YES, by="person:cy")
    assert (await ended(plane, item)).status == "completed"


async def test_other_policies_are_such_a_change(tmp_path: Path, erp: Erp) -> None:
    """Nobody may approve; then the call needs no approval any more. An operator has it asked again."""
    file = tmp_path / "a.cedar"
    file.write_text(POLICY.replace("principal.limit >= context.amount", "principal.limit < 0"), "utf-8")
    async with ControlPlane.open(":memory:", policies=file) as plane:
        fill(plane, erp)
        plane.register(buying())
        item = await stuck(plane)
        file.write_text(POLICY.replace("amount <= 100000 }", "amount <= 900000 }"), "utf-8")
        assert await plane.policies.reload() == []
        await plane.inbox.decide(item.id, YES, by="person:op")
        assert (await ended(plane, item)).status == "completed" and erp.orders == [("acme", DEAR)]


async def test_an_operator_s_yes_approves_nothing_it_asks_again(plane: ControlPlane, erp: Erp) -> None:
    """As often as one likes; the question that comes back is another item, and nothing has been counted as approved."""
    item = await stuck(plane)
    for _ in range(3):
        await plane.inbox.decide(item.id, YES, by="person:op")
        case = await plane.wait(item.case_id, "settled", 60)
        again = await plane.inbox.get(waits_on(case))
        assert again.id != item.id and again.kind == "exception" and erp.orders == []
        item = again
    figures = await plane.metrics.summary()
    assert figures["approvals"]["approved"] == 0 and figures["exceptions"] == 4
    assert figures["money"]["EUR"]["approved"] == 0
    plane.register_actor(Person("dee", authorities={"purchasing": Money(10**7, "EUR")}))
    await plane.inbox.decide(item.id, YES, by="person:op")
    case = await plane.wait(item.case_id, "settled", 60)
    assert [waiting.kind for waiting in case.waiting_for] == ["approval"]
    await plane.inbox.decide(waits_on(case), YES, by="person:dee")
    assert (await ended(plane, item)).status == "completed"


async def test_an_operator_may_refuse_or_answer_and_never_edit(plane: ControlPlane, erp: Erp) -> None:
    first, second = await stuck(plane), await stuck(plane)
    with pytest.raises(errors.NotAuthorized, match="authority 'purchasing' is missing"):
        await plane.inbox.decide(first.id, Decision.edit({"total": 5}), by="person:op")
    await plane.inbox.decide(first.id, Decision.reject("too dear"), by="person:op")
    await plane.inbox.decide(second.id, Decision.respond("PO-by-phone"), by="person:op")
    assert (await ended(plane, second)).values["po"] == "PO-by-phone"
    case = await plane.wait(first.case_id, "settled", 60)
    assert case.status == "waiting" and "too dear" in (await only_item(plane, case.id)).reasons[0].text
    assert erp.orders == []


async def test_an_edit_to_what_somebody_may_approve(plane: ControlPlane, erp: Erp) -> None:
    item = await stuck(plane)
    await plane.inbox.decide(item.id, Decision.edit({"total": 400_000}), by="person:bo")
    assert (await ended(plane, item)).status == "completed" and erp.orders == [("acme", 400_000)]


@pytest.mark.parametrize("by", ["person:ana", "person:bo", "person:cy", "agent:payer"])
@pytest.mark.parametrize("decision", [YES, Decision.reject("no"), Decision.respond("done")], ids=lambda one: one.kind)
async def test_who_may_neither_approve_nor_look_does_not_answer(
    plane: ControlPlane, by: str, decision: Decision
) -> None:
    plane.register_actor(Agent("payer"))
    item = await stuck(plane)
    with pytest.raises(errors.NotAuthorized):
        await plane.inbox.decide(item.id, decision, by=by)
    assert (await plane.inbox.get(item.id)).open
    assert len(await events(plane, item.case_id, "access.denied")) == 1


async def test_an_operator_who_asked_does_not_look_at_the_own_call(plane: ControlPlane) -> None:
    item = await stuck(plane, requester="person:op")
    for decision in (YES, Decision.reject("no"), Decision.respond("done")):
        with pytest.raises(errors.NotAuthorized):
            await plane.inbox.decide(item.id, decision, by="person:op")


async def test_without_anybody_who_holds_the_authority(erp: Erp) -> None:
    policy = {"office.cedar": POLICY.replace("purchasing", "owning")}
    async with ControlPlane.open(":memory:", policies=policy) as plane:
        fill(plane, erp)
        plane.register_actor(Agent("clerk", scopes={"po:write"}))
        asked = await plane.call_tool("erp.create_po", {"supplier": "a", "total": DEAR}, actor="agent:clerk")
        assert asked.approval is not None
        item = await plane.inbox.get(asked.approval)
        assert item.kind == "exception" and "nobody who is registered holds it" in item.reasons[-1].text
        plane.register_actor(Person("own", authorities={"owning": Money(10**7, "EUR")}))
        await plane.inbox.claim(item.id, by="person:own")
        await plane.inbox.decide(item.id, YES, by="person:own")
        args = {"supplier": "a", "total": DEAR}
        done = await plane.call_tool("erp.create_po", args, actor="agent:clerk", approval=item.id)
        assert done.status == "done"
        twice = await plane.call_tool("erp.create_po", args, actor="agent:clerk", approval=item.id)
        assert twice.status == "denied" and len(erp.orders) == 1


async def test_a_second_stage_that_nobody_is_left_for(plane: ControlPlane) -> None:
    """The first was given; whoever gave it is named as kept apart."""
    clock = plane.services.clock
    assert isinstance(clock, ManualClock)
    await clock.advance(timedelta(days=8))
    case = await plane.start("buying", {"total": 2_000_000}, requester="person:ana")
    case = await plane.wait(case.id, "settled", 60)
    await plane.inbox.decide(waits_on(case), YES, by="person:cy")
    case = await plane.wait(case.id, "settled", 60)
    item = await plane.inbox.get(waits_on(case))
    assert item.kind == "exception" and "person:cy: owns the agent, or has approved before" in item.reasons[-1].text
    with pytest.raises(errors.NotAuthorized):
        await plane.inbox.decide(item.id, YES, by="person:cy")


async def test_it_outlives_a_restart(tmp_path: Path) -> None:
    url, policy = f"sqlite:///{tmp_path / 'interlock.db'}", {"office.cedar": POLICY.replace("purchasing", "owning")}
    async with ControlPlane.open(url, policies=policy) as plane:
        fill(plane, Erp())
        plane.register(buying())
        item = await stuck(plane)
    async with ControlPlane.open(url, policies=policy) as plane:
        fill(plane, Erp())
        plane.register(buying())
        plane.register_actor(Person("own", authorities={"owning": Money(10**7, "EUR")}))
        await plane.inbox.decide(item.id, YES, by="person:own")
        assert (await ended(plane, item)).status == "completed"


async def test_many_holders_are_named_up_to_a_number(erp: Erp) -> None:
    async with ControlPlane.open(":memory:", policies={"office.cedar": POLICY}) as plane:
        fill(plane, erp)
        for number in range(30):
            plane.register_actor(Person(f"p{number:02}", authorities={"purchasing": Money(1, "EUR")}))
        plane.register_actor(Agent("clerk", scopes={"po:write"}))
        asked = await plane.call_tool("erp.create_po", {"supplier": "a", "total": 10**8}, actor="agent:clerk")
        assert asked.approval is not None
        why = (await plane.inbox.get(asked.approval)).reasons[-1].text
        assert "and 22 more" in why and len(why) < 4000
