"""A breaker opens after outages in a row, lets one call try, and closes again; rates hold calls back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from interlock import errors
from interlock.testing import ManualClock
from interlock.tools.breaker import Breakers, Rates
from interlock.tools.failures import SystemOpen

OUT = httpx.ConnectError("away")


class Said:
    """Stands in for the ledger: an event is its type and system."""

    def event(self, type: str, **about: Any) -> tuple[str, str]:
        assert about["data"]["why"]
        return type, about["data"]["system"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def breakers(clock: ManualClock) -> Breakers:
    return Breakers(Said(), 3, 30.0, clock)  # type: ignore[arg-type]  # stands in for the ledger


def told(breakers: Breakers) -> list[Any]:
    return list(breakers.news())


async def call(breakers: Breakers, problem: BaseException | None = None, system: str = "erp") -> None:
    async with breakers.guard(system, "default"):
        if problem is not None:
            raise problem


async def fail(breakers: Breakers, times: int, problem: Exception = OUT) -> None:
    for _ in range(times):
        with pytest.raises(type(problem)):
            await call(breakers, problem)


async def test_opens_after_so_many_outages_in_a_row(breakers: Breakers) -> None:
    await fail(breakers, 2)
    await call(breakers)
    await fail(breakers, 2)
    assert told(breakers) == []
    await fail(breakers, 1)
    assert told(breakers) == [("system.opened", "erp")]
    with pytest.raises(SystemOpen, match="erp is open"):
        await call(breakers)
    await call(breakers, system="crm")
    assert told(breakers) == []


async def test_refusals_and_bad_calls_are_no_outages(breakers: Breakers) -> None:
    await fail(breakers, 10, errors.ToolFailed("no such order"))
    await fail(breakers, 10, ValueError("bad"))
    await fail(breakers, 10, httpx.UnsupportedProtocol("no address"))
    await call(breakers)
    assert told(breakers) == []


async def test_closes_again_when_one_call_gets_an_answer(breakers: Breakers, clock: ManualClock) -> None:
    await fail(breakers, 3)
    await clock.advance(timedelta(seconds=29))
    with pytest.raises(SystemOpen):
        await call(breakers)
    await clock.advance(timedelta(seconds=1))
    await call(breakers)
    await call(breakers)
    assert told(breakers) == [("system.opened", "erp"), ("system.closed", "erp")]
    await fail(breakers, 2)
    await call(breakers)


async def test_a_refusal_is_an_answer_too(breakers: Breakers, clock: ManualClock) -> None:
    await fail(breakers, 3)
    await clock.advance(timedelta(seconds=30))
    await fail(breakers, 1, errors.ToolFailed("no such order"))
    assert told(breakers)[-1] == ("system.closed", "erp")


async def test_stays_open_when_the_trial_fails_and_says_so_once(breakers: Breakers, clock: ManualClock) -> None:
    await fail(breakers, 3)
    for _ in range(5):
        await clock.advance(timedelta(seconds=30))
        await fail(breakers, 1)
        with pytest.raises(SystemOpen):
            await call(breakers)
    assert told(breakers) == [("system.opened", "erp")]


async def test_only_one_call_tries_at_a_time(breakers: Breakers, clock: ManualClock) -> None:
    await fail(breakers, 3)
    await clock.advance(timedelta(seconds=30))
    go, inside = asyncio.Event(), 0

    async def one() -> str:
        nonlocal inside
        try:
            async with breakers.guard("erp", "default"):
                inside += 1
                await go.wait()
        except SystemOpen:
            return "refused"
        return "answered"

    running = [asyncio.create_task(one()) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert inside == 1
    go.set()
    assert sorted(await asyncio.gather(*running)).count("answered") == 1
    await call(breakers)


async def test_a_cancelled_trial_proves_nothing(breakers: Breakers, clock: ManualClock) -> None:
    await fail(breakers, 3)
    await clock.advance(timedelta(seconds=30))
    with pytest.raises(asyncio.CancelledError):
        await call(breakers, asyncio.CancelledError())
    assert told(breakers) == [("system.opened", "erp")]
    await fail(breakers, 1)
    with pytest.raises(SystemOpen):
        await call(breakers)


async def test_a_cancelled_call_neither_counts_nor_resets(breakers: Breakers) -> None:
    await fail(breakers, 2)
    with pytest.raises(asyncio.CancelledError):
        await call(breakers, asyncio.CancelledError())
    await fail(breakers, 1)
    assert told(breakers) == [("system.opened", "erp")]


async def test_late_answers_of_calls_from_before_do_not_close_it(breakers: Breakers) -> None:
    go = asyncio.Event()

    async def early() -> None:
        async with breakers.guard("erp", "default"):
            await go.wait()

    before = asyncio.create_task(early())
    await asyncio.sleep(0)
    await fail(breakers, 3)
    go.set()
    await before
    with pytest.raises(SystemOpen):
        await call(breakers)


async def test_many_failing_at_once_open_it_once(breakers: Breakers) -> None:
    await asyncio.gather(*(call(breakers, httpx.ReadTimeout("slow")) for _ in range(50)), return_exceptions=True)
    assert told(breakers) == [("system.opened", "erp")]


async def test_a_rate_holds_the_next_call_back_until_the_first_is_old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, slept = asyncio.get_running_loop(), list[float]()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    monkeypatch.setattr("interlock.tools.breaker.asyncio.sleep", sleep)
    rates = Rates()
    for _ in range(7):
        await rates.turn("erp.pay", (3, 10.0))
    await rates.turn("erp.other", (3, 10.0))
    await rates.turn("erp.free", None)
    assert slept == [pytest.approx(10.0), pytest.approx(10.0)]


async def test_a_cancelled_wait_takes_no_turn_and_blocks_nobody() -> None:
    rates = Rates()
    await rates.turn("t", (1, 3600.0))
    waiting = asyncio.create_task(rates.turn("t", (1, 3600.0)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    other = asyncio.create_task(rates.turn("t", (2, 1e-9)))
    await asyncio.wait_for(other, 5)
