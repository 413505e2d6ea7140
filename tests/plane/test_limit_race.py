"""Many cases against one limit: together they never spend a minor unit more, and what fails gives its room back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from interlock import Agent, ControlPlane, Money, ToolResult
from interlock.tools import history

LIMIT = 50_500
POLICY = f"""
@id("day") permit (principal, action == Interlock::Action::"bank.pay", resource)
when {{ context.totals.day + context.amount <= {LIMIT} &&
  context.totals.by_counterparty.day + context.amount <= 20000 }};
"""


class Payment(BaseModel):
    amount: int
    currency: str = "EUR"
    to: str


class Bank:
    """Counts what was paid, in minor units by currency; `fail` says which amounts it refuses."""

    def __init__(self) -> None:
        self.paid: Counter[str] = Counter()
        self.calls = 0
        self.fail: set[int] = set()

    async def pay(self, amount: int, currency: str, to: str) -> str:
        await asyncio.sleep(0)
        self.calls += 1
        if amount in self.fail:
            raise ValueError("refused")
        self.paid[currency] += amount
        return to


@asynccontextmanager
async def branch(bank: Bank, url: str = ":memory:", policy: str = POLICY) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(url, policies={"bank.cedar": policy}) as plane:
        plane.register_tool(
            bank.pay, name="bank.pay", args_schema=Payment, system="bank", scope="pay", effect="write",
            money=lambda args: Money(args["amount"], args["currency"]), targets={"to": "account"}, idempotent=True,
        )  # fmt: skip
        plane.register_registry(
            "account", lambda value, ctx: {}, source="ledger",
            canonical=lambda text: "".join(text.split()).upper().replace("-", ""),
        )  # fmt: skip
        for name in ("payer", "other"):
            plane.register_actor(Agent(name, scopes={"pay"}))
        await plane.ready()
        yield plane


async def pay(plane: ControlPlane, amount: int, to: str, **more: Any) -> ToolResult:
    actor = more.pop("actor", "agent:payer")
    return await plane.call_tool("bank.pay", {"amount": amount, "to": to, **more}, actor=actor)


def statuses(results: list[ToolResult]) -> Counter[str]:
    return Counter(result.status for result in results)


@pytest.mark.parametrize("stored", [False, True])
async def test_64_parallel_cases_never_overspend_one_daily_limit(tmp_path: Path, stored: bool) -> None:
    bank = Bank()
    url = f"sqlite:///{tmp_path / 'interlock.db'}" if stored else ":memory:"
    async with branch(bank, url) as plane:
        results = await asyncio.gather(*(pay(plane, 1000, f"A{n}") for n in range(64)))
        assert statuses(results) == {"done": 50, "denied": 14}
        assert {reason.policy for result in results for reason in result.reasons if result.status == "denied"} == {
            "day"
        }
        assert (await pay(plane, 501, "B1")).status == "denied"
        assert (await pay(plane, 500, "B1")).status == "done"
        assert (await pay(plane, 1, "B2")).status == "denied"
        assert bank.paid == {"EUR": LIMIT}
        assert (await plane.ledger.verify()).ok


async def test_currencies_and_requesters_have_limits_of_their_own() -> None:
    bank = Bank()
    async with branch(bank) as plane:
        calls = [
            pay(plane, 1000, f"A{n}", currency=("EUR", "USD")[n % 2], actor=("agent:payer", "agent:other")[n // 2 % 2])
            for n in range(256)
        ]
        assert statuses(await asyncio.gather(*calls)) == {"done": 200, "denied": 56}
        assert bank.paid == {"EUR": 100_000, "USD": 100_000}


async def test_what_fails_gives_its_room_back() -> None:
    bank = Bank()
    bank.fail = {1001}
    async with branch(bank) as plane:
        first = await asyncio.gather(*(pay(plane, 1000 + n % 2, f"A{n}") for n in range(64)))
        assert bank.paid["EUR"] <= LIMIT
        assert statuses(first)["failed"] > 0
        while (await pay(plane, 500, f"B{bank.calls}")).status == "done":
            assert bank.paid["EUR"] <= LIMIT
        assert bank.paid["EUR"] == LIMIT


async def test_ways_to_write_one_counterparty_share_its_limit() -> None:
    bank = Bank()
    async with branch(bank) as plane:
        names = ["DE-1", "de-1", " DE 1", "de1", "D E 1", "dE-1 "]
        results = await asyncio.gather(*(pay(plane, 5000, name) for name in names))
        assert statuses(results) == {"done": 4, "denied": 2}
        assert (await pay(plane, 1, "DE1")).status == "denied"
        assert (await pay(plane, 20_000, "DE2")).status == "done"


async def test_a_credit_makes_room_only_once_it_is_settled() -> None:
    bank = Bank()
    async with branch(bank) as plane:
        await asyncio.gather(*(pay(plane, 10_000, f"A{n}") for n in range(5)))
        assert (await pay(plane, 1000, "B")).status == "denied"
        mixed = await asyncio.gather(pay(plane, -600, "C"), *(pay(plane, 1000, f"D{n}") for n in range(4)))
        assert mixed[0].status == "done"
        await pay(plane, 1000, "E")
        assert bank.paid["EUR"] <= LIMIT


TENANT = """
@id("all") permit (principal, action == Interlock::Action::"bank.pay", resource)
when {{ context.totals.tenant.{} + context.amount <= 20000 }};
"""


@pytest.mark.parametrize("stored", [False, True])
async def test_64_parallel_cases_of_two_requesters_never_overspend_one_limit_of_a_counterparty(
    tmp_path: Path, stored: bool
) -> None:
    """Whoever asks: the limit is the tenant's, per counterparty in whatever spelling, and per currency."""
    bank, names = Bank(), ("de-1", " DE 1", "DE1", "d e 1")
    url = f"sqlite:///{tmp_path / 'interlock.db'}" if stored else ":memory:"
    async with branch(bank, url, TENANT.format("by_counterparty.day")) as plane:
        actors = ("agent:payer", "agent:other")
        calls = [pay(plane, 999, names[n % 4], actor=actors[n % 2]) for n in range(64)]
        assert statuses(await asyncio.gather(*calls)) == {"done": 20, "denied": 44}
        assert bank.paid == {"EUR": 20 * 999}
        assert (await pay(plane, 21, "DE1")).status == "denied"
        assert (await pay(plane, 20, "DE1", actor="agent:other")).status == "done"
        assert (await pay(plane, 20_000, "DE2")).status == "done"
        assert (await pay(plane, 20_000, "DE1", currency="USD")).status == "done"
        assert (await plane.ledger.verify()).ok


async def test_a_limit_of_the_tenant_counts_every_requester_tool_and_counterparty() -> None:
    bank = Bank()
    bank.fail = {7}
    async with branch(bank, policy=TENANT.format("month")) as plane:
        assert (await pay(plane, 7, "A")).status == "failed"
        actors = ("agent:payer", "agent:other")
        calls = [pay(plane, 1000, f"A{n}", actor=actors[n % 2]) for n in range(64)]
        assert statuses(await asyncio.gather(*calls)) == {"done": 20, "denied": 44}
        assert bank.paid == {"EUR": 20_000}
        assert (await pay(plane, -500, "A1")).status == "done"
        assert statuses([await pay(plane, amount, "A2", actor="agent:other") for amount in (501, 500, 1)]) == {
            "denied": 2, "done": 1,
        }  # fmt: skip


@pytest.mark.parametrize("policy", [POLICY, TENANT.format("day")])
async def test_a_sum_of_the_tenant_is_looked_up_only_where_a_rule_names_it(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    plain = history._sum

    def counted(reader: Any, attempt: Any, name: str, leaf: str, at: Any) -> int:
        looked.append(name)
        return plain(reader, attempt, name, leaf, at)

    monkeypatch.setattr(history, "_sum", counted)
    async with branch(Bank(), policy=policy) as plane:
        assert (await pay(plane, 5, "A")).status == "done"
    assert set(looked) == ({"totals.tenant"} if policy != POLICY else set())


async def test_sums_of_the_tenant_are_found_by_an_index(tmp_path: Path) -> None:
    async with branch(Bank(), f"sqlite:///{tmp_path / 'interlock.db'}") as plane:
        sql = "EXPLAIN QUERY PLAN SELECT SUM(amount) FROM effects WHERE tenant = ? AND currency = ? AND intent_at >= ?"
        rows = await plane.services.db.read(lambda tx: tx.rows(sql, ("default", "EUR", "2026")))
        assert "ix_effects_currency" in rows[0]["detail"]
