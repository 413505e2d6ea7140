"""Eleven defects that were reproduced in another governance toolkit, tried here from outside on a whole plane."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from interlock import Agent, ControlPlane, Decision, ToolResult, errors
from interlock.observability.ledger import Report
from tests.graphs.office import Erp, buying, events, fill, office, only_item
from tests.observability.sealed import change, recompute

CALL = '(principal, action == Interlock::Action::"erp.create_po", resource)'
ANYONE = f'@id("any") permit {CALL};'
CAP = f'@id("cap") forbid {CALL} when {{ context.amount > 5000 }};'
WHO = """@id("who") permit(principal is Interlock::Person, action == Interlock::Action::"approve:erp.create_po",
  resource) when { principal.limit >= context.amount };"""
SIGNED = f'@id("two") permit {CALL} when {{ context.approvals.purchasing >= 2 }}; {WHO}'


async def order(plane: ControlPlane, total: Any, **more: Any) -> ToolResult:
    if "agent:buyer" not in {agent.id for agent in plane.agents}:
        plane.register_actor(Agent("buyer", scopes={"po:write"}))
    return await plane.call_tool("erp.create_po", {"supplier": "acme", "total": total}, actor="agent:buyer", **more)


async def refused(plane: ControlPlane, erp: Erp, result: ToolResult, policy: str | None = None) -> None:
    """Denied with the reason in the ledger; no intent, and nothing in the ERP."""
    assert result.status == "denied", result
    assert policy is None or [reason.policy for reason in result.reasons] == [policy]
    assert erp.orders == []
    assert await events(plane, None, "tool.intent", "tool.outcome") == []
    assert (await events(plane, None, "policy.decided"))[-1]["data"]["decision"] == "denied"


@pytest.mark.parametrize("total", [5001, 100_000, 2**62])
async def test_1_a_deny_rule_on_the_amount_stops_the_call(total: int) -> None:
    erp = Erp()
    async with office(erp=erp, policy=ANYONE + CAP) as plane:
        await refused(plane, erp, await order(plane, total), "cap")
        assert (await order(plane, 5000)).status == "done"
        assert erp.orders == [("acme", 5000)]


@pytest.mark.parametrize("total", ["100000", "1", " 1", "1e5", "5000.0"])
async def test_2_the_amount_as_a_text_stops_the_call(total: str) -> None:
    erp = Erp()
    async with office(erp=erp, policy=ANYONE + CAP) as plane:
        await refused(plane, erp, await order(plane, total), "gateway.schema")


async def test_3_an_allow_rule_with_two_conditions_needs_both() -> None:
    erp = Erp()
    policy = f'permit {CALL} when {{ context.currency == "EUR" && context.amount <= 5000 }};'
    async with office(erp=erp, policy=policy) as plane:
        await refused(plane, erp, await order(plane, 5001))
        assert (await order(plane, 5000)).status == "done"


async def test_4_an_allow_rule_with_a_misspelled_attribute_lets_nothing_through() -> None:
    erp = Erp()
    async with office(erp=erp, policy=f"{ANYONE} permit {CALL} when {{ context.amuont <= 5000 }};") as plane:
        with pytest.raises(errors.PolicyError, match="amuont"):
            await plane.ready()
        await refused(plane, erp, await order(plane, 1))


async def test_5_brackets_count() -> None:
    erp = Erp()
    policy = f'permit {CALL} when {{ !(context.amount > 5 && context.currency == "EUR") }};'
    async with office(erp=erp, policy=policy) as plane:
        await refused(plane, erp, await order(plane, 9))
        assert (await order(plane, 1)).status == "done"


@pytest.mark.parametrize(
    "garbage", ["amount > 5000 -> deny", "rules: [{effect: deny}]", '{"Effect": "Deny"}', "permit(principal);", "\x00"]
)
async def test_6_garbage_does_not_validate(garbage: str) -> None:
    erp = Erp()
    async with office(erp=erp, policy=f"{ANYONE}\n{garbage}") as plane:
        assert plane.policies.check() != []
        with pytest.raises(errors.PolicyError):
            await plane.ready()
        await refused(plane, erp, await order(plane, 1))


async def filled(home: Path, calls: int = 60) -> Report:
    """A home whose ledger was sealed when its plane closed, and what it verified as before that."""
    async with office(url=f"sqlite:///{home / 'interlock.db'}", policy=ANYONE) as plane:
        for number in range(calls):
            assert (await order(plane, number)).status == "done"
    return await verified(home)


async def verified(home: Path) -> Report:
    async with ControlPlane.open(f"sqlite:///{home / 'interlock.db'}", read_only=True) as reader:
        return await reader.ledger.verify()


def drop_last_hundred(other: sqlite3.Connection) -> None:
    """With the seals of what is dropped, and the head set back, as if it had never been."""
    (last,) = other.execute("SELECT max(seq) FROM ledger").fetchone()
    keep = last - 100
    other.execute("DELETE FROM ledger WHERE seq > ?", (keep,))
    other.execute("DELETE FROM seals WHERE seq > ?", (keep,))
    (link,) = other.execute("SELECT hash FROM ledger WHERE seq = ?", (keep,)).fetchone()
    other.execute("UPDATE heads SET seq = ?, hash = ?", (keep, link))


async def test_7_a_ledger_without_its_last_hundred_events_does_not_verify(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    assert before.ok, before.why
    change(tmp_path, drop_last_hundred)
    after = await verified(tmp_path)
    assert (after.ok, after.events, after.first_bad) == (False, before.events - 100, before.events), after
    assert "anchored" in after.why


async def test_8_an_edited_event_with_the_chain_computed_anew_does_not_verify(tmp_path: Path) -> None:
    assert (await filled(tmp_path, 5)).ok

    def edit(other: sqlite3.Connection) -> None:
        (seq,) = other.execute("SELECT min(seq) FROM ledger WHERE type = 'tool.outcome'").fetchone()
        other.execute("UPDATE ledger SET actor = 'agent:somebody' WHERE seq = ?", (seq,))
        recompute(other, seq)

    change(tmp_path, edit)
    after = await verified(tmp_path)
    assert not after.ok, after
    assert after.first_bad is not None


async def test_9_the_requester_does_not_approve_the_own_request() -> None:
    erp = Erp()
    async with office(
        buying(), erp=erp, policy=f'@id("one") permit {CALL} when {{ context.approvals.purchasing >= 1 }};{WHO}'
    ) as plane:
        case = await plane.start("buying", {"total": 500}, requester="person:bo")
        await plane.wait(case.id, timeout=30)
        item = await only_item(plane, case.id)
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        assert ((await plane.inbox.get(item.id)).open, erp.orders) == (True, [])
        assert await events(plane, case.id, "inbox.decided", "tool.intent") == []
        await plane.approvals.decide(item.id, Decision.approve(), by="person:cy")
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"


async def test_10_one_person_does_not_fill_both_stages() -> None:
    erp = Erp()
    async with office(buying(), erp=erp, policy=SIGNED) as plane:
        case = await half_approved(plane)
        second = await only_item(plane, case)
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(second.id, Decision.approve(), by="person:bo")
        assert erp.orders == []
        assert len(await events(plane, case, "inbox.decided")) == 1
        await plane.approvals.decide(second.id, Decision.approve(), by="person:cy")
        assert (await plane.wait(case, until="ended", timeout=30)).status == "completed"
        assert erp.orders == [("acme", 500)]


async def half_approved(plane: ControlPlane) -> str:
    """A case that bo has approved, and that waits for somebody else."""
    case = await plane.start("buying", {"total": 500}, requester="person:ana")
    await plane.wait(case.id, timeout=30)
    await plane.approvals.decide((await only_item(plane, case.id)).id, Decision.approve(), by="person:bo")
    await plane.wait(case.id, timeout=30)
    return case.id


async def test_11_approvals_survive_a_restart_with_who_gave_them(tmp_path: Path) -> None:
    """Half approved before the restart: the first approval still counts, and still counts once."""
    url, erp = f"sqlite:///{tmp_path / 'interlock.db'}", Erp()
    async with office(buying(), url=url, policy=SIGNED) as plane:
        case = await half_approved(plane)
    async with ControlPlane.open(url, policies={"office.cedar": SIGNED}) as plane:
        fill(plane, erp)
        plane.register(buying())
        second = await only_item(plane, case)
        with pytest.raises(errors.NotAuthorized):
            await plane.approvals.decide(second.id, Decision.approve(), by="person:bo")
        assert erp.orders == []
        await plane.approvals.decide(second.id, Decision.approve(), by="person:cy")
        assert (await plane.wait(case, until="ended", timeout=30)).status == "completed"
        assert erp.orders == [("acme", 500)]
        assert [event["actor"] for event in await events(plane, case, "inbox.decided")] == ["person:bo", "person:cy"]
        assert (await plane.ledger.verify()).ok
