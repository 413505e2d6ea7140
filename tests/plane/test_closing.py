"""Closing a plane drains it: steps end, effects end, cases stay queued; and SIGTERM does the same."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import ControlPlane, Workflow, errors
from tests.graphs.office import POLICY, Erp, State, asked_to_drain, buying, fill, office


def stepping(seen: list[str], entered: asyncio.Event, go: asyncio.Event) -> Workflow:
    wf = Workflow("steps", State)

    async def one(state: Any) -> None:
        seen.append("one")
        entered.set()
        await go.wait()

    async def two(state: Any) -> None:
        seen.append("two")

    wf.add_node("one", one)
    wf.add_node("two", two)
    wf.add_edge(START, "one").add_edge("one", "two").add_edge("two", END)
    return wf


async def test_a_running_case_ends_its_step_and_stays_queued(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    seen: list[str] = []
    entered, go = asyncio.Event(), asyncio.Event()
    async with office(stepping(seen, entered, go), url=url) as plane:
        case = await plane.start("steps", {}, requester="person:ana")
        await entered.wait()
        closing = asyncio.create_task(plane.close())
        await asked_to_drain(plane, case.id)
        go.set()
        await closing
    assert seen == ["one"]
    async with office(stepping(seen, asyncio.Event(), go), url=url) as plane:
        assert (await plane.case(case.id)).status == "queued"
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"
    assert seen == ["one", "two"]


async def test_a_step_that_takes_too_long_is_cancelled_and_done_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    seen: list[str] = []
    entered, go = asyncio.Event(), asyncio.Event()
    async with office(stepping(seen, entered, go), url=url, settings={"drain_s": 0.05}) as plane:
        case = await plane.start("steps", {}, requester="person:ana")
        await entered.wait()
    go.set()
    async with office(stepping(seen, asyncio.Event(), go), url=url) as plane:
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"
    assert seen == ["one", "one", "two"]


async def test_closing_waits_for_an_effect_in_flight() -> None:
    erp = Erp(release=asyncio.Event())
    async with office(buying(), erp=erp) as plane:
        await plane.start("buying", {"total": 1}, requester="person:ana")
        await erp.entered.wait()
        closing = asyncio.create_task(plane.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        assert erp.release is not None
        erp.release.set()
        await closing
    assert len(erp.orders) == 1


async def test_whoever_waits_is_let_go(tmp_path: Path) -> None:
    async with office(buying(), url=f"sqlite:///{tmp_path / 'interlock.db'}") as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        waiting = asyncio.create_task(plane._engine.wait("default", [case.id], "ended", None))
        await asyncio.sleep(0.02)
    await asyncio.wait_for(waiting, 60)


async def test_code_that_swallows_everything_does_not_hold_the_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("interlock.graphs.engine.embedded._GRACE_S", 0.05)
    caplog.set_level(logging.CRITICAL)
    entered, go = asyncio.Event(), asyncio.Event()
    wf = Workflow("stubborn", State)

    async def stay(state: Any) -> None:
        entered.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    wf.add_node("stay", stay)
    wf.add_edge(START, "stay").add_edge("stay", END)
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(wf, url=url, settings={"drain_s": 0.05}) as plane:
        case = await plane.start("stubborn", {}, requester="person:ana")
        await entered.wait()
    async with ControlPlane.open(url, policies={"office.cedar": POLICY}) as plane:
        fill(plane, Erp())
        assert (await plane.case(case.id)).status == "running"
        go.set()
        await asyncio.sleep(0.05)


async def test_a_failed_commit_is_tried_again_from_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        await plane.ready()
        commit, failures = plane.services.db.commit, [errors.DiskFull("no room"), errors.DatabaseLocked("busy")]

        async def failing(apply: Any, *, claim: Any = None) -> Any:
            if claim is not None and failures and erp.orders:
                claim.poison = failures.pop()
                raise claim.poison
            return await commit(apply, claim=claim)

        monkeypatch.setattr(plane.services.db, "commit", failing)
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, len(erp.orders), failures) == ("completed", 1, [])
        assert (await plane.ledger.verify()).ok


async def test_a_database_that_stays_broken_is_told_to_those_who_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with office(buying()) as plane:
        await plane.ready()
        commit = plane.services.db.commit

        async def failing(apply: Any, *, claim: Any = None) -> Any:
            if claim is not None:
                raise errors.DiskFull("no room")
            return await commit(apply, claim=claim)

        monkeypatch.setattr("asyncio.sleep", lambda seconds: _at_once())
        monkeypatch.setattr(plane.services.db, "commit", failing)
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        with pytest.raises(errors.DiskFull):
            await plane.wait(case.id, until="ended", timeout=30)
        with pytest.raises(errors.DiskFull):
            await plane.wait(case.id, until="ended", timeout=30)


async def _at_once() -> None:
    return None
