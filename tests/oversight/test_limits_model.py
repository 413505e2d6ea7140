"""Limits against a model: whatever comes in whatever order, and whatever is rolled back, the sums are the model's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.money import Money
from interlock.observability.ledger import Ledger
from interlock.oversight.limits import Limits
from interlock.storage.database import Database, Transaction
from interlock.testing import ManualClock
from tests.oversight.department import START

TIMES = [
    datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC),
    datetime(2027, 1, 3, 12, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC),
]  # fmt: skip
WHO = {"requester": ["person:ana", "person:bo"], "actor": ["agent:x", "agent:y"], "counterparty": ["V1", "v1", ""]}


@dataclass(frozen=True)
class Spent:
    """A reservation as the model knows it."""

    who: tuple[tuple[str, str], ...]
    money: Money
    at: datetime
    status: str = "reserved"

    def counts(self) -> int:
        """What it adds to its sums: a credit makes no room before it is settled."""
        return {"reserved": max(self.money.amount, 0), "settled": self.money.amount, "released": 0}[self.status]


Who = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in WHO.items()})
Step = st.tuples(
    st.sampled_from(["reserve", "settle", "release", "crash"]), st.sampled_from(["e1", "e2", "e3", "e4"]), Who,
    st.integers(-500, 500), st.sampled_from(["EUR", "USD"]), st.sampled_from(TIMES),
)  # fmt: skip


class Crash(Exception):
    """Ends a unit after it has written."""


@settings(max_examples=60, deadline=None)
@given(st.lists(Step, max_size=25))
def test_the_sums_are_those_of_the_model(steps: list[Any]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[Any]) -> None:
    db = await Database.open(":memory:")
    try:
        limits, model = Limits(Ledger(db, ManualClock(START))), dict[str, Spent]()
        for kind, key, who, amount, currency, at in steps:
            await _step(db, limits, model, kind, key, Spent(tuple(who.items()), Money(amount, currency), at))
        for at in TIMES:
            for currency in ("EUR", "USD"):
                await _compare(db, limits, model, currency, at)
    finally:
        await db.close()


async def _step(
    db: Database, limits: Limits, model: dict[str, Spent], kind: str, key: str, asked: Spent
) -> None:  # fmt: skip
    known = model.get(key)
    where: dict[str, Any] = {"tenant": "default", "effect_key": key, "case_id": "c", "at": asked.at}
    who: dict[str, Any] = dict(asked.who)

    def reserve(tx: Transaction) -> None:
        limits.reserve(tx, **where, **who, money=asked.money)
        if kind == "crash":
            raise Crash

    counted = known is not None and known.status != "released"
    if kind in ("reserve", "crash"):
        try:
            await db.commit(reserve)
        except errors.Conflict:
            assert counted and known is not None and known.money != asked.money  # one reason
        except Crash:
            assert kind == "crash"
        else:
            model[key] = known if counted and known is not None else asked
    elif kind == "settle":
        await db.commit(lambda tx: limits.settle(tx, **where))
        model.update({key: replace(known, status="settled")} if known else {})
    else:
        await db.commit(lambda tx: limits.release(tx, **where))
        model.update({key: replace(known, status="released")} if known and known.status == "reserved" else {})


async def _compare(db: Database, limits: Limits, model: dict[str, Spent], currency: str, at: datetime) -> None:
    for requester in WHO["requester"]:
        for actor in WHO["actor"]:
            for counterparty in WHO["counterparty"]:
                wanted = {"requester": requester, "actor": actor, "counterparty": counterparty}
                asked: dict[str, Any] = {"tenant": "default", "currency": currency, "at": at, **wanted}
                found = await db.read(partial(limits.totals, **asked))
                ours = [s for s in model.values() if s.money.currency == currency]
                assert {n: found[n] for n in ("day", "week", "month")} == _sums(ours, at, wanted, "requester")
                assert found["by_actor"] == _sums(ours, at, wanted, "requester", "actor")
                with_vendor = _sums(ours if counterparty else [], at, wanted, "requester", "counterparty")
                assert found["by_counterparty"] == with_vendor


def _sums(spent: list[Spent], at: datetime, wanted: dict[str, str], *by: str) -> dict[str, int]:
    same = [s for s in spent if all(dict(s.who)[name] == wanted[name] for name in by)]
    periods = {"day": "%Y-%m-%d", "week": "%G-%V", "month": "%Y-%m"}
    return {
        name: sum(s.counts() for s in same if s.at.strftime(form) == at.strftime(form))
        for name, form in periods.items()
    }
