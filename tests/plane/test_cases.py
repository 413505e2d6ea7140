"""Cases as callers see them: what a start refuses, what pages and metrics take, what a case waits for."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock import Decision, Person, errors
from interlock.testing import ManualClock
from tests.graphs.office import START_TIME, buying, events, office


@pytest.mark.parametrize(
    "option",
    [
        {"priority": "high"},
        {"priority": 10**12},
        {"at": "2026-01-01T00:00:00Z"},
        {"at": datetime(2026, 1, 1)},  # noqa: DTZ001  # without a zone, on purpose
        {"at": START_TIME + timedelta(seconds=1)},
        {"assign": "person:ana"},
        {"assign": {"ordr": "person:ana"}},
        {"assign": {"order": "ana"}},
        {"tenant": 5},
    ],
)
async def test_options_of_a_start_that_cannot_be_meant(option: dict[str, Any]) -> None:
    async with office(buying(), clock=ManualClock(START_TIME)) as plane:
        with pytest.raises(errors.InputError) as refused:
            await plane.start("buying", {"total": 1}, requester="person:ana", **option)
        assert refused.value.hint
        assert (await plane.cases()).items == []
        assert (await plane.ledger.verify()).ok


async def test_a_start_of_the_past_is_a_case_of_the_past() -> None:
    async with office(buying(sla=timedelta(days=1)), clock=ManualClock(START_TIME)) as plane:
        case = await plane.start("buying", {"total": 1}, requester="person:ana", at=START_TIME - timedelta(days=2))
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.started_at[:10], str(case.due)[:10], str(case.ended_at)[:10]) == (
            "2026-02-28", "2026-03-01", "2026-03-02",
        )  # fmt: skip
        figures = await plane.metrics.summary()
        assert (figures.cycle_s.p50, figures.sla_met) == (2 * 86_400, 0.0)


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": "x"},
        {"limit": 10**30},
        {"status": "done"},
        {"cursor": 5},
        {"cursor": "9" * 40},
    ],
)
async def test_pages_that_cannot_be_meant(asked: dict[str, Any]) -> None:
    async with office(buying()) as plane:
        await plane.start("buying", {"total": 1}, requester="person:ana")
        for listed in (plane.cases, plane.inbox.list, plane.approvals.list):
            with pytest.raises(errors.InputError, match=next(iter(asked))):
                await listed(**asked)
        with pytest.raises(errors.InputError, match="kind is 'question'"):
            await plane.inbox.list("question")  # type: ignore[arg-type]


async def test_metrics_take_their_questions_in_order_and_are_those_of_the_plane(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(buying(), url=url, tenant="west") as plane:
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        await plane.wait(case.id, until="ended", timeout=30)
        figures = await plane.metrics.summary("buying", None, None, "day", "Europe/Berlin")
        assert (figures.cases.completed, len(figures.periods)) == (1, 1)
    async with office(buying(), url=url, tenant="east") as plane:
        assert (await plane.metrics.summary()).cases.completed == 0


async def test_an_outcome_says_what_it_was(tmp_path: Path) -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 200_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        await plane.approvals.decide(str(case.waiting_for[0].item), Decision.approve(), by="person:bo")
        await plane.wait(case.id, until="ended", timeout=30)
        (outcome,) = [event["data"] for event in await events(plane, case.id, "tool.outcome")]
        (intent,) = [event["data"] for event in await events(plane, case.id, "tool.intent")]
        assert (outcome["tool"], outcome["effect"], outcome["status"], outcome["by"]) == (
            "erp.create_po", "write", "done", "executed",
        )  # fmt: skip
        assert outcome["money"] == {"amount": 200_000, "currency": "EUR"}
        assert outcome["args"] == {"supplier": "acme", "total": 200_000}
        assert {key: intent[key] for key in ("digest", "effect_key", "key")}.items() <= outcome.items()
        decided = await events(plane, case.id, "policy.decided")
        assert {event["data"]["effect_key"] for event in decided} == {outcome["effect_key"]}


async def test_the_ledger_says_once_with_which_actors(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    for _ in range(2):
        async with office(buying(), url=url) as plane:
            await plane.ready()
            plane.register_actor(Person("new", roles={"clerk"}))
            await plane.ready()
    async with office(buying(), url=url) as plane:
        plane.register_actor(Person("new", roles={"clerk", "operator"}))
        await plane.ready()
        told = [event["data"] for event in await events(plane, None, "actor.registered")]
        roles = {actor["id"]: actor["roles"] for actor in told}
        assert set(roles) == {"person:ana", "person:bo", "person:cy", "person:op", "person:new", "agent:buying.order"}
        assert [actor["roles"] for actor in told if actor["id"] == "person:new"] == [["clerk"], ["clerk", "operator"]]
        assert len(told) == len(roles) + 1
        assert (await plane.ledger.verify()).ok
