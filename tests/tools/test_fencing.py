"""Fencing at the gateway: without its lease no call runs again, what happened is recorded, and no wait is endless."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from interlock.oversight.holds import line
from interlock.oversight.inbox import Decision
from interlock.storage.claim import CLAIM, Claim
from interlock.tools.contract import DidNotHappen, Happened, ToolContext, ToolResult, Unsure
from tests.tools.plant import CASE, Plant, bank, plant

OTHER = "0190a0a0-0000-7000-8000-000000000002"
THIRD = "0190a0a0-0000-7000-8000-000000000003"
AT = "2026-01-01T00:00:00Z"


def leased(one: Plant, **options: Any) -> None:
    bank(one, resource=lambda args: f"account/{args['to']}", **options)


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant() as made:
        leased(made)
        for name in (CASE, OTHER, THIRD):
            await made.case(name)
        yield made


async def free(one: Plant, case_id: str = CASE) -> None:
    """What the end of a case does with its leases."""
    freed = await one.db.commit(lambda tx: one.leases.release_all(tx, "default", case_id, AT))
    one.leases.notify("default", freed)


async def pass_on(one: Plant, how: str) -> None:
    """The lease of the case is over: nobody has it, another case has it, or that had it in between."""
    await free(one)
    if how != "free":
        assert (await one.pay(case_id=OTHER)).status == "done"
    if how == "back":
        await free(one, OTHER)
        assert (await one.pay(slot="another call")).status == "done"


def reasons(result: ToolResult) -> str:
    return " ".join(f"{reason.policy}: {reason.text}" for reason in result.reasons)


# running again


async def test_the_token_of_the_lease_is_recorded_with_the_intent_and_given_to_the_tool() -> None:
    seen: list[int | None] = []

    async def pay(amount: int, to: str, ctx: ToolContext) -> None:
        seen.append(ctx.token)

    async with plant() as one:
        one.tools.register(pay, name="bank.pay", effect="write", resource=lambda args: args["to"], system="bank")
        one.bind()
        await one.case()
        assert (await one.effect(await one.pay()))["fence"] == 1
        await free(one)
        assert (await one.effect(await one.pay(slot=1)))["fence"] == 2
        assert seen == [1, 2]


async def test_under_its_own_lease_a_call_runs_again() -> None:
    async with plant() as one:
        leased(one, idempotent=True)
        await one.case()
        await one.crash()
        assert (await one.pay()).status == "done"
        assert [e["data"]["attempt"] for e in await one.events("tool.intent")] == [1, 2]
        assert len(await one.events("lease.taken")) == 1


@pytest.mark.parametrize("how", ["free", "other", "back"])
@pytest.mark.parametrize(
    ("probe", "status", "by"),
    [(None, "unknown", None), (Unsure(), "unknown", None), (Happened("seen"), "done", "reconciled"),
     (DidNotHappen(), "failed", "reconciled")],
)  # fmt: skip
@pytest.mark.parametrize("idempotent", [True, False])
async def test_without_its_lease_nothing_runs_again(
    how: str, probe: Any, status: str, by: str | None, idempotent: bool
) -> None:
    async with plant() as one:
        leased(one, idempotent=idempotent, reconcile=None if probe is None else lambda args, ctx: probe)
        await one.case()
        await one.case(OTHER)
        await one.crash()
        await pass_on(one, how)
        before = one.world.done.copy()
        result = await one.pay()
        assert (result.status, one.world.done) == (status, before)
        assert (await one.pay()).status == status, "the next time as well"
        told = [e["data"]["by"] for e in await one.events("tool.outcome") if e["data"]["effect_key"] == result.call_id]
        assert told == ([by] if by else [])
        if status == "failed":
            assert str(result.error).startswith("not run again: ")
        assert (await one.effect(result))["attempt"] == 1


async def test_a_person_who_says_run_it_again_is_told_why_it_was_not() -> None:
    async with plant() as one:
        leased(one, idempotent=True)
        await one.case()
        await one.case(OTHER)
        await one.crash()
        await pass_on(one, "other")
        asked = await one.pay()
        await one.inbox.decide(str(asked.approval), Decision.approve(), by="person:op")
        failed = await one.pay()
        assert failed.status == "failed"
        assert failed.error == f"not run again: account/acme is held by case {OTHER}"
        assert await one.pay() == failed
        assert one.world.done == Counter({"pay 100 acme": 1})


async def test_a_lost_lease_does_not_end_the_drive() -> None:
    async with plant() as one:
        leased(one, idempotent=True)
        claim = await one.case()
        await one.case(OTHER)
        await one.crash()
        await pass_on(one, "other")
        token = CLAIM.set(Claim("default", claim.case_id, 1))
        try:
            assert (await one.pay()).status == "unknown"
            assert (await one.pay(to="basil", slot=1)).status == "done", "the claim is not poisoned"
        finally:
            CLAIM.reset(token)


async def test_an_outcome_that_arrives_after_the_lease_is_over_is_recorded(one: Plant) -> None:
    one.world.gate = asyncio.Event()
    call = asyncio.create_task(one.pay())
    await one.in_flight()
    await free(one)
    taken = await one.db.commit(
        lambda tx: one.leases.take(
            tx, tenant="default", resource="account/acme", case_id=OTHER, epoch=1, at=AT
        )
    )  # fmt: skip
    one.world.gate.set()
    result = await call
    assert (taken, result.status, (await one.effect(result))["status"]) == (2, "done", "done")
    assert [e["data"]["status"] for e in await one.events("tool.outcome")] == ["done"]


# waiting


async def in_line(one: Plant, account: str) -> list[str]:
    """The cases that wait for an account, the first in line first."""
    return [row["case_id"] for row in await one.db.read(lambda tx: line(tx, "default", "lease", account))]


async def waiting(one: Plant, case_id: str, to: str, **where: Any) -> asyncio.Task[ToolResult]:
    """A call that waits for the account of another case."""
    before = await in_line(one, f"account/{to}")
    call = asyncio.create_task(one.pay(to=to, case_id=case_id, slot=f"for {to}", **where))
    while await in_line(one, f"account/{to}") == before:  # noqa: ASYNC110  # it comes to wait
        await asyncio.sleep(0.001)
    return call


async def test_of_two_cases_that_want_what_the_other_has_the_second_is_refused_at_once(one: Plant) -> None:
    assert (await one.pay(to="x")).status == (await one.pay(to="y", case_id=OTHER)).status == "done"
    first = await waiting(one, CASE, "y")
    refused = await one.pay(to="x", case_id=OTHER, slot=1)
    assert (refused.status, first.done()) == ("denied", False)
    assert reasons(refused) == (
        f"gateway.lease: account/x is held by case {CASE}, which waits for account/y, held by case {OTHER}"
    )
    await free(one, OTHER)
    assert (await first).status == "done"
    (denied,) = [e for e in await one.events("policy.decided") if e["data"]["decision"] == "denied"]
    assert denied["case_id"] == OTHER


async def test_of_three_cases_in_a_circle_the_last_is_refused_and_the_others_go_on(one: Plant) -> None:
    ring = [(CASE, "x"), (OTHER, "y"), (THIRD, "z")]
    for case_id, to in ring:
        assert (await one.pay(to=to, case_id=case_id)).status == "done"
    first, second = await waiting(one, CASE, "y"), await waiting(one, OTHER, "z")
    refused = await one.pay(to="x", case_id=THIRD, slot=1)
    assert all(case_id in reasons(refused) for case_id, _ in ring)
    await free(one, THIRD)
    assert (await second).status == "done"
    await free(one, OTHER)
    assert (await first).status == "done"


async def test_many_cases_at_once_in_circles_all_come_to_an_end(one: Plant) -> None:
    """Each case takes what it has and wants in its own order; nobody times out, whoever is refused ends."""
    names = [f"0190a0a0-0000-7000-8000-0000000001{n:02}" for n in range(12)]
    for name in names:
        await one.case(name)

    async def work(place: int) -> list[str]:
        """Three of four accounts, in an order of its own."""
        got: list[str] = []
        for to in [("w", "x", "y", "z")[(place * step + place) % 4] for step in (1, 2, 3)]:
            result = await one.pay(to=to, case_id=names[place], slot=f"{to}")
            got.append(result.status)
            if result.status == "denied":
                assert names[place] in reasons(result), "a refusal is a circle, and names who closed it"
                break
        await free(one, names[place])
        return got

    got = await asyncio.gather(*(work(place) for place in range(12)))
    assert {status for some in got for status in some} <= {"done", "denied"}
    assert not one.leases._turns
    assert await one.db.read(lambda tx: tx.rows("SELECT * FROM holds WHERE status = 'waiting'")) == []


async def test_a_call_that_is_cancelled_while_it_waits_stands_in_no_line_any_more(one: Plant) -> None:
    assert (await one.pay(to="x")).status == "done"
    first = await waiting(one, OTHER, "x")
    second = await waiting(one, THIRD, "x")
    assert await in_line(one, "account/x") == [OTHER, THIRD]
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await in_line(one, "account/x") == [THIRD]
    await free(one)
    assert (await second).status == "done"
    await asyncio.sleep(0)
    assert not one.leases._turns


async def test_a_child_is_refused_at_once_what_its_waiting_parent_holds(one: Plant) -> None:
    assert (await one.pay(to="x")).status == "done"
    await one.db.commit(lambda tx: tx.execute("UPDATE cases SET parent_id = ? WHERE case_id = ?", (CASE, OTHER)))
    sql = "UPDATE cases SET status = 'waiting', reason = ? WHERE case_id = ?"
    await one.db.commit(lambda tx: tx.execute(sql, (f"child:{OTHER}", CASE)))
    refused = await one.pay(to="x", case_id=OTHER)
    assert reasons(refused) == f"gateway.lease: account/x is held by case {CASE}, which waits for case {OTHER}"
