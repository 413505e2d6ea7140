"""Cases that wait for a switch or an object: durably, in order, each call once, and on by themselves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from langgraph.types import interrupt

from interlock import ControlPlane, Decision, Workflow
from interlock.graphs.cases import Case
from interlock.graphs.engine.lock import EngineLock
from interlock.graphs.engine.remote import send
from tests.graphs.office import POLICY, Erp, State, buying, events, fill, office, waits_on
from tests.plane import resting

ROOT = Path(__file__).parents[2]
TARGETS = ["agent:buying.order", "tool:erp.create_po", "system:erp", "workflow:buying", "tenant:default", "all"]


async def begun_off(plane: ControlPlane, target: str = "system:erp", *totals: int) -> list[Case]:
    """Cases of which the first step meets a switch that is off; as they have settled."""
    await plane.ready()
    plane._engine._open = False
    started = [await plane.start("buying", {"total": total}, requester="person:ana") for total in totals or (1,)]
    await plane.switch(target, "off", by="person:op", comment="wrong prices")
    plane._engine._open = True
    plane._engine._pump()
    return await plane.wait_all([case.id for case in started], "settled", timeout=60)


async def ended(plane: ControlPlane, *cases: Case) -> list[Case]:
    return await plane.wait_all([case.id for case in cases], timeout=60)


@pytest.mark.parametrize("then", ["on", "drain"])
@pytest.mark.parametrize("target", TARGETS)
async def test_a_case_waits_for_whatever_is_off_and_goes_on_by_itself(target: str, then: str) -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        (case,) = await begun_off(plane, target)
        (why,) = case.waiting_for
        assert (case.status, why.kind, why.item) == ("waiting", "plane", None)
        assert why.action == f"{target} is set to off by person:op: wrong prices"
        assert (erp.orders, (await plane.inbox.list()).items) == ([], [])
        await plane.switch(target, then, by="person:op")
        (case,) = await ended(plane, case)
        assert (case.status, case.values["po"], erp.orders) == ("completed", "PO-1", [("acme", 1)])
        figures = await plane.metrics.summary()
        assert (figures.automation_rate, figures.exceptions, figures.approvals.requested) == (1.0, 0, 0)
        assert (await plane.ledger.verify()).ok


async def test_what_a_task_has_done_before_the_switch_is_not_done_again() -> None:
    erp, first = Erp(), asyncio.Event()
    wf = Workflow("twice", State)

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        one = await call("erp.create_po", {"supplier": "one", "total": 1})
        first.set()
        await off.wait()
        return {"log": [one, await call("erp.create_po", {"supplier": "two", "total": 2})]}

    off = asyncio.Event()
    async with office(wf.flow(START, order, END), erp=erp) as plane:
        case = await plane.start("twice", {}, requester="person:ana")
        await first.wait()
        await plane.switch("tool:erp.create_po", "off", by="person:op")
        off.set()
        assert (await plane.wait(case.id, timeout=60)).status == "waiting"
        denied = [
            e["data"] for e in await events(plane, case.id, "policy.decided") if e["data"]["decision"] == "denied"
        ]
        assert [reason for data in denied for reason, _ in data["reasons"]] == ["gateway.switch"]
        await plane.switch("tool:erp.create_po", "on", by="person:op")
        (case,) = await ended(plane, case)
        assert case.values["log"] == ["PO-1", "PO-2"]
        assert erp.orders == [("one", 1), ("two", 2)]


async def test_a_call_whose_intent_is_durable_and_whose_tool_was_not_reached_waits_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Off while the credential is on its way, twice; the call is run in the end, once, under one intent and outcome."""
    erp, offs = Erp(), [1, 2]
    async with office(buying(), erp=erp) as plane:
        fetch = plane.services.gateway.credentials.fetch

        async def slowly(*args: str) -> str | None:
            secret = await fetch(*args)
            if offs:
                await plane.switch("system:erp", "off", by="person:op", comment=str(offs.pop()))
            return secret

        monkeypatch.setattr(plane.services.gateway.credentials, "fetch", slowly)
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        for comment in "21":
            case = await until(plane, case, f"system:erp is set to off by person:op: {comment}")
            assert (case.status, erp.orders) == ("waiting", [])
            await plane.switch("system:erp", "on", by="person:op")
        (case,) = await ended(plane, case)
        assert (case.status, erp.orders) == ("completed", [("acme", 1)])
        told = await events(plane, case.id, "tool.intent", "tool.outcome", "limit.reserved", "limit.settled")
        assert [e["data"].get("attempt") for e in told if e["type"] == "tool.intent"] == [1, 2, 3]
        assert [e["data"]["status"] for e in told if e["type"] == "tool.outcome"] == ["done"]


async def test_a_case_that_is_cancelled_while_its_call_is_put_off_asks_nobody_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with office(buying()) as plane:
        fetch = plane.services.gateway.credentials.fetch

        async def slowly(*args: str) -> str | None:
            await plane.switch("system:erp", "off", by="person:op")
            return await fetch(*args)

        monkeypatch.setattr(plane.services.gateway.credentials, "fetch", slowly)
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        assert (await plane.wait(case.id, timeout=60)).status == "waiting"
        await plane.cancel(case.id, by="person:op")
        (case,) = await ended(plane, case)
        assert (case.status, (await plane.inbox.list()).items) == ("cancelled", [])


async def test_a_call_from_outside_is_refused_at_once() -> None:
    """Also one that belongs to a case, which goes on waiting for its own."""
    async with office(buying(), settings={"lease_patience_s": 0}) as plane:
        (case,) = await begun_off(plane)
        for case_id in (None, case.id):
            args = {"supplier": "a", "total": 1}
            result = await plane.call_tool("erp.create_po", args, actor="agent:buying.order", case_id=case_id)
            assert (result.status, result.reasons[0].policy) == ("denied", "gateway.switch")
        assert (await plane.call_tool("erp.stock", {"item": "x"}, actor="person:ana")).status == "done"
        await plane.switch("system:erp", "on", by="person:op")
        assert (await ended(plane, case))[0].status == "completed"


async def test_a_waiting_case_costs_nothing_and_survives_restarts(tmp_path: Path) -> None:
    url, erp = f"sqlite:///{tmp_path / 'interlock.db'}", Erp()
    async with office(buying(), url=url, erp=erp) as plane:
        (case,) = await begun_off(plane)
        assert len(plane._engine._queue) == 0 and not plane._engine._drives
        epoch = await epoch_of(plane, case)
    async with office(buying(), url=url, erp=erp) as plane:
        await plane.ready()
        assert (await plane.wait(case.id, timeout=60)).waiting_for == case.waiting_for
        assert await epoch_of(plane, case) == epoch, "a start drives no case that has nothing to do"
        await plane.switch("system:erp", "on", by="person:op")
        (case,) = await ended(plane, case)
        assert (case.status, erp.orders) == ("completed", [("acme", 1)])


async def test_another_process_turns_the_switch_on(tmp_path: Path) -> None:
    async with office(buying(), url=f"sqlite:///{tmp_path / 'interlock.db'}") as plane:
        (case,) = await begun_off(plane)
        address = EngineLock(tmp_path).holder()
        assert address is not None
        await send(address, "switch", target="system:erp", state="on", by="person:op")
        (case,) = await ended(plane, case)
        assert case.status == "completed"


async def test_a_switch_that_is_turned_on_while_nothing_runs_lets_the_case_go_on_at_the_next_start(
    tmp_path: Path,
) -> None:
    """By a process that knows no workflow, as `interlock switch` of another project does."""
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(buying(), url=url) as plane:
        (case,) = await begun_off(plane)
    async with ControlPlane.open(url, policies={"office.cedar": POLICY}) as plane:
        fill(plane, Erp())
        await plane.switch("system:erp", "on", by="person:op")
    async with office(buying(), url=url) as plane:
        (case,) = await ended(plane, case)
        assert case.status == "completed"


async def test_kill_9_while_cases_wait_for_a_switch_and_for_an_object(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.plane.resting", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n", process.communicate()[1]
    process.kill()
    process.communicate()
    plane = await resting.opened(tmp_path)
    cases = (await plane.cases(limit=100)).items
    assert [case.status for case in cases] == ["waiting"] * 4
    (item,) = (await plane.inbox.list()).items
    await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
    await plane.switch("tool:yard.paint", "on", by="person:op")
    done = await plane.wait_all([case.id for case in cases], timeout=60)
    await plane.close()
    assert [case.status for case in done] == ["completed"] * 4
    told = resting.told(tmp_path)
    assert [word for word in told if word != "paint"] == ["first", "second", "third"]
    assert told.count("paint") == 1


async def test_cases_survive_a_switch_that_flaps() -> None:
    erp = Erp()
    async with office(buying(), erp=erp) as plane:
        cases = await begun_off(plane, "system:erp", 1, 2, 3, 4, 5)
        assert {case.status for case in cases} == {"waiting"}
        for state in ["on", "off"] * 6:
            await plane.switch("system:erp", state, by="person:op")
            await asyncio.sleep(0)
        await plane.switch("system:erp", "on", by="person:op")
        assert [case.status for case in await ended(plane, *cases)] == ["completed"] * 5
        assert sorted(total for _, total in erp.orders) == [1, 2, 3, 4, 5]


async def test_two_switches_are_waited_for_one_after_the_other() -> None:
    async with office(buying()) as plane:
        await plane.switch("all", "on", by="person:op")
        (case,) = await begun_off(plane)
        await plane.switch("tool:erp.create_po", "off", by="person:op", comment="also")
        await plane.switch("system:erp", "on", by="person:op")
        case = await until(plane, case, "tool:erp.create_po is set to off by person:op: also")
        assert case.status == "waiting"
        await plane.switch("tool:erp.create_po", "on", by="person:op")
        assert (await ended(plane, case))[0].status == "completed"


async def test_a_question_of_a_plain_node_is_no_hold_whatever_it_says() -> None:
    """A text from elsewhere that gets into a question must not answer it."""
    wf = Workflow("asking", State)

    def ask(state: Any) -> dict[str, Any]:
        return {"note": str(interrupt({"message": "pay?", "interlock": {"item": f"hold:{known[0]}"}}))}

    known = ["nothing"]
    wf.add_node("ask", ask)
    wf.add_edge(START, "ask").add_edge("ask", END)
    async with office(wf, buying()) as plane:
        (other,) = await begun_off(plane)
        row = await plane.services.db.read(lambda tx: tx.row("SELECT id FROM holds WHERE case_id = ?", (other.id,)))
        assert row is not None
        await plane.switch("system:erp", "on", by="person:op")
        await ended(plane, other)
        for known[0] in ("nothing", row["id"], "", "%"):
            case = await plane.start("asking", {}, requester="person:ana")
            case = await plane.wait(case.id, timeout=60)
            assert (case.status, case.waiting_for[0].kind) == ("waiting", "exception")


class Yard:
    """Places that are entered by one case at a time; a case may have a person look at it there."""

    def __init__(self) -> None:
        self.moved: list[str] = []

    async def move(self, place: str, who: str) -> str:
        self.moved.append(who)
        return who

    def workflow(self) -> Workflow:
        """Enters `left` and, if told, `right`; `total` above the limit needs an approval in between."""
        wf = Workflow("moving", State)

        @wf.task(skill="moving", tools=["yard.move", "erp.create_po"], scopes={"po:write"})
        async def move(state: Any, call: Any) -> dict[str, Any]:
            for place in filter(None, (state["left"], state.get("right"))):
                await call("yard.move", {"place": place, "who": state["note"]}, key=place)
                if state.get("total"):
                    await call("erp.create_po", {"supplier": "a", "total": state["total"]})
            return {"log": [state["note"]]}

        return wf.flow(START, move, END)


def settle(plane: ControlPlane, yard: Yard, **options: Any) -> None:
    plane.register_tool(
        yard.move, name="yard.move", effect="write", resource=lambda args: f"place/{args.place}", **options
    )
    plane.register(yard.workflow())


async def moving(plane: ControlPlane, note: str, **more: Any) -> Case:
    case = await plane.start("moving", {"left": "a", "note": note, **more}, requester="person:ana")
    return await plane.wait(case.id, timeout=60)


async def test_fifty_cases_wait_for_one_object_and_get_it_in_their_order() -> None:
    yard = Yard()
    async with office(settings={"lease_patience_s": 0}) as plane:
        settle(plane, yard)
        holder = await moving(plane, "holder", total=400_000)
        others = [await moving(plane, f"n{n:02}") for n in range(50)]
        why = f"waits for place/a, which is held by case {holder.id}"
        assert [(case.status, case.waiting_for[0].action) for case in others] == [("waiting", why)] * 50
        assert (await plane.case(holder.id)).holds[0].waiting == [case.id for case in others]
        assert not plane._engine._drives
        await plane.approvals.decide(waits_on(holder), Decision.approve(), by="person:bo")
        done = await ended(plane, holder, *others)
        assert {case.status for case in done} == {"completed"}
        assert yard.moved == ["holder", *(f"n{n:02}" for n in range(50))]
        taken = await events(plane, None, "lease.taken")
        assert [e["data"]["token"] for e in taken if e["data"]["resource"] == "place/a"] == list(range(1, 52))
        assert (await plane.ledger.verify()).ok


@pytest.mark.parametrize("how", ["cancel the holder", "cancel the next"])
async def test_whoever_ends_makes_room(how: str) -> None:
    yard = Yard()
    async with office(settings={"lease_patience_s": 0}) as plane:
        settle(plane, yard)
        holder = await moving(plane, "holder", total=400_000)
        one, two = await moving(plane, "one"), await moving(plane, "two")
        if how == "cancel the holder":
            await plane.cancel(holder.id, by="person:op")
            assert [case.status for case in await ended(plane, one, two)] == ["completed"] * 2
            assert yard.moved == ["holder", "one", "two"]
        else:
            await plane.cancel(one.id, by="person:op")
            assert (await plane.case(two.id)).status == "waiting"
            await plane.cancel(holder.id, by="person:op")
            assert [case.status for case in await ended(plane, two)] == ["completed"]
            assert yard.moved == ["holder", "two"]


@pytest.mark.parametrize("setting", [True, False])
async def test_a_tool_or_a_plane_may_refuse_instead_of_waiting(setting: bool) -> None:
    yard, by = Yard(), {"when_held": "refuse"}
    async with office(settings={"lease_patience_s": 0, **(by if setting else {})}) as plane:
        settle(plane, yard, **({} if setting else by))
        holder = await moving(plane, "holder", total=400_000)
        refused = await moving(plane, "refused")
        assert refused.waiting_for[0].kind == "exception"
        (item,) = (await plane.inbox.list("exception", case_id=refused.id)).items
        assert f"place/a is held by case {holder.id}" in item.reasons[0].text
        assert (await plane.case(holder.id)).holds[0].waiting == [], "who is refused stands in no line"


async def test_two_resting_cases_are_never_in_a_circle() -> None:
    """The second to ask is refused, at once, and goes to a person with the whole circle."""
    yard = Yard()
    async with office(settings={"lease_patience_s": 0}) as plane:
        settle(plane, yard)
        one = await moving(plane, "one", left="a", right="b", total=400_000)
        two = await moving(plane, "two", left="b", right="a", total=400_000)
        for case in (one, two):
            await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
            await plane.wait(case.id, timeout=60)
        found = [await plane.case(case.id) for case in (one, two)]
        assert [case.waiting_for[0].kind for case in found] == ["plane", "exception"]
        (item,) = (await plane.inbox.list("exception")).items
        assert one.id in item.reasons[0].text and two.id in item.reasons[0].text
        await plane.inbox.decide(item.id, Decision.reject("one goes first"), by="person:op")
        await ended(plane, two)
        assert [held.resource for held in (await plane.case(one.id)).holds] == ["place/a", "place/b"]


async def until(plane: ControlPlane, case: Case, why: str) -> Case:
    """The case, once it waits for this."""
    while [one.action for one in case.waiting_for] != [why]:
        await asyncio.sleep(0.001)
        case = await plane.case(case.id)
    return case


async def epoch_of(plane: ControlPlane, case: Case) -> int:
    row = await plane.services.db.read(lambda tx: tx.row("SELECT epoch FROM cases WHERE case_id = ?", (case.id,)))
    assert row is not None
    return int(row["epoch"])
