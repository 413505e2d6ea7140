"""Switches: what is off stays off until somebody turns it on, in memory and in the database alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock import errors
from interlock.observability.ledger import Ledger
from interlock.oversight.switches import Switches
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import events

BO = "person:bo"


@pytest.fixture
async def switches(db: Database, ledger: Ledger, clock: ManualClock) -> Switches:
    return await Switches.open(db, ledger, clock)


async def test_everything_is_on_at_first(switches: Switches) -> None:
    assert switches.state("default", ["agent:x", "tool:y", "nonsense"]) == "on"
    assert switches.why("default", ["agent:x"]) == ""
    assert switches.list("default") == []


@pytest.mark.parametrize(
    "target", ["agent:x", "person:ana", "tool:erp.create_po", "system:erp", "workflow:buying", "tenant:default", "all"]
)
async def test_a_switch_takes_effect_at_once_is_told_and_survives(
    db: Database, ledger: Ledger, clock: ManualClock, switches: Switches, target: str
) -> None:
    await switches.set("default", target, "off", by=BO, comment="it spends too much")
    asked = [] if target in ("all", "tenant:default") else [target]
    for one in (switches, await Switches.open(db, ledger, clock)):
        assert one.state("default", asked) == "off"
        assert one.why("default", asked) == f"{target} is set to off by person:bo: it spends too much"
        assert [s.target for s in one.list("default")] == [target]
    told = await events(ledger, "switch.set")
    assert [(e["actor"], e["data"]) for e in told] == [
        (BO, {"target": target, "state": "off", "comment": "it spends too much"})
    ]
    await switches.set("default", target, "on", by=BO)
    assert switches.state("default", asked) == "on"
    assert switches.why("default", asked) == ""


async def test_the_strictest_state_counts(switches: Switches) -> None:
    await switches.set("default", "tool:y", "drain", by=BO)
    await switches.set("default", "system:erp", "on", by=BO)
    assert switches.state("default", ["tool:y", "system:erp"]) == "drain"
    assert switches.why("default", ["system:erp", "tool:y"]) == "tool:y is set to drain by person:bo"
    await switches.set("default", "agent:x", "off", by=BO)
    assert switches.state("default", iter(["tool:y", "agent:x"])) == "off"
    assert "agent:x" in switches.why("default", ["tool:y", "agent:x"])
    assert switches.state("default", ["system:erp"]) == "on"


async def test_tenants_switch_for_themselves_but_all_means_all(switches: Switches) -> None:
    await switches.set("acme", "tool:y", "off", by=BO)
    assert switches.state("default", ["tool:y"]) == "on"
    await switches.set("default", "tenant:acme", "drain", by=BO)
    assert (switches.state("acme", []), switches.state("default", [])) == ("drain", "on")
    await switches.set("default", "all", "off", by=BO)
    assert switches.state("acme", []) == "off"
    await switches.set("acme", "all", "on", by=BO)  # lifts only what it set itself
    assert switches.state("acme", []) == "off"
    await switches.set("default", "all", "on", by=BO)
    assert switches.state("acme", []) == "drain"
    assert [s.target for s in switches.list("acme")] == ["all", "all", "tenant:acme", "tool:y"]


BAD: list[Any] = [
    "", "x", "tool:", "tool:Y", "tool:a b", "agent:", "agent:ü", "person:", "robot:x", "system:", "workflow: x", "ALL",
    "all:x", None, 3, "tool:" + "x" * 61,
]  # fmt: skip


@pytest.mark.parametrize("target", BAD)
async def test_a_target_that_is_none_is_refused(ledger: Ledger, switches: Switches, target: Any) -> None:
    with pytest.raises(errors.InputError) as caught:
        await switches.set("default", target, "off", by=BO)
    assert caught.value.hint
    assert await events(ledger) == []


@pytest.mark.parametrize(
    ("state", "by"), [("OFF", BO), ("", BO), (None, BO), ("off", ""), ("off", "bo"), ("off", None)]
)
async def test_a_state_or_an_actor_that_is_none_is_refused(switches: Switches, state: Any, by: Any) -> None:
    with pytest.raises(errors.InputError):
        await switches.set("default", "all", state, by=by)
    assert switches.state("default", []) == "on"


async def test_memory_and_database_agree_after_many_changes_at_once(
    db: Database, ledger: Ledger, clock: ManualClock, switches: Switches
) -> None:
    states = ["off", "drain", "on"] * 7
    await asyncio.gather(*(switches.set("default", "agent:x", s, by=BO, comment=str(n)) for n, s in enumerate(states)))
    again = await Switches.open(db, ledger, clock)
    assert again.list("default") == switches.list("default")
    last = (await events(ledger, "switch.set"))[-1]["data"]
    assert switches.state("default", ["agent:x"]) == last["state"]


async def test_a_caller_who_is_cancelled_has_switched_all_the_same(
    db: Database, ledger: Ledger, clock: ManualClock, switches: Switches
) -> None:
    setting = asyncio.create_task(switches.set("default", "all", "off", by=BO))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    setting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setting
    await switches.set("default", "agent:x", "off", by=BO)  # waits for the one before
    assert switches.state("default", []) == "off"
    assert (await Switches.open(db, ledger, clock)).state("default", []) == "off"


async def test_a_failed_commit_switches_nothing(db: Database, switches: Switches) -> None:
    await db.close()
    with pytest.raises(errors.StorageError):
        await switches.set("default", "all", "off", by=BO)
    assert switches.state("default", []) == "on"
