"""The gateway as an attacker meets it: every way around it that we could think of."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock import errors
from interlock.money import Money
from interlock.oversight.inbox import Decision
from interlock.testing import ManualClock
from interlock.tools.arguments import LARGEST
from interlock.tools.contract import DidNotHappen, ToolContext, ToolResult
from tests.naming import named
from tests.tools.plant import CASE, POLICY, Plant, bank, plant

OTHER = "0190a0a0-0000-7000-8000-000000000002"
SECRET = "s3cr3t/t0ken+42=="


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant() as made:
        bank(made)
        yield made


def policies_of(result: ToolResult) -> list[str]:
    return [reason.policy for reason in result.reasons]


async def untouched(one: Plant, result: ToolResult, policy: str) -> None:
    """Denied by this policy, said so in the ledger, and nothing happened outside."""
    assert (result.status, policies_of(result)) == ("denied", [policy])
    assert one.world.done.total() == 0
    assert await one.events("tool.intent") == []
    assert (await one.events("policy.decided"))[-1]["data"]["reasons"][0][0] == policy


async def until(one: Plant, kind: str) -> None:
    """Wait for the first event of a kind."""
    async with asyncio.timeout(60):
        while not await one.events(kind):  # noqa: ASYNC110  # nobody tells when a row is there
            await asyncio.sleep(0.001)


# names and arguments


NAMES: list[Any] = [
    "BANK.PAY", "bank__pay", "bank..pay", "bank.pay.", " bank.pay", "bank.pay\n", "bank.pay\x00", "bank\u2024pay",
    "b\u0430nk.pay", "\uff42ank.pay", "bank.pay\u200b", "", "*", "bank.*", None, 0, True, ["bank.pay"],
    {"name": "bank.pay"}, b"bank.pay", "x" * 100_000, "\ud800",
]  # fmt: skip


async def test_a_name_is_exact_or_none(one: Plant) -> None:
    for name in NAMES:
        result = await one.gateway.call(name, {"amount": 1, "to": "acme"}, one.site(ns=""))
        await untouched(one, result, "gateway.tool")


AMOUNTS: list[Any] = [
    True, False, "100", "1e2", 100.0, 1e2, 0.1, float("nan"), float("inf"), -float("inf"), None, [100],
    {"amount": 100}, 2**63, 10**30, -(2**63) - 1, Decimal(100), b"100", "\u0661\u0660\u0660", complex(1, 0),
]  # fmt: skip


async def test_an_amount_is_an_integer_or_none(one: Plant) -> None:
    for amount in AMOUNTS:
        result = await one.gateway.call("bank.pay", {"amount": amount, "to": "acme"}, one.site(ns=""))
        assert result.status == "denied", repr(amount)
        assert policies_of(result)[0] in ("gateway.schema", "gateway.money"), repr(amount)
    assert one.world.done.total() == 0


@pytest.mark.parametrize(
    "amount", [100.0, "98.705", "1e400", "NaN", "-Infinity", True, "", "1_0.0x", None, {"amount": 1.5}]
)
async def test_money_by_name_is_exact_whatever_the_schema_lets_through(amount: Any) -> None:
    async with plant() as one:

        async def pay(amount: Any, currency: str = "EUR") -> str:
            return await one.world.act("pay")

        one.tools.register(pay, name="bank.pay", scope="bank", money="amount", args_schema={
            "properties": {"amount": {}, "currency": {"type": "string"}}, "required": ["amount"],
        })  # fmt: skip
        one.bind()
        result = await one.gateway.call("bank.pay", {"amount": amount, "currency": "EUR"}, one.site(ns=""))
        if amount is None:
            assert result.status == "done", "an absent amount is no money, and the policies see 0"
        else:
            assert policies_of(result) == ["gateway.money"]


ARGUMENTS: list[Any] = [
    {"amount": 1, "to": "acme", "approved": True}, {"amount": 1, "to": "acme", "ctx": None},
    {"amount": 1, "to": "acme", "amount ": 99_999}, {"AMOUNT": 1, "to": "acme"}, {"amount": 1}, [], "{}", None, 5,
    {"amount": 1, "to": ["acme"]}, {"amount": 1, "to": "a\ud800"}, {"amount": 1, "to": "x" * LARGEST}, {1: 1},
    {"amount": 1, "to": {"$ref": "#"}},
]  # fmt: skip


async def test_arguments_fit_exactly_or_nothing_runs(one: Plant) -> None:
    for args in ARGUMENTS:
        await untouched(one, await one.gateway.call("bank.pay", args, one.site(ns="")), "gateway.schema")


async def test_deep_arguments_do_not_crash_the_gateway(one: Plant) -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    cyclic: dict[str, Any] = {"amount": 1}
    cyclic["to"] = cyclic
    for args in ({"amount": 1, "to": deep}, cyclic):
        assert (await one.gateway.call("bank.pay", args, one.site(ns=""))).status == "denied"


async def test_what_was_judged_is_what_runs() -> None:
    """The caller changes its arguments while the facts are looked up, and the tool changes what it is given."""
    async with plant() as one:
        args: dict[str, Any] = {"lines": [1], "to": "acme"}
        ran: list[Any] = []

        async def order(lines: list[int], to: str) -> str:
            ran.append((list(lines), to))
            lines.append(7)
            return "ok"

        async def swap(given: Any, ctx: Any) -> dict[str, Any]:
            args["lines"].append(1_000_000)
            args["to"] = "evil"
            given["lines"].append(666)
            return {"seen": 1}

        one.tools.register(order, name="erp.order")
        one.tools.register_facts("swap", swap, actions=["erp.order"], types={"seen": "long"})
        bank(one)
        assert (await one.gateway.call("erp.order", args, one.site(ns=""))).status == "done"
        assert ran == [([1], "acme")]
        (intent,), (outcome,) = await one.events("tool.intent"), await one.events("tool.outcome")
        assert intent["data"]["args"] == outcome["data"]["args"] == {"lines": [1], "to": "acme"}


@pytest.mark.parametrize("option", ["money", "resource", "idempotent"])
async def test_an_option_that_fails_denies(option: str) -> None:
    async with plant() as one:

        def broken(args: Any) -> Any:
            raise ZeroDivisionError("oops")

        bank(one, **{option: broken})
        result = await one.pay(ns="")
        await untouched(one, result, "gateway.money" if option == "money" else "gateway.schema")
        assert "oops" in result.reasons[0].text


@pytest.mark.parametrize("given", [5, "5 EUR", {"amount": 5, "currency": "EUR"}, True, (5, "EUR")])
async def test_money_is_money(given: Any) -> None:
    async with plant() as one:
        bank(one, money=lambda args: given)
        await untouched(one, await one.pay(ns=""), "gateway.money")


# policies and place


@pytest.mark.parametrize(
    "rule",
    [
        "forbid(principal, action == PAY, resource) when { context.amount * 9223372036854775807 > 5 };",
        "permit(principal, action == PAY, resource) when { context.amount + 9223372036854775807 > 5 };",
    ],
)  # fmt: skip
async def test_a_policy_that_fails_denies(rule: str) -> None:
    async with plant(policies=POLICY + f'@id("ERR") {rule}'.replace("PAY", 'Interlock::Action::"bank.pay"')) as one:
        bank(one)
        result = await one.pay(100, ns="")
        assert result.status == "denied"
        assert "ERR" in policies_of(result)
        assert one.world.done.total() == 0


async def test_without_a_valid_set_everything_is_denied() -> None:
    async with plant(policies="permit(principal, action, resource) when { context.amuont < 5 };") as one:
        with suppress(AssertionError):  # the fixture itself insists on a valid set
            bank(one)
        assert one.policies.check() != []
        assert (await one.pay(1, ns="")).status == "denied"
        assert one.world.done.total() == 0


@pytest.mark.parametrize(
    ("where", "policy"),
    [
        ({"actor": "agent:Clerk"}, "gateway.actor"), ({"actor": ""}, "gateway.actor"),
        ({"actor": "clerk"}, "gateway.actor"),
        ({"actor": "person:bo"}, "gateway.scope"), ({"allowed": frozenset()}, "gateway.scope"),
        ({"allowed": frozenset({"bank.pa", "bank.pay2"})}, "gateway.scope"),
        ({"durability": None}, "gateway.durability"),
        ({"durability": "exit"}, "gateway.durability"), ({"durability": "async"}, "gateway.durability"),
        ({"durability": "SYNC"}, "gateway.durability"), ({"guest": True, "durability": "sync"}, "gateway.guest"),
        ({"guest": True, "ns": ""}, "gateway.guest"),
    ],
)  # fmt: skip
async def test_the_place_decides_too(one: Plant, where: dict[str, Any], policy: str) -> None:
    await untouched(one, await one.pay(**where), policy)


async def test_a_guest_acts_in_sandboxes_only() -> None:
    async with plant() as one:
        bank(one, sandbox=True)
        assert (await one.pay(guest=True)).status == "done"
        assert (await one.gateway.call("bank.balance", {"account": "7"}, one.site(guest=True))).status == "done"


async def test_a_switch_thrown_while_the_facts_are_looked_up_counts_for_the_next_call(one: Plant) -> None:
    await one.switches.set("default", "tool:bank.pay", "off", by="person:op", comment="stop")
    await untouched(one, await one.pay(ns=""), "gateway.switch")
    await one.switches.set("other", "tool:bank.pay", "on", by="person:op")
    await untouched(one, await one.pay(ns="", slot=1), "gateway.switch")


@pytest.mark.parametrize("broken", ["lookup", "canonical", "facts"])
async def test_a_lookup_that_fails_denies(broken: str) -> None:
    async with plant() as one:

        def fail(*args: Any) -> Any:
            raise LookupError("gone")

        lookup = fail if broken == "lookup" else lambda value, ctx: None
        one.tools.register_registry("account", lookup, source="erp", canonical=fail if broken == "canonical" else None)
        if broken == "facts":
            one.tools.register_facts("f", fail, actions=["bank.pay"], types={"known": "bool"})
        bank(one, targets={"to": "account"})
        await untouched(one, await one.pay(ns=""), "gateway.facts")


# approvals


async def approved(one: Plant, amount: int = 20_000, **where: Any) -> str:
    result = await one.pay(amount, ns="", **where)
    item = await one.inbox.get(str(result.approval))
    return (await one.approve(item)).id


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 20_001}, {"amount": 19_999}, {"to": "Acme"}, {"to": "acme "}, {"case_id": OTHER}, {"task": "other"},
        {"actor": "agent:twin"}, {"tenant": "rival"},
    ],
    ids=named,
)  # fmt: skip
async def test_an_approval_serves_the_very_action_it_was_given_for(one: Plant, changed: dict[str, Any]) -> None:
    one.actors.register(replace(one.actors.get("agent:clerk"), name="twin"))
    where = {"amount": 20_000, **changed}
    result = await one.pay(ns="", approval=await approved(one), **where)
    assert policies_of(result) == ["gateway.approval"]
    assert one.world.done.total() == 0


FORGED: list[Any] = [
    "", "x", "' OR 1=1 --", "%", "\ud800", 7, True, ["a"], {"id": "a"},
]  # fmt: skip


async def test_a_made_up_approval_is_none(one: Plant) -> None:
    await approved(one)
    for forged in FORGED:
        result = await one.pay(20_000, ns="", slot=9, approval=forged)
        assert policies_of(result) == ["gateway.approval"]
        assert one.world.done.total() == 0


async def test_an_approval_of_another_tool_or_kind_is_none(one: Plant) -> None:
    async def pay2(amount: int, to: str) -> str:
        return await one.world.act("pay2")

    one.tools.register(pay2, name="bank.pay2", effect="write", system="bank", scope="bank")
    one.bind()
    approval = await approved(one)
    args = {"amount": 20_000, "to": "acme"}
    assert policies_of(await one.gateway.call("bank.pay2", args, one.site(ns=""), approval=approval)) == [
        "gateway.approval"
    ]
    one.world.fail.append(httpx.ReadTimeout("slow"))
    unknown = await one.pay(100, ns="", slot=3)
    assert unknown.status == "unknown"
    again: dict[str, Any] = {"ns": "", "slot": 4, "approval": unknown.approval}
    assert policies_of(await one.pay(100, **again)) == ["gateway.approval"]


async def test_an_open_or_rejected_question_lets_nothing_through(one: Plant) -> None:
    asked = await one.pay(20_000, ns="")
    for _ in range(3):
        again = await one.pay(20_000, ns="", approval=asked.approval)
        assert (again.status, again.approval) == ("asked", asked.approval)
    await one.approve(await one.inbox.get(str(asked.approval)), decision=Decision.reject("no"))
    repeats: list[dict[str, Any]] = [{"approval": asked.approval}, {"approval": asked.approval, "slot": 5}]
    for where in repeats:
        result = await one.pay(20_000, ns="", **where)
        assert (result.status, result.rejected_by) == ("denied", "person:bo")
    assert one.world.done.total() == 0


NOBODY: list[Any] = [
    "person:ana", "person:olga", "person:low", "person:op", "agent:clerk", "person:ghost", "",
]  # fmt: skip


async def test_who_may_not_approve_does_not(one: Plant) -> None:
    """The requester, the owner of the agent, one below the limit, one without authority, the agent, nobody."""
    asked = await one.pay(20_000, ns="")
    for by in NOBODY:
        with pytest.raises((errors.NotAuthorized, errors.NotFound)):
            await one.approve(await one.inbox.get(str(asked.approval)), by=by)
        assert (await one.pay(20_000, ns="", approval=asked.approval)).status == "asked"
        assert one.world.done.total() == 0


async def test_the_preparer_of_the_case_does_not_approve(one: Plant) -> None:
    asked = await one.pay(20_000, ns="", preparers=frozenset({"person:bo"}))
    item = await one.inbox.get(str(asked.approval))
    assert item.eligible == ["person:cy"]
    with pytest.raises(errors.NotAuthorized):
        await one.approve(item, by="person:bo")


async def test_an_approval_is_not_found_by_another_call(one: Plant) -> None:
    """Two equal calls need two approvals: what was decided about the first is nothing to the second."""
    await approved(one)
    assert (await one.pay(20_000, ns="", slot=1)).status == "asked"
    assert one.world.done.total() == 0


async def test_an_approval_that_lapses_between_decision_and_use_is_none() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with plant(clock=clock) as one:
        bank(one)
        item = await one.open(await one.pay(20_000))
        due = "UPDATE inbox SET due = '2026-01-01T01:00:00.000000Z' WHERE id = ?"
        await one.db.commit(lambda tx: tx.execute(due, (item.id,)))
        await clock.advance(timedelta(hours=2))
        with pytest.raises(errors.Expired):
            await one.approve(await one.inbox.get(item.id))
        await one.inbox.expire(item.id)
        result = await one.pay(20_000)
        assert result.status != "done"
        assert one.world.done.total() == 0


async def test_an_edit_cannot_raise_the_amount_above_the_editors_limit(one: Plant) -> None:
    one.actors.person("person:bo").authorities["treasury"] = Money(25_000, "EUR")
    item = await one.open(await one.pay(20_000))
    for args in ({"amount": 25_001, "to": "acme"}, {"amount": True, "to": "acme"}, {"amount": 1.5, "to": "acme"}):
        with pytest.raises((errors.NotAuthorized, errors.InputError)):
            await one.approve(item, decision=Decision.edit(args))
    await one.approve(item, decision=Decision.edit({"amount": 25_000, "to": "evil"}))
    result = await one.pay(20_000)
    assert result.value == "pay 25000 evil#1", "a person said so, with their name"
    (decided,) = await one.events("inbox.decided")
    assert decided["data"]["money"] == {"amount": 25_000, "currency": "EUR"}


# amounts split, credited, raced


async def test_small_pieces_do_not_add_up_past_the_day(one: Plant) -> None:
    results = [await one.pay(10_000, ns="", slot=n) for n in range(12)]
    assert [result.status for result in results] == ["done"] * 5 + ["asked"] * 7
    assert (await one.pay(1, ns="", slot=99)).status == "asked"


async def test_another_agent_or_target_of_the_same_requester_has_no_day_of_its_own(one: Plant) -> None:
    one.actors.register(replace(one.actors.get("agent:clerk"), name="twin"))
    for n in range(5):
        actor = "agent:twin" if n % 2 else "agent:clerk"
        assert (await one.pay(10_000, ns="", slot=n, actor=actor, to=f"t{n}", case_id=OTHER)).status == "done"
    assert (await one.pay(1, ns="", slot=6, actor="agent:twin", to="new")).status == "asked"


@pytest.mark.parametrize("seed", range(3))
async def test_a_race_of_sixty_four_with_failures_never_overspends_by_one(seed: int) -> None:
    chance = random.Random(seed)
    async with plant() as one:
        bank(one)
        amounts = [chance.choice([1, 333, 4_999, 9_999, 10_000]) for _ in range(64)]
        ends: list[Any] = [None, None, ValueError("x"), httpx.ReadTimeout("x")]
        one.world.fail = [chance.choice(ends) for _ in range(64)]
        calls = (one.pay(amount, ns="", slot=n, case_id=OTHER if n % 2 else CASE) for n, amount in enumerate(amounts))
        results = await asyncio.gather(*calls)
        happened = sum(int(what.split()[1]) * times for what, times in one.world.done.items())
        counted = sum(a for a, r in zip(amounts, results, strict=True) if r.status in ("done", "unknown"))
        assert counted <= 50_000
        assert happened >= counted
        totals = await one.db.read(lambda tx: one.limits.totals(
            tx, tenant="default", requester="person:ana", actor="agent:clerk", counterparty="", currency="EUR",
            at=one.clock.now(),
        ))  # fmt: skip
        assert totals["day"] == counted, "done is settled, unknown stays reserved, failed is given back"


async def test_a_credit_in_flight_makes_no_room(one: Plant) -> None:
    one.world.gate = asyncio.Event()
    one.world.fail.append(ValueError("the credit failed"))
    credit = asyncio.create_task(one.pay(-40_000, ns="", slot=1))
    await until(one, "tool.intent")
    payments = [asyncio.create_task(one.pay(10_000, ns="", slot=n)) for n in range(2, 12)]
    await asyncio.sleep(0.05)
    one.world.gate.set()
    assert (await credit).status == "failed"
    done = [result for result in await asyncio.gather(*payments) if result.status == "done"]
    assert len(done) <= 5


async def test_a_currency_is_no_way_around(one: Plant) -> None:
    async def wire(amount: int, currency: str) -> str:
        return await one.world.act(f"wire {amount} {currency}")

    one.tools.register(wire, name="bank.wire", effect="write", scope="bank", money="amount")
    one.bind()
    for currency in ("eur", "EURO", "E", "", "ЕUR", "€€€"):  # noqa: RUF001  # the fifth begins in Cyrillic
        result = await one.gateway.call("bank.wire", {"amount": 5, "currency": currency}, one.site(ns=""))
        assert policies_of(result) == ["gateway.money"], currency


# effects: once, and never forgotten


@pytest.mark.parametrize("turns", [*range(12), 20, 40, 80])
async def test_cancelled_anywhere_it_ran_once_or_not_at_all(one: Plant, turns: int) -> None:
    task = asyncio.create_task(one.pay())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    result = await one.pay()
    assert result.status == "done"
    assert one.world.done.total() == 1
    assert len(await one.events("tool.intent")) == 1
    assert len(await one.events("tool.outcome")) == 1


@pytest.mark.parametrize("when", [0, 0.001, 0.003, 0.01, 0.03])
async def test_cancelled_at_any_time_it_ran_once_or_not_at_all(one: Plant, when: float) -> None:
    for slot in range(8):
        with suppress(TimeoutError):
            async with asyncio.timeout(when):
                await one.pay(slot=slot)
        assert (await one.pay(slot=slot)).status == "done"
    assert one.world.done.total() == 8
    assert len(await one.events("tool.outcome")) == 8


async def test_a_flight_that_lands_while_its_row_is_read_was_not_lost(
    one: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.world.gate = asyncio.Event()
    first = asyncio.create_task(one.pay())
    await until(one, "tool.intent")
    recall = one.gateway._recall
    load = recall.load

    async def slow(attempt: Any) -> None:
        await load(attempt)
        assert one.world.gate is not None
        one.world.gate.set()
        await first

    monkeypatch.setattr(recall, "load", slow)
    assert await one.pay() == await first
    assert one.world.done.total() == 1


async def test_many_at_once_under_one_key_with_other_arguments_run_one(one: Plant) -> None:
    calls = [one.pay(100 + n % 4, slot="k") for n in range(16)]
    results = await asyncio.gather(*calls)
    assert one.world.done.total() == 1
    assert {result.status for result in results} == {"done", "denied"}
    assert {p for result in results if result.status == "denied" for p in policies_of(result)} == {"gateway.divergence"}


async def test_a_probe_that_says_no_does_not_make_two_callers_run_both() -> None:
    async with plant() as one:
        bank(one, reconcile=lambda args, ctx: DidNotHappen())
        for slot in range(10):
            results = await asyncio.gather(*(one.pay(slot=slot) for _ in range(6)))
            assert {result.status for result in results} == {"done"}
        assert one.world.done == {"pay 100 acme": 10}


@pytest.mark.parametrize(
    "raised", [asyncio.CancelledError(), SystemExit(1), MemoryError(), RecursionError()], ids=named
)
async def test_whatever_a_tool_raises_its_call_has_an_end(one: Plant, raised: BaseException) -> None:
    one.world.fail.append(raised)
    first = await asyncio.wait_for(one.pay(), 60)
    assert first.status == ("failed" if isinstance(raised, Exception) else "unknown")
    assert (await one.pay()).status == first.status
    assert one.world.done.total() == 1


async def test_a_blocking_tool_that_exits_does_not_end_the_process(one: Plant) -> None:
    def leave() -> None:
        sys.exit(3)

    one.tools.register(leave, name="odd.leave")
    one.bind()
    assert (await one.gateway.call("odd.leave", {}, one.site(ns=""))).status == "unknown"


@pytest.mark.parametrize(
    "value",
    [b"\xff", "\ud800", 2**80, {"\ud800": 1}, float("nan"), object(), {1, 2}, lambda: 1, [b"\xff", 2**80]],
    ids=named,
)
async def test_whatever_a_tool_gives_back_the_effect_is_recorded(value: Any) -> None:
    async with plant() as one:

        async def act() -> Any:
            await one.world.act("act")
            return value

        one.tools.register(act, name="odd.act")
        bank(one)
        first = await one.gateway.call("odd.act", {}, one.site(ns=""))
        assert first.status == "done"
        again = await one.gateway.call("odd.act", {}, one.site(ns=""))
        assert (again.status, again.call_id) == ("done", first.call_id)
        assert one.world.done.total() == 1
        assert (await one.ledger.verify()).ok


async def test_an_error_that_cannot_be_shown_is_recorded_all_the_same(one: Plant) -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    for slot, raised in enumerate([Rude(), ValueError("\ud800"), ValueError("x" * 100_000)]):
        one.world.fail.append(raised)
        assert (await one.pay(slot=slot)).status == "failed"
    assert len(await one.events("tool.outcome")) == 3


async def test_a_blocking_tool_that_hangs_is_unknown_and_never_run_again() -> None:
    async with plant(tool_timeout_s=1.0) as one:  # enough for a thread to begin
        runs, began, end = list[int](), threading.Event(), threading.Event()

        def hang(amount: int, to: str) -> None:
            runs.append(amount)
            began.set()
            end.wait(60)

        one.tools.register(hang, name="bank.pay", scope="bank", system="bank", money=lambda a: Money(a.amount, "EUR"))
        one.bind()
        for _ in range(3):
            result = await one.pay()
            assert result.status == "unknown"
        assert await asyncio.to_thread(began.wait, 60)
        end.set()
        assert runs == [100]
        totals = await one.events("limit.reserved"), await one.events("limit.released")
        assert (len(totals[0]), len(totals[1])) == (1, 0), "what may have been spent stays counted"


async def test_an_open_breaker_stops_writes_without_an_effect() -> None:
    async with plant(breaker_failures=2) as one:
        bank(one)
        one.world.fail = [httpx.ConnectError("away")] * 2
        for failure in one.world.fail:
            failure.before = True  # type: ignore[attr-defined]
        assert [(await one.pay(slot=n)).status for n in range(4)] == ["failed"] * 4
        assert one.world.done.total() == 0
        assert len(await one.events("system.opened")) == 1
        assert len(await one.events("limit.released")) == 4


async def test_retries_stop_and_what_is_unknown_stays_unknown() -> None:
    async with plant(tool_retries=2) as one:
        bank(one, idempotent=True)
        one.world.fail = [httpx.ReadTimeout("slow")] * 3
        result = await one.pay()
        assert result.status == "unknown"
        assert one.world.done.total() == 3
        assert (await one.pay()).status == "unknown", "a person is asked; nothing runs by itself"
        assert one.world.done.total() == 3


async def test_a_recorded_outcome_is_given_even_when_all_is_off_and_nothing_runs(one: Plant) -> None:
    first = await one.pay()
    await one.switches.set("default", "all", "off", by="person:op", comment="stop")
    assert await one.pay() == first
    assert policies_of(await one.pay(slot=1)) == ["gateway.switch"]
    assert one.world.done.total() == 1


@pytest.mark.parametrize("resource", ["po/1", "po/\u00fc", "../po", "p" * 5_000, "po/1 "])
async def test_two_cases_never_hold_one_object(resource: str) -> None:
    async with plant(tool_timeout_s=0.05) as one:
        bank(one, resource=lambda args: resource)
        await one.case(CASE)
        await one.case(OTHER)
        assert (await one.pay()).status == "done"
        assert (await one.pay(slot=1)).status == "done", "a case never waits for itself"
        denied = await one.pay(case_id=OTHER)
        assert policies_of(denied) == ["gateway.lease"]
        assert CASE in denied.reasons[0].text
        assert one.world.done.total() == 2


@pytest.mark.parametrize("resource", [["po/1"], {"a": 1}, b"po/1", True, 1.5])
async def test_a_resource_is_text(resource: Any) -> None:
    async with plant() as one:
        bank(one, resource=lambda args: resource)
        await untouched(one, await one.pay(ns=""), "gateway.schema")


# secrets


async def test_no_credential_is_written_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "plant.db"
    async with plant(path) as one:
        one.credentials.offer("bank", SECRET)
        seen: list[str | None] = []

        async def leak(how: str, ctx: ToolContext) -> Any:
            seen.append(ctx.credential)
            if how == "raise":
                raise ValueError(f"401 for Bearer {ctx.credential}")
            if how == "lose":
                raise httpx.ReadTimeout(f"https://bank/?token={ctx.credential}")
            return {f"{ctx.credential}": [ctx.credential, repr(ctx), ctx]}

        one.tools.register(leak, name="bank.leak", system="bank")
        one.tools.register_facts(
            "leak", lambda args, ctx: {"said": str(ctx.credential)}, actions=["bank.leak"], types={"said": "string"}
        )
        bank(one)
        for how in ("return", "raise", "lose"):
            result = await one.gateway.call("bank.leak", {"how": how}, one.site(ns=""), slot=how)
            assert SECRET not in repr(result)
        assert set(seen) == {SECRET}
        async for event in one.ledger.export():
            assert SECRET not in repr(event)
    for file in tmp_path.iterdir():
        assert SECRET.encode() not in file.read_bytes()
        assert b"token=s3cr3t" not in file.read_bytes()
