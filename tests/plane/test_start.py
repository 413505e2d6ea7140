"""Starting cases: keys, inputs, many at once, who may, and in which order they are driven."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from pydantic import BaseModel

from interlock import Decision, Workflow, errors
from interlock.testing import ManualClock
from tests.graphs.office import POLICY, START_TIME, Erp, State, buying, events, failure, office


class Order(BaseModel):
    total: int


async def test_a_key_and_the_same_input_give_the_first_case() -> None:
    async with office(buying()) as plane:
        first = await plane.start("buying", {"total": 1}, key="k", requester="person:ana")
        again = await plane.start("buying", {"total": 1}, key="k", requester="person:ana")
        assert (again.id, again.key) == (first.id, "k")
        with pytest.raises(errors.Conflict, match="another input"):
            await plane.start("buying", {"total": 2}, key="k", requester="person:ana")
        await plane.wait(first.id, until="ended", timeout=30)
        assert (await plane.start("buying", {"total": 1}, key="k", requester="person:ana")).status == "completed"
        assert len(await events(plane, None, "case.started")) == 1


async def test_many_starts_with_one_key_at_the_same_instant() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        starts = (plane.start("buying", {"total": 1}, key="k", requester="person:ana") for _ in range(20))
        ids = {case.id for case in await asyncio.gather(*starts)}
        assert len(ids) == 1
        await plane.wait(ids.pop(), until="ended", timeout=30)
        assert len(erp.orders) == 1


@pytest.mark.parametrize("key", ["", "ü/\n'\"", "k" * 5000])
async def test_odd_keys(key: str) -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 1}, key=key, requester="person:ana")
        assert (await plane.start("buying", {"total": 1}, key=key, requester="person:ana")).id == case.id
        assert case.key == key


@pytest.mark.parametrize("value", [None, 5, "text", [], {"total": "many"}, {"total": None}])
async def test_bad_inputs_are_named(value: Any) -> None:
    async with office(buying(input=Order)) as plane:
        with pytest.raises(errors.InputError, match="buying"):
            await plane.start("buying", value, requester="person:ana")
        assert (await plane.cases()).items == []


async def test_who_may_start() -> None:
    who = 'principal == Interlock::Person::"bo", action == Interlock::Action::"case.start"'
    forbid = f'@id("NO") @reason("not Bo") forbid({who}, resource);'
    async with office(buying(), policy=POLICY + forbid) as plane:
        with pytest.raises(errors.NotFound, match="mallory"):
            await plane.start("buying", {}, requester="person:mallory")
        with pytest.raises(errors.NotFound, match="selling"):
            await plane.start("selling", {}, requester="person:ana")
        with pytest.raises(errors.Denied, match="not Bo"):
            await plane.start("buying", {}, requester="person:bo")
        assert [e["actor"] for e in await events(plane, None, "access.denied")] == ["person:bo"]
        await plane.switch("workflow:buying", "drain", by="person:op", comment="audit")
        with pytest.raises(errors.Denied, match="audit"):
            await plane.start("buying", {}, requester="person:ana")
        await plane.switch("workflow:buying", "on", by="person:op")
        await plane.start("buying", {}, requester="person:ana")


async def test_many_at_once_in_order_with_bad_ones_among_them() -> None:
    async with office(buying(input=Order)) as plane:
        inputs = [{"total": 1}, {"total": "x"}, {"total": 2}, {"total": 1}]
        key = lambda value: str(value["total"])  # noqa: E731
        started = await plane.start_many("buying", inputs, key=key, requester="person:ana")
        assert [entry.status == "failed" for entry in started] == [False, True, False, False]
        assert isinstance(started[1], errors.InputError)
        assert started[1].error["code"] == "input"
        assert started[0].id == started[3].id  # type: ignore[union-attr]
        ids = [entry.id for entry in started if not isinstance(entry, errors.InterlockError)]
        cases = await plane.wait_all(ids, timeout=30)
        assert [case.input["total"] for case in cases] == [1, 2, 1]
        assert {case.status for case in cases} == {"completed"}
        assert await plane.start_many("buying", [], requester="person:ana") == []


async def test_many_starts_of_a_conflicting_key() -> None:
    async with office(buying(input=Order)) as plane:
        first, second = await plane.start_many(
            "buying", [{"total": 1}, {"total": 2}], key=lambda v: "same", requester="person:ana"
        )
        assert (first.status == "failed", type(second)) == (False, errors.Conflict)


async def test_a_thousand_cases_are_waited_for_together() -> None:
    wf = Workflow("small", State)

    async def nothing(state: Any) -> dict[str, Any]:
        return {"note": "done"}

    wf.add_node("nothing", nothing)
    wf.add_edge(START, "nothing").add_edge("nothing", END)
    async with office(wf) as plane:
        started = await plane.start_many("small", [{"total": n} for n in range(600)], requester="person:ana")
        cases = await plane.wait_all([case.id for case in started], timeout=60)  # type: ignore[union-attr]
        assert [case.input["total"] for case in cases] == list(range(600))
        assert (await plane.ledger.verify()).ok


async def test_a_key_function_that_fails_refuses_its_input() -> None:
    async with office(buying(input=Order)) as plane:
        started = await plane.start_many(
            "buying", [{"total": 1}, {"no": 2}], key=lambda value: str(value["total"]), requester="person:ana"
        )
        assert [entry.status == "failed" for entry in started] == [False, True]
        assert isinstance(started[1], errors.InputError)
        wf = Workflow("odd", State, key=lambda value: value["missing"])
        plane.register(wf.flow(START, wf.task("x", skill="y"), END))
        with pytest.raises(errors.InputError, match="key= does not take"):
            await plane.start("odd", {}, requester="person:ana")


async def test_tenants_do_not_see_each_other() -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 1}, key="k", requester="person:ana", tenant="west")
        assert (await plane.wait(case.id, until="ended", timeout=30, tenant="west")).tenant == "west"
        with pytest.raises(errors.NotFound):
            await plane.wait(case.id, timeout=1, tenant="east")
        other = await plane.start("buying", {"total": 2}, key="k", requester="person:ana")
        assert other.id != case.id
        assert [one.id for one in (await plane.cases()).items] == [other.id]


async def test_whoever_starts_a_case_for_a_tenant_finds_it_by_its_id(tmp_path: Path) -> None:
    url, erp = f"sqlite:///{tmp_path / 'interlock.db'}", Erp()
    async with office(buying(), url=url, erp=erp) as plane:
        west = await plane.start("buying", {"total": 400_000}, requester="person:ana", tenant="west")
        own = await plane.start("buying", {"total": 1}, requester="person:ana")
        own, case = await plane.wait_all([own.id, west.id], until="settled", timeout=30)
        assert [(c.tenant, c.status) for c in (own, case)] == [("default", "completed"), ("west", "waiting")]
        assert [item.case_id for item in (await plane.approvals.list(case_id=west.id)).items] == [west.id]
        assert (await plane.approvals.list()).items == []
        await plane.pause(west.id, by="person:op")
        await plane.resume(west.id, by="person:op")
        fork = await plane.fork(west.id, by="person:op")
        assert (await plane.cancel(fork.id, by="person:op")).tenant == "west"
        result = await plane.call_tool("erp.stock", {"item": "pump"}, actor="agent:buying.order", case_id=west.id)
        assert result.status == "done"
    async with office(buying(), url=url, erp=erp) as plane:
        for asked in (plane.case(west.id), plane.wait(west.id, timeout=1), plane.cancel(west.id, by="person:op")):
            with pytest.raises(errors.NotFound):
                await asked
        item = str(case.waiting_for[0].item)
        with pytest.raises(errors.NotFound):
            await plane.approvals.decide(item, Decision.approve(), by="person:bo")
        assert {event["tenant"] for event in await events(plane)} == {"default"}
        await plane.start("buying", {"total": 1}, requester="person:ana", tenant="west")
        await plane.approvals.decide(item, Decision.approve(), by="person:bo")
        assert (await plane.wait(west.id, until="ended", timeout=30)).status == "completed"
        assert (await plane.ledger.verify()).ok


async def test_a_caller_who_is_cancelled_leaves_no_case_behind_that_nobody_drives() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        await plane.ready()
        for _ in range(20):
            starting = asyncio.create_task(plane.start("buying", {"total": 1}, requester="person:ana"))
            await asyncio.sleep(random.random() * 0.004)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        begun = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "begin"]
        await asyncio.gather(*begun)
        page = await plane.cases()
        done = await plane.wait_all([case.id for case in page.items], timeout=30)
        assert {case.status for case in done} <= {"completed"}
        assert len(erp.orders) == len(done)


async def test_measures_that_fail_fail_the_case() -> None:
    wf = Workflow("measured", State, measures=lambda state: {"x": state["missing"]})

    async def nothing(state: Any) -> dict[str, Any]:
        return {"note": "x"}

    wf.add_node("nothing", nothing)
    wf.add_edge(START, "nothing").add_edge("nothing", END)
    async with office(wf) as plane:
        case = await plane.start("measured", {}, requester="person:ana")
        case = await plane.wait(case.id, until="ended", timeout=30)
        assert (case.status, failure(case)["code"]) == ("failed", "KeyError")


async def test_a_waiting_case_shows_its_output_so_far() -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 400_000, "note": "x"}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert (case.status, case.values) == ("waiting", {"total": 400_000, "note": "x"})


async def test_a_graph_of_the_plane_runs_as_a_case_only() -> None:
    async with office(buying()) as plane:
        with pytest.raises(errors.ConfigurationError, match="belongs to a plane"):
            await plane.graph("buying").ainvoke({"total": 1}, {"configurable": {"thread_id": "t"}})


async def test_a_start_can_be_back_dated() -> None:
    clock = ManualClock(START_TIME)
    async with office(buying(), clock=clock) as plane:
        then = datetime(2020, 5, 1, tzinfo=UTC)
        case = await plane.start("buying", {"total": 1}, requester="person:ana", at=then)
        assert case.started_at == "2020-05-01T00:00:00.000000Z"
        case = await plane.wait(case.id, until="ended", timeout=30)
        (ended,) = await events(plane, case.id, "case.completed")
        assert ended["data"]["cycle_s"] == (START_TIME - then).total_seconds()


def recording(seen: list[Any], **options: Any) -> Workflow:
    wf = Workflow("recording", State, **options)

    async def see(state: Any) -> None:
        seen.append(state["total"])
        await asyncio.sleep(0)

    wf.add_node("see", see)
    wf.add_edge(START, "see").add_edge("see", END)
    return wf


async def test_priority_goes_first_then_the_order_of_starts() -> None:
    seen: list[int] = []
    wf = recording(seen)
    async with office(wf, settings={"concurrency": 1}) as plane:
        await plane.ready()
        plane._engine._open = False  # hold the pump, so that all are queued
        ids = [
            (await plane.start("recording", {"total": n}, requester="person:ana", priority=p)).id
            for n, p in enumerate([0, 5, 0, 9, 5])
        ]
        plane._engine._open = True
        plane._engine.submit([])
        await plane.wait_all(ids, timeout=30)
        assert seen == [3, 1, 4, 0, 2]


async def test_cases_of_a_sequence_run_one_after_another_in_start_order() -> None:
    seen: list[Any] = []
    wf = Workflow("lines", State, sequence=lambda value: value["note"])

    async def begin(state: Any) -> None:
        seen.append(("begin", state["note"], state["total"]))
        await asyncio.sleep(0.001)

    async def end(state: Any) -> None:
        seen.append(("end", state["note"], state["total"]))

    wf.add_node("begin", begin)
    wf.add_node("end", end)
    wf.add_edge(START, "begin").add_edge("begin", "end").add_edge("end", END)
    async with office(wf) as plane:
        inputs = [{"note": "ab"[n % 2], "total": n} for n in range(10)]
        started = await plane.start_many("lines", inputs, requester="person:ana")
        await plane.wait_all([case.id for case in started], timeout=30)  # type: ignore[union-attr]
    for line in "ab":
        mine = [(what, n) for what, note, n in seen if note == line]
        assert mine == [(what, n) for n in range("ab".index(line), 10, 2) for what in ("begin", "end")]


async def test_a_tenant_takes_no_more_than_its_share() -> None:
    now, most = 0, 0
    wf = Workflow("busy", State)

    async def busy(state: Any) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    wf.add_node("busy", busy)
    wf.add_edge(START, "busy").add_edge("busy", END)
    async with office(wf, settings={"tenant_concurrency": 2}) as plane:
        started = await plane.start_many("busy", [{"total": n} for n in range(12)], requester="person:ana")
        await plane.wait_all([case.id for case in started], timeout=30)  # type: ignore[union-attr]
    assert most == 2


async def test_waiting_has_limits_and_words() -> None:
    async with office(buying()) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        assert (await plane.wait(case.id, until="ended", timeout=0.01)).status == "waiting"
        with pytest.raises(errors.NotFound):
            await plane.wait("no-such-case", timeout=1)
        with pytest.raises(errors.InputError, match="until"):
            await plane.wait(case.id, until="done")
        with pytest.raises(errors.NotFound):
            await plane.case("no-such-case")
        with pytest.raises(errors.InputError, match="cursor"):
            await plane.cases(cursor="-1")


async def test_pages_of_cases() -> None:
    async with office(buying()) as plane:
        started = await plane.start_many("buying", [{"total": n} for n in range(7)], requester="person:ana")
        ids = [case.id for case in started]  # type: ignore[union-attr]
        await plane.wait_all(ids, timeout=30)
        page, found = await plane.cases(limit=3), []
        while True:
            found += [case.id for case in page.items]
            if page.cursor is None:
                break
            page = await plane.cases(limit=3, cursor=page.cursor)
        assert found == ids
        assert len((await plane.cases(status="completed", workflow="buying")).items) == 7
        assert (await plane.cases(status="failed")).items == []
