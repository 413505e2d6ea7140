"""A case that fails or is cancelled undoes what it did: in reverse, through the gateway, once, and before it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import ControlPlane, Decision, Workflow, errors, tool
from tests.graphs.office import POLICY, State, events, failure
from tests.graphs.world import ASK, DONE, PERMITTED, UNDONE, World, doing, fill, run, works


async def test_a_failing_case_undoes_in_reverse_what_can_be_undone_and_then_fails() -> None:
    world = World()
    async with works(world) as plane:
        case = await run(plane)
        assert (case.status, failure(case)["message"], case.ending) == ("failed", "the press is on fire", None)
        assert world.log == DONE + UNDONE
        (end,) = await events(plane, case.id, "case.failed")
        told = {name: [row["tool"] for row in end["data"].get(name, [])] for name in ("compensated", "stays")}
        assert told == {"compensated": ["pay", "order"], "stays": ["mail"]}
        outcomes = await events(plane, case.id, "tool.outcome")
        undone = [e["data"] for e in outcomes if e["data"].get("compensates")]
        assert [(d["tool"], d["effect"], d["status"]) for d in undone] == [
            ("pay.compensate", "compensate", "done"), ("order.compensate", "compensate", "done"),
        ]  # fmt: skip
        keys = [e["data"]["effect_key"] for e in outcomes if e["data"]["tool"] in ("pay", "order")]
        assert [d["compensates"] for d in undone] == keys[::-1]
        assert [sent for _, sent in world.keys] == keys[::-1]
        assert (await plane.ledger.verify()).ok


async def test_compensations_give_the_money_back_and_keep_the_leases_until_the_end() -> None:
    world = World(gate=asyncio.Event())
    async with works(world) as plane:
        case = await plane.start("doing", {}, requester="person:ana")
        await asyncio.wait_for(world.entered.wait(), 10)
        held = "SELECT count(*) AS n FROM leases WHERE case_id = ?"
        during = await plane.services.db.read(lambda tx: tx.row(held, (case.id,)))
        now = await plane.case(case.id)
        assert world.gate is not None
        world.gate.set()
        await plane.wait(case.id, "ended", timeout=20)
        after = await plane.services.db.read(lambda tx: tx.rows("SELECT reserved, settled FROM limits"))
        assert during is not None
        assert (during["n"], now.status, now.ending, failure(now)["message"]) == (
            1, "running", "failed", "the press is on fire",
        )  # fmt: skip
        assert {(row["reserved"], row["settled"]) for row in after} == {(0, 0)}


async def test_a_compensation_that_no_policy_permits_goes_to_a_person_with_what_remains() -> None:
    world = World()
    async with works(world, policy=POLICY) as plane:
        case = await run(plane)
        assert (case.status, case.ending, world.log) == ("waiting", "failed", DONE)
        (item,) = (await plane.inbox.list(case_id=case.id)).items
        assert (item.kind, item.action["tool"], item.action["money"]["amount"]) == (
            "exception",
            "pay.compensate",
            -30_000,
        )
        assert item.evidence["undoes"]["result"] == "pay-1"
        assert [row["tool"] for row in item.evidence["remaining"]] == ["pay", "order"]
        assert [row["tool"] for row in item.evidence["stays"]] == ["mail"]
        await plane.inbox.decide(item.id, Decision.respond("paid back by hand"), by="person:op")
        case = await plane.wait(case.id, timeout=20)
        assert {name: [one["tool"] for one in some] for name, some in case.effects.items()} == {
            "by_person": ["pay"], "remaining": ["order"], "stays": ["mail"],
        }  # fmt: skip
        (item,) = (await plane.inbox.list(case_id=case.id)).items
        assert item.action["tool"] == "order.compensate"
        await plane.inbox.decide(item.id, Decision.reject("the order stands"), by="person:op")
        case = await plane.wait(case.id, timeout=20)
        (end,) = await events(plane, case.id, "case.failed")
        assert [row["tool"] for row in end["data"]["by_person"]] == ["pay"]
        assert [row["tool"] for row in end["data"]["stays"]] == ["mail", "order"]
        assert case.effects == {name: end["data"][name] for name in ("by_person", "stays")}
        assert (case.status, world.log) == ("failed", DONE)


async def test_a_compensation_may_need_an_approval() -> None:
    world = World()
    async with works(world, policy=POLICY + ASK) as plane:
        case = await run(plane)
        for name in ("pay", "order"):
            (item,) = (await plane.inbox.list(case_id=case.id)).items
            assert (item.kind, item.action["tool"]) == ("approval", f"{name}.compensate")
            await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
            case = await plane.wait(case.id, timeout=20)
        assert (case.status, world.log) == ("failed", DONE + UNDONE)


async def test_a_rejected_approval_comes_back_as_an_exception_and_may_be_tried_again() -> None:
    world = World()
    async with works(world, policy=POLICY + ASK) as plane:
        case = await run(plane)
        (item,) = (await plane.inbox.list(case_id=case.id)).items
        await plane.approvals.decide(item.id, Decision.reject("not like this"), by="person:bo")
        case = await plane.wait(case.id, timeout=20)
        (item,) = (await plane.inbox.list(case_id=case.id)).items
        assert (item.kind, item.reasons[0].text) == ("exception", "not like this")
        await plane.inbox.decide(item.id, Decision.approve(), by="person:op")
        case = await plane.wait(case.id, timeout=20)
        (again,) = (await plane.inbox.list(case_id=case.id)).items
        assert (again.kind, again.id != item.id) == ("approval", True)


async def test_a_failed_compensation_is_tried_again_only_on_the_word_of_a_person() -> None:
    world = World(failures=[ValueError("closed for today")])
    async with works(world) as plane:
        case = await run(plane)
        assert (case.status, world.log) == ("waiting", DONE)
        (item,) = (await plane.inbox.list(case_id=case.id)).items
        assert "closed for today" in item.reasons[0].text
        await plane.inbox.decide(item.id, Decision.approve(), by="person:op")
        case = await plane.wait(case.id, timeout=20)
        assert (case.status, world.log) == ("failed", DONE + UNDONE)
        assert len({key for key, _ in world.keys}) == 2


@pytest.mark.parametrize("said", [Decision.approve(), Decision.respond("undone"), Decision.reject("never mind")])
async def test_an_unknown_compensation_goes_to_a_person(said: Decision) -> None:
    world = World(failures=[TimeoutError()])
    async with works(world) as plane:
        case = await run(plane)
        (item,) = (await plane.inbox.list(case_id=case.id)).items
        assert (case.status, item.kind, item.evidence["undoes"]["tool"]) == ("waiting", "exception", "pay")
        await plane.inbox.decide(item.id, said, by="person:op")
        case = await plane.wait(case.id, timeout=20)
        if said.kind == "reject":  # it did not happen: what now?
            (item,) = (await plane.inbox.list(case_id=case.id)).items
            await plane.inbox.decide(item.id, Decision.reject("let it stay"), by="person:op")
            case = await plane.wait(case.id, timeout=20)
        undone = UNDONE if said.kind == "approve" else UNDONE[1:]
        assert (case.status, world.log) == ("failed", DONE + undone)


async def test_cancelling_undoes_and_leaves_the_case_cancelled() -> None:
    world = World()
    async with works(world, doing(fails=False)) as plane:
        case = await run(plane)
        assert case.status == "waiting"
        case = await plane.cancel(case.id, by="person:op", comment="no longer wanted")
        assert (case.status, failure(case)["message"]) == ("cancelled", "no longer wanted")
        assert world.log == DONE + UNDONE
        (end,) = await events(plane, case.id, "case.cancelled")
        assert (end["actor"], end["data"]["by"]) == ("person:op", "person:op")
        with pytest.raises(errors.Conflict):
            await plane.cancel(case.id, by="person:op")


async def test_a_paused_case_that_is_cancelled_is_wound_up_too() -> None:
    world = World()
    async with works(world, doing(fails=False)) as plane:
        case = await run(plane)
        await plane.pause(case.id, by="person:op")
        case = await plane.cancel(case.id, by="person:op")
        assert (case.status, world.log) == ("cancelled", DONE + UNDONE)


async def test_cancelling_what_is_wound_up_changes_nothing() -> None:
    world = World()
    async with works(world, policy=POLICY) as plane:
        case = await run(plane)
        (item,) = (await plane.inbox.list(case_id=case.id)).items
        again = await plane.cancel(case.id, by="person:op")
        assert (again.status, again.ending) == ("waiting", "failed")
        assert [one.id for one in (await plane.inbox.list(case_id=case.id)).items] == [item.id]


async def test_a_case_that_is_wound_up_takes_no_new_calls() -> None:
    world = World()
    async with works(world, policy=POLICY) as plane:
        case = await run(plane)
        result = await plane.call_tool("mail", {"about": "late"}, actor="agent:doing.act", case_id=case.id)
        assert (result.status, result.reasons[0].text) == ("denied", f"case {case.id} is being ended")


async def test_nobody_can_call_a_compensation_by_its_name() -> None:
    world = World()
    async with works(world) as plane:
        result = await plane.call_tool("pay.compensate", {"about": "x"}, actor="agent:doing.act")
        assert (result.status, result.reasons[0].policy, world.log) == ("denied", "gateway.tool", [])
        with pytest.raises(errors.Conflict):
            plane.register_tool(world.undo, name="pay.compensate", args_schema={}, effect="write")


async def test_a_switch_that_is_off_stops_the_compensation_until_it_is_on() -> None:
    world = World()
    async with works(world, doing(fails=False)) as plane:
        case = await run(plane)
        await plane.switch("tool:pay", "off", by="person:op")
        case = await plane.cancel(case.id, by="person:op")
        assert (case.status, case.waiting_for[0].kind, world.log) == ("waiting", "plane", DONE)
        await plane.switch("tool:pay", "on", by="person:op")
        case = await plane.wait(case.id, "ended", timeout=20)
        assert (case.status, world.log) == ("cancelled", DONE + UNDONE)


async def test_another_engine_goes_on_with_the_compensations(tmp_path: Path) -> None:
    world, url = World(), f"sqlite:///{tmp_path / 'interlock.db'}"
    async with works(world, policy=POLICY, url=url) as plane:
        case = await run(plane)
        (item,) = (await plane.inbox.list(case_id=case.id)).items
    async with works(world, policy=PERMITTED, url=url) as plane:
        await plane.inbox.decide(item.id, Decision.approve(), by="person:op")
        case = await plane.wait(case.id, "ended", timeout=20)
        assert (case.status, world.log) == ("failed", DONE + UNDONE)


async def test_closing_the_plane_waits_for_a_compensation_and_goes_on_later(tmp_path: Path) -> None:
    world, url = World(gate=asyncio.Event()), f"sqlite:///{tmp_path / 'interlock.db'}"
    assert world.gate is not None
    async with works(world, url=url) as plane:
        case = await plane.start("doing", {}, requester="person:ana")
        await asyncio.wait_for(world.entered.wait(), 10)
        closing = asyncio.create_task(plane.close())
        await asyncio.sleep(0.01)
        world.gate.set()
        await closing
    assert world.log == [*DONE, UNDONE[0]]
    async with works(world, url=url) as plane:
        case = await plane.wait(case.id, "ended", timeout=20)
        assert (case.status, world.log) == ("failed", DONE + UNDONE)


async def test_a_fork_in_shadow_undoes_nothing() -> None:
    world = World()
    async with works(world, doing(fails=False)) as plane:
        case = await run(plane)
        fork = await plane.fork(case.id, by="person:op")
        await plane.wait(fork.id, timeout=20)
        fork = await plane.cancel(fork.id, by="person:op")
        assert (fork.status, world.log) == ("cancelled", DONE)
        assert (await plane.case(case.id)).status == "waiting"


async def test_cancelling_a_parent_ends_its_children_and_undoes_theirs() -> None:
    world = World()
    parent = Workflow("parent", State)

    @parent.task(skill="leading")
    async def lead(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [str(await call.start("doing", {}, wait=True))]}

    async with works(world, doing(fails=False), parent.flow(START, lead, END)) as plane:
        case = await plane.start("parent", {}, requester="person:ana")
        case = await plane.wait(case.id, timeout=20)
        child = await plane.wait(str(case.waiting_for[0].item), timeout=20)
        assert (child.status, world.log) == ("waiting", DONE)
        case = await plane.cancel(case.id, by="person:op")
        assert (case.status, (await plane.case(child.id)).status) == ("cancelled", "cancelled")
        assert world.log == DONE + UNDONE


async def test_a_plain_function_compensates_too_and_may_say_that_it_can_be_repeated() -> None:
    world = World()
    tries: list[int] = []

    @tool(idempotent=True)
    def undo(args: Any, result: Any, ctx: Any) -> str:
        tries.append(ctx.attempt)
        if len(tries) == 1:
            raise ConnectionError("the line broke")
        world.log.append(f"undo {result} {args['about']}")
        return "ok"

    async with works(world, undo=undo) as plane:
        case = await run(plane, "ended")
        assert (case.status, world.log, len(tries)) == ("failed", DONE + UNDONE, 3)


async def test_a_compensation_with_options_that_it_cannot_have_is_refused() -> None:
    world = World()

    @tool(scope="other")
    async def undo(args: Any, result: Any, ctx: Any) -> None: ...

    async with ControlPlane.open(":memory:") as plane:
        with pytest.raises(errors.ConfigurationError, match="scope"):
            fill(plane, world, undo)
