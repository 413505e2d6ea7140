"""Limits: sums by day, week and month, which never lose a unit and never count twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.money import Money
from interlock.observability.ledger import Ledger
from interlock.oversight.limits import Limits
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import START, events

NONE = {"day": 0, "week": 0, "month": 0}


@pytest.fixture
def limits(ledger: Ledger) -> Limits:
    return Limits(ledger)


async def reserve(db: Database, limits: Limits, key: str, amount: int, **more: Any) -> None:
    given: dict[str, Any] = {"tenant": "default", "case_id": "c", "requester": "person:ana", "actor": "agent:buyer"}
    given |= {"counterparty": "V1", "at": START, "money": Money(amount, more.pop("currency", "EUR"))}
    await db.commit(lambda tx: limits.reserve(tx, effect_key=key, **(given | more)))


async def settle(db: Database, limits: Limits, key: str, at: datetime = START, tenant: str = "default") -> None:
    await db.commit(lambda tx: limits.settle(tx, tenant=tenant, effect_key=key, case_id="c", at=at))


async def release(db: Database, limits: Limits, key: str, at: datetime = START, tenant: str = "default") -> None:
    await db.commit(lambda tx: limits.release(tx, tenant=tenant, effect_key=key, case_id="c", at=at))


async def totals(db: Database, limits: Limits, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"tenant": "default", "requester": "person:ana", "actor": "agent:buyer"}
    given |= {"counterparty": "V1", "currency": "EUR", "at": START}
    return await db.read(lambda tx: limits.totals(tx, **(given | more)))


def same(amount: int) -> dict[str, int]:
    return dict.fromkeys(NONE, amount)


async def test_nothing_is_zero(db: Database, limits: Limits) -> None:
    assert await totals(db, limits) == {**NONE, "by_actor": NONE, "by_counterparty": NONE}


async def test_reserved_counts_at_once_and_settled_as_well(db: Database, limits: Limits) -> None:
    await reserve(db, limits, "e1", 700)
    await reserve(db, limits, "e2", 50, actor="agent:other", counterparty="V2")
    await settle(db, limits, "e1")
    assert await totals(db, limits) == {**same(750), "by_actor": same(700), "by_counterparty": same(700)}
    assert await totals(db, limits, requester="person:bo") == {**NONE, "by_actor": NONE, "by_counterparty": NONE}
    assert (await totals(db, limits, currency="USD"))["day"] == 0
    assert (await totals(db, limits, tenant="acme"))["day"] == 0


async def test_without_a_counterparty_its_sums_are_zero(db: Database, limits: Limits) -> None:
    await reserve(db, limits, "e1", 700, counterparty="")
    await reserve(db, limits, "e2", 10, counterparty="")
    assert await totals(db, limits, counterparty="") == {**same(710), "by_actor": same(710), "by_counterparty": NONE}


async def test_names_that_look_alike_do_not_share_a_bucket(db: Database, limits: Limits) -> None:
    await reserve(db, limits, "e1", 1, counterparty="agent:buyer")
    assert (await totals(db, limits, counterparty="V1"))["by_counterparty"] == NONE
    assert (await totals(db, limits, actor="agent:x"))["by_actor"] == NONE
    await reserve(db, limits, "e2", 5, counterparty="ü/✓\u0000'; --")
    assert (await totals(db, limits, counterparty="ü/✓\u0000'; --"))["by_counterparty"] == same(5)


async def test_periods_are_utc_days_iso_weeks_and_months(db: Database, limits: Limits) -> None:
    await reserve(db, limits, "e1", 100, at=datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
    sums = await totals(db, limits, at=datetime(2027, 1, 1, tzinfo=UTC))
    assert (sums["day"], sums["week"], sums["month"]) == (0, 100, 0)  # 2027-01-01 lies in 2026-W53
    # The same instant, said in another zone, is the same day.
    tokyo = datetime(2027, 1, 1, 8, 59, tzinfo=timezone(timedelta(hours=9)))
    assert (await totals(db, limits, at=tokyo))["day"] == 100


async def test_an_effect_is_settled_in_the_periods_of_its_reservation(db: Database, limits: Limits) -> None:
    later = START + timedelta(days=40)
    await reserve(db, limits, "e1", 100)
    await settle(db, limits, "e1", later)
    assert (await totals(db, limits))["day"] == 100
    assert (await totals(db, limits, at=later))["month"] == 0


async def test_everything_is_idempotent_and_told_once(db: Database, ledger: Ledger, limits: Limits) -> None:
    for _ in range(2):
        await reserve(db, limits, "e1", 100)
    for _ in range(2):
        await settle(db, limits, "e1")
    await release(db, limits, "e1")
    await reserve(db, limits, "e1", 100)
    await reserve(db, limits, "e2", 7)
    for _ in range(2):
        await release(db, limits, "e2")
    assert (await totals(db, limits))["day"] == 100
    told = await events(ledger)
    assert [e["type"] for e in told] == [
        "limit.reserved", "limit.settled", "limit.reserved", "limit.released",
    ]  # fmt: skip
    assert told[0]["data"] == {
        "bucket": ["actor/person:ana/agent:buyer", "counterparty/person:ana/V1", "requester/person:ana"],
        "period": ["2026-03", "2026-03-04", "2026-W10"],
        "amount": 100,
        "currency": "EUR",
        "effect": "e1",
    }
    assert (told[0]["case_id"], told[0]["tenant"]) == ("c", "default")


async def test_nothing_reserved_is_nothing_to_settle_or_release(db: Database, ledger: Ledger, limits: Limits) -> None:
    await settle(db, limits, "e1")
    await release(db, limits, "e1")
    assert await events(ledger) == []


async def test_a_released_effect_may_be_reserved_again_and_settled_late(db: Database, limits: Limits) -> None:
    await reserve(db, limits, "e1", 100)
    await release(db, limits, "e1")
    assert (await totals(db, limits))["day"] == 0
    await reserve(db, limits, "e1", 30, counterparty="V2")  # an edited action, tried again
    assert (await totals(db, limits, counterparty="V2"))["by_counterparty"] == same(30)
    await release(db, limits, "e1")
    await settle(db, limits, "e1")  # a person found out that it had happened
    await settle(db, limits, "e1")
    assert (await totals(db, limits))["day"] == 30


async def test_credits_count_as_they_are_once_they_have_happened(db: Database, limits: Limits) -> None:
    await reserve(db, limits, "e1", 100)
    await reserve(db, limits, "e2", -40)
    await reserve(db, limits, "e3", -30)
    assert (await totals(db, limits))["day"] == 100, "a credit that may still fail makes no room"
    await release(db, limits, "e3")
    await settle(db, limits, "e2")
    assert (await totals(db, limits))["day"] == 60


@pytest.mark.parametrize("other", [{"amount": 101}, {"amount": 100, "currency": "USD"}])
async def test_an_effect_has_one_amount(db: Database, limits: Limits, other: dict[str, Any]) -> None:
    await reserve(db, limits, "e1", 100)
    with pytest.raises(errors.Conflict):
        await reserve(db, limits, "e1", **other)
    assert (await totals(db, limits))["day"] == 100


async def test_sums_out_of_range_are_denied_and_leave_nothing_behind(
    db: Database, ledger: Ledger, limits: Limits
) -> None:
    await reserve(db, limits, "e1", 2**62)
    for amount in (1, 2**62, 2**63 - 1):
        with pytest.raises(errors.Denied):
            await reserve(db, limits, "e2", amount)
    assert (await totals(db, limits))["day"] == 2**62
    assert len(await events(ledger)) == 1
    await reserve(db, limits, "e2", -(2**62))
    await settle(db, limits, "e2")
    assert (await totals(db, limits))["day"] == 0


async def test_what_was_reserved_can_always_be_settled(db: Database, limits: Limits) -> None:
    await reserve(db, limits, "e1", 2**62)
    await settle(db, limits, "e1")
    with pytest.raises(errors.Denied):
        await reserve(db, limits, "e2", 1)
    await reserve(db, limits, "e3", -(2**62))
    await settle(db, limits, "e3")
    assert (await totals(db, limits))["day"] == 0


async def test_parallel_reservations_never_lose_a_unit(db: Database, ledger: Ledger, limits: Limits) -> None:
    async def one(n: int) -> None:
        await reserve(db, limits, f"e{n}", n)
        await (settle if n % 2 else release)(db, limits, f"e{n}")

    await asyncio.gather(*(one(n) for n in range(64)))
    left = sum(range(1, 64, 2))
    assert await totals(db, limits) == {**same(left), "by_actor": same(left), "by_counterparty": same(left)}
    rows = await db.read(lambda tx: tx.rows("SELECT reserved, settled FROM limits"))
    assert {(row["reserved"], row["settled"]) for row in rows} == {(0, left)}
    assert len(await events(ledger, "limit.reserved")) == 64


async def test_the_total_read_in_the_transaction_of_the_reservation_holds_a_limit(db: Database, limits: Limits) -> None:
    who: dict[str, Any] = {
        "tenant": "default", "requester": "person:ana", "actor": "agent:buyer", "counterparty": "V1", "at": START,
    }  # fmt: skip

    async def spend(n: int) -> bool:
        def unit(tx: Any) -> bool:
            if limits.totals(tx, currency="EUR", **who)["day"] + 30 > 1000:
                return False
            limits.reserve(tx, effect_key=f"e{n}", case_id="c", money=Money(30, "EUR"), **who)
            return True

        return await db.commit(unit)

    assert sum(await asyncio.gather(*(spend(n) for n in range(64)))) == 33
    assert (await totals(db, limits))["day"] == 990


acts = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release"]),
        st.integers(0, 3),
        st.integers(-500, 500),
        st.sampled_from(["", "V1", "V2"]),
        st.integers(0, 40),
    ),
    max_size=15,
)


@settings(max_examples=25, deadline=None)
@given(acts)
async def test_totals_equal_a_naive_model(acts: list[tuple[str, int, int, str, int]]) -> None:
    db = await Database.open(":memory:")
    limits = Limits(Ledger(db, ManualClock(START)))
    held: dict[int, tuple[int, str, datetime, str]] = {}
    try:
        for act, n, amount, counterparty, days in acts:
            at, status = START + timedelta(days=days), held.get(n, (0, "", START, "none"))[3]
            if act == "reserve" and status in ("none", "released"):
                await reserve(db, limits, f"e{n}", amount, counterparty=counterparty, at=at)
                held[n] = (amount, counterparty, at, "reserved")
            elif act == "settle":
                await settle(db, limits, f"e{n}", at)
                held |= {n: (*held[n][:3], "settled")} if n in held else {}
            elif act == "release":
                await release(db, limits, f"e{n}", at)
                held |= {n: (*held[n][:3], "released")} if status == "reserved" else {}
        for days in (0, 3, 7, 27, 40):
            at = START + timedelta(days=days)
            assert await totals(db, limits, at=at) == naive(list(held.values()), at)
    finally:
        await db.close()


def naive(held: list[tuple[int, str, datetime, str]], at: datetime) -> dict[str, Any]:
    def of(named: str | None) -> dict[str, int]:
        counted = [one for one in held if one[3] == "settled" or (one[3] == "reserved" and one[0] > 0)]
        mine = [(a, t) for a, party, t, _ in counted if named in (None, party)]
        return {
            "day": sum(a for a, t in mine if t.date() == at.date()),
            "week": sum(a for a, t in mine if t.isocalendar()[:2] == at.isocalendar()[:2]),
            "month": sum(a for a, t in mine if (t.year, t.month) == (at.year, at.month)),
        }

    return {**of(None), "by_actor": of(None), "by_counterparty": of("V1")}
