"""Leases: one case at a time on an object, tokens that grow, takeover, and waiting for a release."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.clock import iso
from interlock.observability.ledger import Ledger
from interlock.oversight.leases import LeaseHeld, Leases
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import START, add_case, events, set_case

AT = iso(START)


@pytest.fixture
def leases(ledger: Ledger) -> Leases:
    return Leases(ledger)


async def take(
    db: Database, leases: Leases, case_id: str, resource: str = "po/1", *, epoch: int = 1, tenant: str = "default"
) -> int:
    return await db.commit(
        lambda tx: leases.take(tx, tenant=tenant, resource=resource, case_id=case_id, epoch=epoch, at=AT)
    )


async def check(db: Database, leases: Leases, case_id: str, token: int, resource: str = "po/1") -> None:
    await db.commit(lambda tx: leases.check(tx, tenant="default", resource=resource, case_id=case_id, token=token))


async def release(db: Database, leases: Leases, case_id: str) -> list[str]:
    return await db.commit(lambda tx: leases.release_all(tx, "default", case_id, AT))


async def test_the_same_case_keeps_its_token_and_no_second_event_is_written(
    db: Database, ledger: Ledger, leases: Leases
) -> None:
    await add_case(db, "a")
    assert [await take(db, leases, "a"), await take(db, leases, "a", epoch=3)] == [1, 1]
    assert [(e["case_id"], e["data"]) for e in await events(ledger, "lease.taken")] == [
        ("a", {"resource": "po/1", "token": 1})
    ]
    row = await db.read(lambda tx: tx.row("SELECT epoch FROM leases"))
    assert row is not None and row["epoch"] == 3


async def test_an_older_epoch_does_not_lower_the_one_that_is_noted(db: Database, leases: Leases) -> None:
    await add_case(db, "a")
    await take(db, leases, "a", epoch=5)
    await take(db, leases, "a", epoch=2)
    row = await db.read(lambda tx: tx.row("SELECT epoch FROM leases"))
    assert row is not None and row["epoch"] == 5


@pytest.mark.parametrize("status", ["queued", "running", "waiting"])
async def test_another_case_is_refused_and_told_who_holds_it(
    db: Database, ledger: Ledger, leases: Leases, status: str
) -> None:
    await add_case(db, "a", status)
    await add_case(db, "b")
    await take(db, leases, "a")
    with pytest.raises(LeaseHeld) as caught:
        await take(db, leases, "b")
    assert (caught.value.holder, caught.value.code) == ("a", "lease_held")
    assert isinstance(caught.value, errors.Denied) and caught.value.hint
    assert len(await events(ledger, "lease.taken")) == 1


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", None])
async def test_a_lease_of_a_case_that_ended_or_is_gone_is_taken_over(
    db: Database, ledger: Ledger, leases: Leases, status: str | None
) -> None:
    await add_case(db, "b")
    if status is not None:
        await add_case(db, "a", status)
    await take(db, leases, "a")
    assert await take(db, leases, "b") == 2
    told = [(e["type"], e["case_id"], e["data"]["token"]) for e in await events(ledger)]
    assert told == [("lease.taken", "a", 1), ("lease.released", "a", 1), ("lease.taken", "b", 2)]
    with pytest.raises(LeaseHeld):
        await check(db, leases, "a", 1)


async def test_release_gives_back_everything_and_tokens_go_on_growing(
    db: Database, ledger: Ledger, leases: Leases
) -> None:
    await add_case(db, "a")
    await add_case(db, "b")
    for resource in ("po/2", "po/1", "vendor/ü \u0000 ✓"):
        await take(db, leases, "a", resource)
    await take(db, leases, "b", "po/9")
    assert await release(db, leases, "a") == ["po/1", "po/2", "vendor/ü \u0000 ✓"]
    assert await release(db, leases, "a") == []
    assert len(await events(ledger, "lease.released")) == 3
    assert await take(db, leases, "b") == 2
    await check(db, leases, "b", 1, "po/9")


async def test_check_fences_off_old_tokens(db: Database, leases: Leases) -> None:
    await add_case(db, "a")
    with pytest.raises(errors.Stale):
        await check(db, leases, "a", 1)
    token = await take(db, leases, "a")
    await check(db, leases, "a", token)
    with pytest.raises(errors.Stale):
        await check(db, leases, "a", token - 1)
    await release(db, leases, "a")
    with pytest.raises(errors.Stale):
        await check(db, leases, "a", token)
    assert await take(db, leases, "a") == token + 1
    with pytest.raises(errors.Stale):
        await check(db, leases, "a", token)


async def test_tenants_do_not_meet(db: Database, leases: Leases) -> None:
    await add_case(db, "a")
    await add_case(db, "b", tenant="acme")
    assert [await take(db, leases, "a"), await take(db, leases, "b", tenant="acme")] == [1, 1]


async def test_of_many_cases_at_once_exactly_one_gets_the_object(db: Database, leases: Leases) -> None:
    names = [f"c{n}" for n in range(40)]
    for name in names:
        await add_case(db, name)
    outcomes = await asyncio.gather(*(take(db, leases, name) for name in names), return_exceptions=True)
    assert [o for o in outcomes if not isinstance(o, LeaseHeld)] == [1]


async def waiter(leases: Leases, resource: str = "po/1", seconds: float = 30) -> asyncio.Task[None]:
    task = asyncio.create_task(leases.freed("default", resource, seconds))
    await asyncio.sleep(0)
    return task


async def test_a_notified_release_wakes_every_waiter_of_that_object_only(leases: Leases) -> None:
    first, second, other = [await waiter(leases, r) for r in ("po/1", "po/1", "po/2")]
    leases.notify("acme", ["po/1"])
    leases.notify("default", ["po/1", "po/3"])
    await asyncio.gather(first, second)
    assert not other.done()
    leases.notify("default", ["po/2"])
    await other


async def test_a_missed_release_ends_with_the_timeout_and_leaves_nothing_behind(leases: Leases) -> None:
    leases.notify("default", ["po/1"])
    await leases.freed("default", "po/1", 0.01)
    await leases.freed("default", "po/1", 0)
    cancelled, staying = await waiter(leases), await waiter(leases)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    leases.notify("default", ["po/1"])
    await staying
    assert not leases._waiting


async def test_a_waiter_gets_the_lease_after_the_holders_end(db: Database, leases: Leases) -> None:
    await add_case(db, "a")
    await add_case(db, "b")
    await take(db, leases, "a")
    waiting = await waiter(leases)
    leases.notify("default", await release(db, leases, "a"))
    await waiting
    assert await take(db, leases, "b") == 2


steps = st.lists(
    st.tuples(st.sampled_from(["take", "release", "end"]), st.sampled_from("abc"), st.sampled_from(["x", "y"])),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(steps)
async def test_holders_and_tokens_follow_a_naive_model(steps: list[tuple[str, str, str]]) -> None:
    db = await Database.open(":memory:")
    ledger = Ledger(db, ManualClock(START))
    leases, alive = Leases(ledger), set("abc")
    holder: dict[str, str | None] = {}
    tokens: dict[str, int] = {}
    try:
        for name in "abc":
            await add_case(db, name)
        for step, case_id, resource in steps:
            if step == "end":
                alive.discard(case_id)
                await set_case(db, case_id, "completed")
            elif step == "release":
                held = sorted(r for r, by in holder.items() if by == case_id)
                assert await release(db, leases, case_id) == held
                holder |= dict.fromkeys(held)
            else:
                await follow(db, leases, case_id, resource, holder, tokens, alive)
        taken = [e["data"]["token"] for e in await events(ledger, "lease.taken")]
        assert sum(tokens.values()) == len(taken)
    finally:
        await db.close()


async def follow(
    db: Database, leases: Leases, case_id: str, resource: str, holder: dict[str, Any], tokens: Any, alive: set[str]
) -> None:
    by = holder.get(resource)
    if by not in (None, case_id) and by in alive:
        with pytest.raises(LeaseHeld):
            await take(db, leases, case_id, resource)
        return
    expected = tokens.get(resource, 0) + (by != case_id)
    assert await take(db, leases, case_id, resource) == expected
    holder[resource], tokens[resource] = case_id, expected
