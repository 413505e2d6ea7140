"""ASI10, rogue agents: a person's switch stops a call wherever it is, and no agent sets one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from interlock import errors
from tests.tools.plant import Plant, bank, plant


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant() as made:
        bank(made)
        yield made


async def test_an_agent_cannot_turn_itself_on(one: Plant) -> None:
    await one.switches.set("default", "agent:clerk", "off", by="person:op")
    for target in ("agent:clerk", "all", "tool:bank.pay"):
        with pytest.raises(errors.NotAuthorized, match="agent:clerk"):
            await one.switches.set("default", target, "on", by="agent:clerk")
    assert [reason.policy for reason in (await one.pay(ns="")).reasons] == ["gateway.switch"]
    assert one.world.done.total() == 0
    assert [event["actor"] for event in await one.events("switch.set")] == ["person:op"]


@pytest.mark.parametrize("target", ["agent:clerk", "tool:bank.pay", "system:bank", "workflow:pay", "all"])
async def test_a_switch_between_decision_and_commit_stops_the_call(
    one: Plant, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set while the decided call is on its way to the commit of its intent: nothing happens outside."""
    decide = one.gateway.judge.decide

    async def slowly(*args: object) -> object:
        item = await decide(*args)  # type: ignore[arg-type]  # passed on as they came
        await one.switches.set("default", target, "off", by="person:op", comment="stop")
        return item

    monkeypatch.setattr(one.gateway.judge, "decide", slowly)
    result = await one.pay(ns="")
    assert [reason.policy for reason in result.reasons] == ["gateway.switch"]
    assert one.world.done.total() == 0
    assert await one.events("tool.intent") == []


async def test_no_call_begins_after_off_has_returned(one: Plant) -> None:
    """32 callers at once; the tool notes whether it was entered after the switch was confirmed."""
    off, busy = asyncio.Event(), asyncio.Event()
    entered: list[bool] = []

    async def post(n: int) -> int:
        entered.append(off.is_set())
        if len(entered) == 100:
            busy.set()
        await asyncio.sleep(0)
        return n

    one.tools.register(post, name="bank.post", effect="write", system="bank", scope="bank")
    one.bind()

    async def caller(lane: int) -> str:
        for turn in range(500):
            result = await one.gateway.call("bank.post", {"n": turn}, one.site(ns=""), slot=f"{lane}/{turn}")
            if result.status != "done":
                return result.reasons[0].policy if result.reasons else str(result.error)
        return "never stopped"

    callers = [asyncio.create_task(caller(lane)) for lane in range(32)]
    await busy.wait()
    await one.switches.set("default", "system:bank", "off", by="person:op")
    off.set()
    stopped = Counter(await asyncio.gather(*callers))
    late = stopped.pop("Denied: not begun: system:bank is set to off by person:op", 0)
    assert set(stopped) <= {"gateway.switch"}
    assert len(entered) >= 100
    assert not any(entered)
    assert len(await one.events("tool.intent")) == len(entered) + late


@pytest.mark.parametrize("off", ["agent:clerk", "tool:bank.pay", "system:bank", "workflow:pay", "all"])
async def test_a_switch_between_commit_and_execution_stops_the_call(
    one: Plant, off: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set while the intent is durable and the credential is on its way: the call ends as not begun, and stays so."""
    fetch = one.gateway.credentials.fetch

    async def slowly(*args: str) -> str | None:
        secret = await fetch(*args)
        await one.switches.set("default", off, "off", by="person:op", comment="stop")
        return secret

    monkeypatch.setattr(one.gateway.credentials, "fetch", slowly)
    result = await one.pay(ns="")
    assert (result.status, result.error) == ("failed", f"Denied: not begun: {off} is set to off by person:op: stop")
    assert one.world.done.total() == 0
    assert [event["data"]["status"] for event in await one.events("tool.outcome")] == ["failed"]

    await one.switches.set("default", off, "on", by="person:op")
    assert (await one.pay(ns="")).status == "failed"
    assert one.world.done.total() == 0


async def test_a_switch_between_two_tries_leaves_the_outcome_open(one: Plant) -> None:
    """The first try may have taken place, so that no one may say that the call failed."""
    tries: list[int] = []

    async def post(n: int) -> int:
        tries.append(n)
        await one.switches.set("default", "system:bank", "off", by="person:op")
        raise TimeoutError("no answer")

    one.tools.register(post, name="bank.post", effect="write", system="bank", scope="bank", idempotent=True)
    one.bind()
    result = await one.gateway.call("bank.post", {"n": 1}, one.site(ns=""))
    assert result.status == "unknown"
    assert tries == [1]
