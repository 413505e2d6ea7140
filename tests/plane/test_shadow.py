"""A candidate beside the live set: what it would have decided is recorded, and nothing acts on it, whatever it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock import Agent, ControlPlane, Decision, errors
from interlock.oversight.actions import Request, Verdict
from interlock.oversight.edition import Edition
from interlock.oversight.shadow import Differences
from tests.graphs.office import POLICY, Erp, buying, events, fill, office, waits_on
from tests.graphs.test_gate import gated

SMALL = "amount <= 100000 }"
LOW = {"office.cedar": POLICY.replace(SMALL, "amount <= 500 }")}
ORDER = {"supplier": "acme", "total": 600}


async def buy(plane: ControlPlane, *totals: int) -> list[Any]:
    cases = [await plane.start("buying", {"total": total}, requester="person:ana") for total in totals]
    return await plane.wait_all([case.id for case in cases], "settled", 60)


async def shadowed(plane: ControlPlane, case_id: str | None = None) -> list[dict[str, Any]]:
    return [event["data"] for event in await events(plane, case_id, "policy.shadowed")]


def told(found: Differences, by: str) -> dict[str, tuple[str, str, int, dict[str, int]]]:
    return {s.name: (s.before, s.after, s.calls, s.money) for s in found.shifts if s.by == by}


async def test_what_the_shadow_would_have_asked_is_done_all_the_same() -> None:
    erp = Erp()
    async with office(buying(), erp=erp, shadow=LOW) as plane:
        cases = await buy(plane, 100, 90000)
        assert [case.status for case in cases] == ["completed", "completed"] and len(erp.orders) == 2
        (one,) = await shadowed(plane)
        assert (one["decision"], one["need"], one["live"]["decision"]) == ("asked", {"purchasing": 1}, "allowed")
        assert (one["tool"], one["workflow"], one["money"]["amount"]) == ("erp.create_po", "buying", 90000)
        assert "WRITE" in [policy for policy, _ in one["reasons"]]
        assert one["live"]["policy_version"] == plane.policies.version != one["policy_version"]
        found = await plane.policies.shadowed()
        assert (found.changed, found.cases, found.versions) == (1, 1, {one["policy_version"]: 1})
        assert told(found, "workflow") == {"buying": ("allowed", "asked", 1, {"EUR": 90000})}
        assert told(found, "tool") == {"erp.create_po": ("allowed", "asked", 1, {"EUR": 90000})}
        assert told(found, "rule")["WRITE"] == ("allowed", "asked", 1, {"EUR": 90000})
        assert (await plane.policies.shadowed(workflow="selling")).changed == 0
        assert (await plane.ledger.verify()).ok


async def test_an_equal_shadow_records_nothing_and_no_shadow_is_none() -> None:
    for shadow in ({"office.cedar": POLICY}, None):
        async with office(buying(), shadow=shadow) as plane:
            await buy(plane, 100, 300000)
            assert await shadowed(plane) == []
            found = await plane.policies.shadowed()
            assert (found.changed, found.shifts, found.examples) == (0, [], [])


async def test_without_a_shadow_nothing_more_is_asked_and_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = Edition.decide

    def decide(self: Edition, request: Request) -> Verdict:
        asked.append(request.action)
        return plain(self, request)

    monkeypatch.setattr(Edition, "decide", decide)
    async with office(buying()) as plane:
        await buy(plane, 100)
    assert asked.count("erp.create_po") == 1


async def test_a_call_counts_once_although_it_is_decided_again() -> None:
    """Asked, then approved: the shadow differs both times. Its money counts once."""
    async with office(buying(), shadow={"a.cedar": ""}) as plane:
        (case,) = await buy(plane, 300000)
        await plane.inbox.decide(waits_on(case), Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, "ended", 60)).status == "completed"
        pairs = [(one["live"]["decision"], one["decision"]) for one in await shadowed(plane)]
        assert pairs == [("asked", "denied"), ("allowed", "denied")]
        found = await plane.policies.shadowed()
        assert [(s.before, s.after, s.calls, s.money) for s in found.outcomes] == [
            ("asked", "denied", 1, {"EUR": 300000})
        ]


async def test_what_the_live_set_denies_the_shadow_may_let_through() -> None:
    async with office(buying(), policy="", shadow={"office.cedar": POLICY}) as plane:
        plane.register_actor(Agent("clerk", scopes={"po:write"}))
        assert (await plane.call_tool("erp.create_po", ORDER, actor="agent:clerk")).status == "denied"
        (one,) = await shadowed(plane)
        assert (one["live"]["decision"], one["decision"]) == ("denied", "allowed")


async def test_what_the_gateway_itself_denies_is_no_difference() -> None:
    async with office(shadow={"a.cedar": ""}) as plane:
        plane.register_actor(Agent("clerk", scopes={"po:write"}))
        await plane.switch("tool:erp.create_po", "off", by="person:op")
        for args in (ORDER, {"supplier": 3}):
            assert (await plane.call_tool("erp.create_po", args, actor="agent:clerk")).status == "denied"
        assert await shadowed(plane) == []


async def test_a_shadow_that_asks_others_differs() -> None:
    second = {"office.cedar": POLICY.replace("approvals.purchasing >= 1", "approvals.purchasing >= 2")}
    async with office(buying(), shadow=second) as plane:
        await buy(plane, 300000)
        (one,) = await shadowed(plane)
        assert (one["decision"], one["need"], one["live"]["need"]) == (
            "asked otherwise", {"purchasing": 2}, {"purchasing": 1},
        )  # fmt: skip


async def test_a_shadow_that_counts_is_told_the_truth_and_reads_stay_quick() -> None:
    """The live set asks of no earlier call; what the shadow asks is looked up for it alone."""
    counted = {"office.cedar": POLICY.replace(SMALL, "amount <= 100000 && context.counts.day < 2 }")}
    async with office(buying(), shadow=counted) as plane:
        for total in (100, 200, 300):
            await buy(plane, total)
        (one,) = await shadowed(plane)
        assert one["decision"] == "asked" and one["money"]["amount"] == 300


async def test_gates_are_compared_as_well() -> None:
    strict = {
        "office.cedar": POLICY + '@id("NO") forbid(principal, action == Interlock::Action::"gated.gate", resource);'
    }
    async with office(gated(amount="total"), shadow=strict) as plane:
        case = await plane.start("gated", {"total": 70_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=60)
        (one,) = await shadowed(plane, case.id)
        assert (one["tool"], one["live"]["decision"], one["decision"]) == ("gated.gate", "asked", "denied")
        await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, "ended", 60)).values["po"] == "PO-1"
        found = await plane.policies.shadowed()
        assert told(found, "rule")["NO"] == ("asked", "denied", 1, {"EUR": 70_000})


async def test_a_broken_shadow_is_an_error_at_the_start_and_stops_no_call(tmp_path: Path) -> None:
    erp, broken = Erp(), {"office.cedar": POLICY.replace("context.amount", "context.amont")}
    async with office(buying(), erp=erp, shadow=broken) as plane:
        with pytest.raises(errors.PolicyError, match=r"the shadow is invalid: office\.cedar:4.*amont"):
            await plane.ready()
        assert plane.policies.check() == [] and plane.policies.candidate is None
        (case,) = await buy(plane, 100)
        assert case.status == "completed" and len(erp.orders) == 1 and await shadowed(plane) == []
    with pytest.raises(errors.ConfigurationError, match=r"no \*\.cedar file"):
        await ControlPlane.open(":memory:", shadow=tmp_path)


async def test_a_shadow_that_fails_when_it_is_asked_stops_no_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By an error in Cedar it denies, as it would if it decided; by one of ours it says nothing."""
    fails = '@id("X") forbid(principal, action, resource) when { context.amount * 9223372036854775807 > 0 };'
    async with office(buying(), shadow={"office.cedar": POLICY + fails}) as plane:
        assert [case.status for case in await buy(plane, 100)] == ["completed"]
        (one,) = await shadowed(plane)
        assert one["decision"] == "denied" and "cannot be evaluated" in one["reasons"][0][1]
        candidate = plane.policies.candidate

        def raising(self: Edition, action: str, partial: Any) -> Any:
            if self is candidate:
                raise RuntimeError("planted")
            return plain(self, action, partial)

        plain = Edition.complete_context
        monkeypatch.setattr(Edition, "complete_context", raising)
        assert [case.status for case in await buy(plane, 200)] == ["completed"]
        assert len(await shadowed(plane)) == 1 and "could not be asked about erp.create_po" in caplog.text


async def test_it_is_taken_again_apart_from_the_live_set(tmp_path: Path) -> None:
    file = tmp_path / "shadow.cedar"
    file.write_text(POLICY, "utf-8")
    async with office(buying(), shadow=file) as plane:
        shadow, live = plane.policies.shadow, plane.policies.version
        assert shadow is not None
        await buy(plane, 100, 90000)
        file.write_text(LOW["office.cedar"], "utf-8")
        assert await shadow.reload("person:op") == []
        await buy(plane, 90001)
        file.write_text("permit(", "utf-8")
        assert await shadow.reload() and plane.policies.candidate is not None
        await buy(plane, 90002)
        assert [one["money"]["amount"] for one in await shadowed(plane)] == [90001, 90002]
        loaded = await events(plane, None, "policy.loaded")
        versions = [(e["data"]["version"], e["data"].get("shadow", False), e["actor"] or "") for e in loaded]
        assert versions[0] == (live, False, "") and plane.policies.version == live
        assert [(aside, by) for _, aside, by in versions[1:]] == [(True, ""), (True, "person:op")]


async def test_a_reload_of_the_live_set_is_compared_from_then_on(tmp_path: Path) -> None:
    file = tmp_path / "live.cedar"
    file.write_text(POLICY, "utf-8")
    async with ControlPlane.open(":memory:", policies=file, shadow=LOW) as plane:
        fill(plane, Erp())
        plane.register(buying())
        await buy(plane, 90000)
        file.write_text(LOW["office.cedar"], "utf-8")
        assert await plane.policies.reload() == []
        await buy(plane, 90001)
        assert [one["money"]["amount"] for one in await shadowed(plane)] == [90000]


async def test_what_a_fork_imagines_is_no_difference_and_its_calls_are_compared() -> None:
    erp = Erp()
    async with office(buying(), erp=erp, shadow=LOW) as plane:
        (case,) = await buy(plane, 90000)
        history = plane.graph("buying").aget_state_history({"configurable": {"thread_id": case.id}})
        (before,) = [state async for state in history if state.next == ("order",)]
        fork = await plane.fork(
            case.id, checkpoint_id=before.config.get("configurable", {})["checkpoint_id"], by="person:op"
        )
        assert (await plane.wait(fork.id, "ended", 60)).values["po"] == "PO-1" and len(erp.orders) == 1
        told = [(one["live"] is None, one["decision"]) for one in await shadowed(plane, fork.id)]
        assert sorted(told) == [(False, "asked"), (True, "allowed")]
        assert (await plane.policies.shadowed()).changed == 2


async def test_what_was_erased_is_not_counted() -> None:
    async with office(buying(), shadow=LOW) as plane:
        first, _ = await buy(plane, 90000, 90001)
        await plane.ledger.erase(plane.tenant, case_id=first.id, by="person:op", why="asked to")
        assert (await plane.policies.shadowed()).changed == 1
