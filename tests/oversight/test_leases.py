"""Leases: one case at a time on an object, tokens that grow, takeover, and the line of those that wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.clock import iso
from interlock.observability.ledger import Ledger
from interlock.oversight.holds import of_case, over
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
    assert await release(db, leases, "a") == []
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


async def line_up(db: Database, leases: Leases, case_id: str, resource: str = "po/1", call: str = "") -> None:
    where = {"tenant": "default", "resource": resource, "case_id": case_id, "call": call or f"{case_id} {resource}"}
    await db.commit(lambda tx: leases.line_up(tx, **where, at=AT))


async def leave(db: Database, leases: Leases, call: str) -> list[str]:
    return await db.commit(lambda tx: leases.leave(tx, "default", call, AT))


async def test_a_released_object_is_handed_to_the_first_in_line_and_nobody_overtakes(
    db: Database, ledger: Ledger, leases: Leases
) -> None:
    for name in "abcd":
        await add_case(db, name)
    await take(db, leases, "a")
    for name in "cb":
        await line_up(db, leases, name)
    await line_up(db, leases, "c")  # looks again, and keeps its place
    assert await release(db, leases, "a") == ["c"]
    with pytest.raises(LeaseHeld) as caught:
        await take(db, leases, "d")
    assert caught.value.holder == "c"
    assert await take(db, leases, "c", epoch=9) == 2, "it was handed over already"
    (waiting,) = await db.read(lambda tx: of_case(tx, "default", "b"))
    assert waiting["why"] == "waits for po/1, which is held by case c"
    assert (await release(db, leases, "c"), await release(db, leases, "b")) == (["b"], [])
    told = [(e["type"], e["case_id"], e["data"]["token"]) for e in await events(ledger)]
    one = ["lease.taken", "lease.released"]
    assert told == [(kind, case, token) for token, case in enumerate("acb", 1) for kind in one]


@pytest.mark.parametrize(
    ("status", "reason", "then"),
    [
        ("waiting", "child:x hold:b po/1", "queued"),
        ("waiting", "hold:another call", "waiting"),
        ("waiting", None, "waiting"),
        ("running", None, "running"),
    ],
)
async def test_a_case_that_rests_for_an_object_is_queued_when_it_is_handed_over(
    db: Database, leases: Leases, status: str, reason: str | None, then: str
) -> None:
    await add_case(db, "a")
    await add_case(db, "b", status)
    await db.commit(lambda tx: tx.execute("UPDATE cases SET reason = ? WHERE case_id = 'b'", (reason,)))
    await take(db, leases, "a")
    await line_up(db, leases, "b")
    assert await release(db, leases, "a") == ["b"]
    row = await db.read(lambda tx: tx.row("SELECT status FROM cases WHERE case_id = 'b'"))
    assert row is not None and row["status"] == then
    assert await db.read(lambda tx: (over(tx, "default", "b", "b po/1"), over(tx, "default", "a", "b po/1"))) == (
        True,
        None,
    )


async def test_an_ended_case_is_passed_over_and_one_that_left_is_forgotten(db: Database, leases: Leases) -> None:
    for name in "abcd":
        await add_case(db, name)
    await take(db, leases, "a")
    for name in "bcd":
        await line_up(db, leases, name)
    await set_case(db, "b", "cancelled")
    assert await leave(db, leases, "c po/1") == []
    assert await leave(db, leases, "nobody") == []
    assert await release(db, leases, "a") == ["d"]


async def test_who_leaves_after_it_was_handed_an_object_passes_it_on_unless_it_was_used(
    db: Database, leases: Leases
) -> None:
    for name in "abc":
        await add_case(db, name)
    await take(db, leases, "a")
    for name in "bc":
        await line_up(db, leases, name)
    await release(db, leases, "a")
    assert await leave(db, leases, "b po/1") == ["c"]
    await db.commit(
        lambda tx: tx.execute("INSERT INTO effects (tenant, effect_key, case_id, fence) VALUES ('default','k','c',3)")
    )
    await line_up(db, leases, "a")
    assert await leave(db, leases, "c po/1") == []
    assert await release(db, leases, "c") == ["a"]


async def test_after_a_restart_callers_are_gone_and_no_line_is_forgotten(db: Database, leases: Leases) -> None:
    """Of two that called from outside one waited and one had its object; of two cases one had ended without release."""
    for name in "abcdef":
        await add_case(db, name)
    await take(db, leases, "a", "x")
    await take(db, leases, "a", "y")
    for name, resource in (("b", "x"), ("c", "x"), ("d", "y"), ("e", "y")):
        await line_up(db, leases, name, resource)
    await db.commit(lambda tx: tx.execute("UPDATE leases SET case_id = 'b' WHERE resource = 'x'"))
    await db.commit(lambda tx: tx.execute("UPDATE holds SET status = 'over' WHERE case_id = 'b'"))
    await db.commit(lambda tx: tx.execute("UPDATE cases SET paused = 2 WHERE case_id IN ('b', 'd')"))
    await set_case(db, "a", "failed")
    await db.commit(lambda tx: leases.recover(tx, AT))
    rows = await db.read(lambda tx: tx.rows("SELECT resource, case_id FROM leases ORDER BY resource"))
    assert [tuple(row) for row in rows] == [("x", "c"), ("y", "e")]


async def test_a_turn_is_done_when_its_case_was_handed_something(leases: Leases) -> None:
    first, second, other = (leases.turn("default", name) for name in ("a", "a", "b"))
    woken: list[str] = []
    leases.wake = lambda tenant, case_id: woken.append(case_id)
    leases.notify("acme", ["a"])
    assert not first.done()
    leases.notify("default", ["a", "c"])
    await asyncio.gather(first, second)
    assert (other.done(), woken) == (False, ["a", "a", "c"])
    other.cancel()
    await asyncio.sleep(0)
    assert not leases._turns


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
                assert await release(db, leases, case_id) == []
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
