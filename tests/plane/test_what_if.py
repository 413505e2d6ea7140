"""Recorded calls under a candidate set: stricter, looser, invalid, equal; and what cannot be replayed is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock import Agent, ControlPlane, Decision, Money, Person, errors
from interlock.oversight.simulate import Simulation
from interlock.testing import ManualClock
from tests.graphs.office import POLICY, START_TIME, buying, events, office, waits_on
from tests.graphs.test_gate import gated

SMALL = "amount <= 100000 }"
LOW = POLICY.replace(SMALL, "amount <= 500 }")
HIGH = POLICY.replace(SMALL, "amount <= 500000 }")


def shifted(found: Simulation) -> dict[tuple[str, str], tuple[int, dict[str, int]]]:
    return {(s.before, s.after): (s.calls, s.money) for s in found.outcomes}


async def buy(plane: ControlPlane, *totals: int) -> list[str]:
    cases = [await plane.start("buying", {"total": total}, requester="person:ana") for total in totals]
    return [(await plane.wait(case.id)).id for case in cases]


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlane]:
    """Three orders: one small, one let through, one that was asked and approved; and one that waits."""
    async with office(buying(), clock=ManualClock(START_TIME)) as plane:
        *_, dear, _ = await buy(plane, 100, 90000, 300000, 400000)
        case = await plane.case(dear)
        await plane.inbox.decide(waits_on(case), Decision("approve"), by="person:bo")
        assert (await plane.wait(dear)).status == "completed"
        yield plane


async def simulate(plane: ControlPlane, policy: str, **options: Any) -> Simulation:
    return await plane.policies.simulate({"office.cedar": policy}, **options)


async def test_an_equal_candidate_changes_nothing(plane: ControlPlane) -> None:
    found = await simulate(plane, POLICY)
    assert (found.version, found.cases, found.calls, found.changed) == (plane.policies.version, 4, 4, 0)
    assert shifted(found) == {("allowed", "allowed"): (2, {"EUR": 90100}), ("asked", "asked"): (2, {"EUR": 700000})}
    assert (found.shifts, found.examples, found.skipped, found.outside) == ([], [], {}, {})


async def test_a_stricter_candidate_asks_for_what_was_let_through(plane: ControlPlane) -> None:
    found = await simulate(plane, LOW)
    assert found.changed == 1
    assert shifted(found)["allowed", "asked"] == (1, {"EUR": 90000})
    assert {(s.by, s.name, s.calls) for s in found.shifts} >= {
        ("workflow", "buying", 1), ("tool", "erp.create_po", 1), ("rule", "WRITE", 1),
    }  # fmt: skip
    (example,) = found.examples
    assert example.args == {"supplier": "acme", "total": 90000} and example.need == {"purchasing": 1}
    assert example.money == {"amount": 90000, "currency": "EUR"} and example.actor.startswith("agent:")
    assert any(reason.policy == "WRITE" for reason in example.reasons)
    decided = await events(plane, example.case_id, "policy.decided")
    assert [e["data"]["effect_key"] for e in decided] == [example.effect_key]


async def test_a_looser_candidate_asks_less_and_counts_a_call_once(plane: ControlPlane) -> None:
    """A call that was asked and then approved is two decisions and one call, with its money once."""
    found = await simulate(plane, HIGH)
    assert shifted(found) == {("allowed", "allowed"): (2, {"EUR": 90100}), ("asked", "allowed"): (2, {"EUR": 700000})}


async def test_a_candidate_that_forbids_or_permits_nothing_denies(plane: ControlPlane) -> None:
    nothing = await simulate(plane, "")
    assert {after for _, after in shifted(nothing)} == {"denied"} and nothing.changed == 4
    evil = '@id("EVIL") forbid (principal, action == Interlock::Action::"erp.create_po", resource)\n'
    evil += 'when { context.args.supplier == "acme" && context.args.total == 90000 };'
    found = await simulate(plane, f"{POLICY}\n{evil}")
    assert shifted(found)["allowed", "denied"] == (1, {"EUR": 90000})
    assert ("rule", "EVIL", 1) in {(s.by, s.name, s.calls) for s in found.shifts}


async def test_a_candidate_that_asks_somebody_else_differs(plane: ControlPlane) -> None:
    second = POLICY.replace("approvals.purchasing >= 1", "approvals.purchasing >= 2")
    found = await simulate(plane, second)
    assert shifted(found)["asked", "asked otherwise"] == (2, {"EUR": 700000})
    assert all(example.need == {"purchasing": 2} for example in found.examples)


async def test_an_invalid_candidate_is_refused_with_its_problem(plane: ControlPlane, tmp_path: Path) -> None:
    with pytest.raises(errors.PolicyError, match=r"office\.cedar:4.*amont.*and 2 more"):
        await simulate(plane, POLICY.replace("context.amount", "context.amont"))
    with pytest.raises(errors.ConfigurationError, match=r"no \*\.cedar file"):
        await plane.policies.simulate(tmp_path)
    assert plane.policies.check() == []


async def test_nothing_acts_on_a_simulation(plane: ControlPlane) -> None:
    before, version = await events(plane), plane.policies.version
    await simulate(plane, "")
    assert await events(plane) == before and plane.policies.version == version
    assert (await plane.wait((await buy(plane, 200))[0])).status == "completed"


async def test_since_and_workflow_choose(plane: ControlPlane) -> None:
    clock = plane.services.clock
    assert isinstance(clock, ManualClock)
    await clock.advance(timedelta(hours=1))
    later = clock.now()
    await buy(plane, 600)
    assert shifted(await simulate(plane, LOW, since=later)) == {("allowed", "asked"): (1, {"EUR": 600})}
    assert (await simulate(plane, LOW, since=later.isoformat())).calls == 1
    assert (await simulate(plane, LOW, workflow="buying")).calls == 5
    assert (await simulate(plane, LOW, workflow="selling")).calls == 0
    with pytest.raises(errors.InputError, match="is no time"):
        await simulate(plane, LOW, since="yesterday")


async def test_denials_of_the_gateway_are_counted_apart(plane: ControlPlane) -> None:
    plane.register_actor(Agent("clerk", scopes={"po:write"}))
    for args in ({"supplier": "acme"}, {"supplier": 3, "total": 1}):
        assert (await plane.call_tool("erp.create_po", args, actor="agent:clerk")).status == "denied"
    found = await simulate(plane, "")
    assert found.outside == {"gateway.schema": 2} and found.calls == 4


async def test_a_switch_is_no_decision_of_the_policies(
    plane: ControlPlane,
) -> None:
    await plane.switch("tool:erp.create_po", "off", by="person:op")
    plane.register_actor(Agent("clerk", scopes={"po:write"}))
    call = await plane.call_tool("erp.create_po", {"supplier": "acme", "total": 1}, actor="agent:clerk")
    assert [reason.policy for reason in call.reasons] == ["gateway.switch"]
    assert (await simulate(plane, "")).outside == {"gateway.switch": 1}


async def test_calls_from_outside_and_by_persons_are_replayed_with_their_roles(plane: ControlPlane) -> None:
    """What a person may do by an authority is asked again with that authority."""
    own = '@id("OWN") permit (principal in Interlock::Role::"purchasing", action, resource);'
    order = {"supplier": "acme", "total": 2_000_000}
    plane.register_actor(Person("di", scopes={"po:write"}, authorities={"purchasing": Money(5, "EUR")}))
    assert (await plane.call_tool("erp.create_po", order, actor="person:di")).status == "asked"
    found = await simulate(plane, f"{POLICY}\n{own}")
    (example,) = (one for one in found.examples if one.actor == "person:di")
    assert example.after == "allowed"


async def test_what_was_denied_may_be_let_through() -> None:
    async with office(buying(), policy="") as plane:
        await buy(plane, 100)
        found = await simulate(plane, POLICY)
        assert shifted(found) == {("denied", "allowed"): (1, {"EUR": 100})}
        assert found.examples[0].args == {"supplier": "acme", "total": 100}


async def test_a_candidate_that_looks_back_further_is_not_guessed(plane: ControlPlane) -> None:
    """Counts are looked up only where a policy asks: those that were not are no zeros."""
    counted = POLICY.replace(SMALL, "amount <= 100000 && context.counts.day < 1 }")
    found = await simulate(plane, counted)
    assert found.calls == 0 and list(found.skipped.values()) == [5]
    assert "context.counts.day" in next(iter(found.skipped))


async def test_counts_that_were_looked_up_are_replayed_zeros_included() -> None:
    counted = POLICY.replace(SMALL, "amount <= 100000 && context.counts.day < 2 }")
    async with office(buying(), policy=counted) as plane:
        await buy(plane, 100)
        await buy(plane, 200)
        assert (await simulate(plane, counted)).changed == 0
        found = await simulate(plane, counted.replace("day < 2", "day < 1"))
        assert shifted(found) == {("allowed", "allowed"): (1, {"EUR": 100}), ("allowed", "asked"): (1, {"EUR": 200})}


async def test_sums_are_those_that_were_recorded() -> None:
    summed = POLICY.replace(SMALL, "amount + context.totals.day <= 100000 }")
    async with office(buying(), policy=summed) as plane:
        await buy(plane, 60000)
        await buy(plane, 60000)
        assert shifted(await simulate(plane, summed)) == {
            ("allowed", "allowed"): (1, {"EUR": 60000}), ("asked", "asked"): (1, {"EUR": 60000}),
        }  # fmt: skip
        assert (await simulate(plane, summed.replace("<= 100000 }", "<= 120000 }"))).changed == 1


async def test_facts_are_those_that_were_recorded_and_new_ones_are_not_guessed() -> None:
    blocked: dict[str, Any] = {"blocked": False}
    rule = '@id("B") forbid (principal, action == Interlock::Action::"erp.create_po", resource) when { context.%s };'
    async with office(buying()) as plane:
        plane.register_facts("vendor", lambda args, ctx: blocked, actions=["erp.create_po"], types={"blocked": "bool"})
        await buy(plane, 100)
        blocked["blocked"] = True
        await buy(plane, 200)
        found = await simulate(plane, POLICY + rule % "blocked")
        assert shifted(found)["allowed", "denied"] == (1, {"EUR": 200})
        plane.register_facts("more", lambda args, ctx: {"late": 1}, actions=["erp.create_po"], types={"late": "bool"})
        found = await simulate(plane, POLICY + rule % "late")
        assert found.calls == 0 and found.skipped == {"the fact 'late' of erp.create_po was not recorded": 2}


async def test_erased_and_old_rows_are_counted_and_hide_nothing(plane: ControlPlane) -> None:
    (decided, *_) = await events(plane, None, "policy.decided")
    await plane.ledger.erase(plane.tenant, case_id=decided["case_id"], by="person:op", why="asked to")
    old = {name: value for name, value in decided["data"].items() if name != "request"}
    decided = {**decided, "data": old, "schema_version": 1}
    found = await simulate(plane, POLICY)
    assert found.calls == 3 and found.skipped == {"its payload was erased": 1}
    past = plane.policies.past
    assert past is not None

    async def older(**options: Any) -> AsyncIterator[Any]:
        yield decided
        async for row in past(**options):
            yield row

    plane.policies.past = older
    found = await simulate(plane, POLICY)
    assert found.calls == 3 and sorted(found.skipped.values()) == [1, 1]


async def test_a_tool_that_is_gone_cannot_be_replayed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(buying(), url=url) as plane:
        await buy(plane, 100, 300000)
    async with ControlPlane.open(url, policies={"a.cedar": ""}, read_only=True) as plane:
        found = await plane.policies.simulate({"a.cedar": ""})
        assert found.calls == 0 and found.skipped == {"no tool or gate 'erp.create_po' is registered now": 2}


async def test_what_does_not_fit_the_tool_any_more_is_no_denial(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(buying(), url=url) as plane:
        await buy(plane, 100)

    async def create_po(supplier: int, total: str) -> str:
        return f"{supplier} {total}"

    reads_args = """@id("A") permit (principal, action == Interlock::Action::"erp.create_po", resource)
    when { context.args.supplier == 7 };"""
    async with ControlPlane.open(url, policies={"a.cedar": reads_args}) as plane:
        plane.register_tool(create_po, name="erp.create_po", effect="write")
        found = await plane.policies.simulate({"a.cedar": reads_args})
        assert found.skipped == {"it does not fit erp.create_po as that is registered now": 1} and not found.calls


async def test_reads_are_replayed_and_have_no_money() -> None:
    async with office() as plane:
        plane.register_actor(Agent("clerk"))
        await plane.call_tool("erp.stock", {"item": "bolt"}, actor="agent:clerk")
        assert shifted(await simulate(plane, POLICY)) == {("allowed", "allowed"): (1, {})}
        found = await simulate(plane, POLICY.replace('"READ") permit', '"READ") forbid'))
        assert [(one.tool, one.args, one.after) for one in found.examples] == [
            ("erp.stock", {"item": "bolt"}, "denied")
        ]


async def test_a_huge_sum_stops_at_what_money_can_hold() -> None:
    async with office(buying(), policy="") as plane:
        await buy(plane, 2**63 - 1, 2**63 - 1)
        found = await simulate(plane, "")
        assert shifted(found) == {("denied", "denied"): (2, {"EUR": 2**63 - 1})}


async def passed(plane: ControlPlane, total: int) -> Any:
    case = await plane.start("gated", {"total": total}, requester="person:ana")
    case = await plane.wait(case.id, timeout=60)
    await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:cy")
    return await plane.wait(case.id, "ended", 60)


async def test_gates_are_replayed() -> None:
    """A gate asks of its own, so an equal candidate asks the same; the case that it approved is one more call."""
    async with office(gated(amount="total")) as plane:
        assert (await passed(plane, 70_000)).values["po"] == "PO-1"
        assert shifted(await simulate(plane, POLICY)) == {
            ("allowed", "allowed"): (1, {"EUR": 70_000}), ("asked", "asked"): (1, {"EUR": 70_000}),
        }  # fmt: skip
        free = '@id("FREE") permit(principal, action == Interlock::Action::"gated.gate", resource)'
        found = await simulate(plane, f"{POLICY}\n{free} when {{ context.amount < 80000 }};")
        assert [(e.tool, e.before, e.after) for e in found.examples] == [("gated.gate", "asked", "allowed")]
        assert found.outside == found.skipped == {}
        assert (await simulate(plane, f"{POLICY}\n{free} when {{ context.amount < 60000 }};")).changed == 0


async def test_a_gate_that_would_be_forbidden_or_ask_more_differs() -> None:
    async with office(gated(amount="total")) as plane:
        await passed(plane, 70_000)
        at = 'action == Interlock::Action::"gated.gate", resource)'
        no = await simulate(plane, f'{POLICY}\n@id("NO") forbid(principal, {at};')
        assert ("rule", "NO", 1) in {(s.by, s.name, s.calls) for s in no.shifts}
        more = f'{POLICY}\n@id("TWO") forbid(principal, {at} unless {{ context.approvals.purchasing >= 2 }};'
        found = await simulate(plane, more)
        assert [(e.before, e.after, e.need) for e in found.examples] == [
            ("asked", "asked otherwise", {"purchasing": 2})
        ]


async def test_a_gate_that_names_a_call_is_replayed_as_a_gate() -> None:
    wf = gated(
        amount="total", call=lambda s: ("erp.create_po", {"supplier": "acme", "total": s["total"]}), for_task="order"
    )
    async with office(wf) as plane:
        assert (await passed(plane, 300_000)).values["po"] == "PO-1"
        assert (await simulate(plane, POLICY)).changed == 0
        found = await simulate(plane, "")
        assert {(e.tool, e.after) for e in found.examples} == {("erp.create_po", "denied")}


async def test_gates_recorded_before_they_said_what_they_asked_are_counted_with_the_reason(plane: ControlPlane) -> None:
    past, (row, *_) = plane.policies.past, await events(plane, None, "policy.decided")
    assert past is not None
    old = {**row, "data": {**row["data"], "request": None}}

    async def older(**options: Any) -> AsyncIterator[Any]:
        yield old
        async for one in past(**options):
            yield one

    plane.policies.past = older
    found = await simulate(plane, POLICY)
    assert found.calls == 4 and list(found.outside.values()) == [1] and "a gate" in next(iter(found.outside))
