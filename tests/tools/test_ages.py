"""How old the facts are that an argument came from: by the plane's clock, and without end when nobody knows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.clock import iso
from interlock.oversight.boundaries import boundaries
from interlock.oversight.contexts import AGELESS
from interlock.oversight.inbox import Decision
from interlock.tools.contract import ToolResult
from interlock.tools.provenance import _seconds
from interlock.tools.sources import Source
from tests.tools.plant import CASE, Plant, plant

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
FRESH = """
@id("READ") permit(principal, action in Interlock::Action::"effect:read", resource);
@id("FRESH") @reason("prices are an hour old at most")
permit(principal, action == Interlock::Action::"erp.order", resource) when { context.ages.price <= 3600 };
"""


class Hands:
    """A clock that is set by hand, back as well: as a machine whose clock was wrong before a restart."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    async def sleep_until(self, t: datetime) -> None:
        self.at = t


def registered(one: Plant) -> None:
    async def order(price: str | list[str], note: str = "") -> str:
        return await one.world.act(f"order {price}")

    def price(item: str) -> dict[str, str]:
        return {"price": f"{len(item)}.50"}

    one.tools.register(order, name="erp.order", system="erp", effect="write")
    one.tools.register(price, name="erp.price", system="erp", effect="read", untrusted_output=False)
    one.bind()


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
async def one(clock: Hands) -> AsyncIterator[Plant]:
    async with plant(policies=FRESH, clock=clock) as made:
        registered(made)
        yield made


async def read(one: Plant, item: str, slot: int = 0) -> None:
    assert (await one.gateway.call("erp.price", {"item": item}, one.site(), slot=slot)).status == "done"


async def order(one: Plant, price: Any, slot: int) -> ToolResult:
    return await one.gateway.call("erp.order", {"price": price}, one.site(), slot=slot)


async def test_a_price_is_good_for_an_hour_and_again_once_it_is_read_again(one: Plant, clock: Hands) -> None:
    await one.case()
    await read(one, "bolt")
    clock.at += timedelta(seconds=3600)
    assert (await order(one, "4.50", 0)).status == "done"
    clock.at += timedelta(microseconds=1)
    late = await order(one, "4.50", 1)
    assert (late.status, late.reasons[0].policy) == ("denied", "FRESH")
    assert "context.ages.price <= 3600 (context.ages.price is 3601)" in late.reasons[0].text
    await read(one, "nuts", 1)
    assert (await order(one, "4.50", 2)).status == "done"


async def test_an_echo_makes_nothing_fresh(one: Plant, clock: Hands) -> None:
    """The agent sends the old price to a tool that gives it back, and stores it and reads it again."""
    stored: list[str] = []

    def store(text: str) -> dict[str, str]:
        stored.append(text)
        return {"stored": text}

    def load() -> dict[str, str]:
        return {"stored": stored[-1]}

    one.tools.register(store, name="note.store", effect="read")
    one.tools.register(load, name="note.load", effect="read")
    one.bind()
    await one.case()
    await read(one, "bolt")
    clock.at += timedelta(hours=2)
    for slot in (0, 1):
        for name, args in (("note.store", {"text": "4.50"}), ("note.load", {}), ("note.store", {"text": "4.50"})):
            assert (await one.gateway.call(name, args, one.site(), slot=f"{slot}{len(stored)}")).status == "done"
        assert (await order(one, "4.50", slot)).status == "denied"


async def test_what_has_no_source_has_no_age(one: Plant) -> None:
    await one.case()
    for slot, price in enumerate(("9.99", "", [], ["4.50", "9.99"])):
        denied = await order(one, price, slot)
        assert denied.status == "denied", price
        assert "context.ages.price is unknown" in denied.reasons[0].text
    await read(one, "bolt")
    assert (await order(one, ["4.50", "9.99"], 9)).status == "denied"
    assert not one.world.done


async def test_the_oldest_of_several_values_counts(one: Plant, clock: Hands) -> None:
    await one.case()
    await read(one, "bolt")
    clock.at += timedelta(minutes=50)
    await read(one, "washer", 1)
    clock.at += timedelta(minutes=20)
    assert (await order(one, ["6.50"], 0)).status == "done"
    assert (await order(one, ["6.50", "4.50"], 1)).status == "denied"


async def test_the_input_is_as_old_as_the_case(one: Plant, clock: Hands) -> None:
    await one.case(value=json.dumps({"price": "7.00"}))
    start = iso(clock.at - timedelta(minutes=59))
    await one.db.commit(lambda tx: tx.execute("UPDATE cases SET started_at = ? WHERE case_id = ?", (start, CASE)))
    assert (await order(one, "7.00", 0)).status == "done"
    clock.at += timedelta(minutes=2)
    assert (await order(one, "7.00", 1)).status == "denied"


async def test_a_clock_that_was_set_back_makes_nothing_fresh(one: Plant, clock: Hands) -> None:
    """A price that was read in what is the future now: nobody knows how old it is."""
    await one.case()
    await read(one, "bolt")
    clock.at -= timedelta(days=1)
    assert (await order(one, "4.50", 0)).status == "denied"
    await read(one, "nuts", 1)
    assert (await order(one, "4.50", 1)).status == "done"


ASKED = """
@id("OLD") permit(principal, action == Interlock::Action::"erp.order", resource)
when { context.ages.price <= 60 || context.approvals.treasury >= 1 };
@id("WHO") permit(principal in Interlock::Role::"treasury", action == Interlock::Action::"approve:erp.order", resource);
@id("TYPED") forbid(principal, action == Interlock::Action::"erp.order", resource) when { context.ages.note > 60 };
"""


async def test_what_a_person_types_is_new(clock: Hands) -> None:
    async with plant(policies=ASKED, clock=clock) as one:
        registered(one)
        await one.case(value=json.dumps({"note": "old"}))
        args = {"price": "9.99", "note": "unheard of"}
        forbidden = await one.gateway.call("erp.order", args, one.site())
        assert [reason.policy for reason in forbidden.reasons] == ["TYPED"]
        start = iso(clock.at)
        await one.db.commit(lambda tx: tx.execute("UPDATE cases SET started_at = ?", (start,)))
        asked = await one.gateway.call("erp.order", {"price": "9.99", "note": "old"}, one.site(), slot=1)
        item = await one.open(asked)
        await one.approve(item, decision=Decision.edit({"price": "5.00", "note": "typed"}))
        again = await one.gateway.call("erp.order", {"price": "9.99", "note": "old"}, one.site(), slot=1)
        assert (again.status, again.value) == ("done", "order 5.00#1")


async def test_the_ages_that_were_judged_are_recorded(one: Plant, clock: Hands) -> None:
    await one.case()
    await read(one, "bolt")
    clock.at += timedelta(seconds=5)
    await order(one, "4.50", 0)
    told = [event["data"]["request"] for event in await one.events("policy.decided")]
    assert ["ages" in request for request in told] == [False, True]
    assert told[1]["ages"] == {"price": 5}


async def test_nothing_is_looked_up_for_a_tool_whose_policies_ask_for_no_age(
    one: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any) -> Any:
        raise AssertionError("nobody asked")

    await one.case()
    monkeypatch.setattr(one.gateway.judge.provenance, "_seen", never)
    await read(one, "bolt")
    with pytest.raises(AssertionError):
        await order(one, "4.50", 0)


async def test_a_limit_on_ages_is_checked_and_has_boundaries() -> None:
    async with plant(policies=FRESH) as one:
        registered(one)
        (limit,) = boundaries(one.policies.edition)
        found = [(d.value, d.decision) for d in (limit.below, limit.at, limit.above) if d is not None]
        assert found == [(3599, "allowed"), (3600, "allowed"), (3601, "denied")]
        assert limit.limit == "context.ages.price <= 3600"


def test_a_misspelt_argument_is_found(one: Plant) -> None:
    one.policies = type(one.policies)({"test.cedar": FRESH.replace("ages.price", "ages.prise")})
    one.policies.bind(one.tools.actions(), set(), set())
    (problem,) = one.policies.check()
    assert (problem.line, problem.message) == (4, "context has no ages.prise")
    assert "price" in problem.suggestion


@given(st.lists(st.integers(-(10**6), 10**6), max_size=4))
def test_an_age_is_that_of_the_newest_source_that_is_not_to_come(seconds: list[int]) -> None:
    clock = Hands()
    sources = [Source("output", "t", iso(START - timedelta(seconds=s)), True) for s in seconds]
    past = [s for s in seconds if s >= 0]
    assert _seconds(sources, clock) == min(past, default=AGELESS)
    assert _seconds([*sources, Source("unknown", "", None, False)], clock) == min(past, default=AGELESS)
