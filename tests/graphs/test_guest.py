"""Guest mode: a workflow's graph under somebody else's checkpointer."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START
from langgraph.types import Command
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import ControlPlane, Workflow, errors
from interlock.graphs.drive import DRIVE
from interlock.guest import close_guest, open_guest
from tests.graphs import guest_project
from tests.graphs.office import POLICY, State, buying, events


@pytest.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ControlPlane]:
    """The plane of guest mode with the office on it; its policies come from a file of its home."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "office.cedar").write_text(POLICY)
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    monkeypatch.setenv("INTERLOCK_PROJECT", "tests.graphs.guest_project:setup")
    monkeypatch.setenv("INTERLOCK_POLICIES", str(policies))
    guest_project.ERP.orders.clear()
    yield await open_guest()
    await close_guest()


def thread(**more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": str(uuid.uuid4()), **more}}


def thread_id(config: RunnableConfig) -> str:
    return str(config.get("configurable", {})["thread_id"])


async def case_of(plane: ControlPlane, config: RunnableConfig) -> Any:
    return await plane.case(thread_id(config))


async def test_the_plane_is_opened_once_below_the_home(host: ControlPlane, tmp_path: Path) -> None:
    assert await open_guest() is host
    assert (tmp_path / "dev" / "interlock.db").exists()
    assert "person:studio" in host.services.actors


async def test_a_run_is_a_case_with_a_ledger(host: ControlPlane) -> None:
    graph, config = buying().compile(InMemorySaver()), thread()
    out = await graph.ainvoke({"total": 100}, config)
    assert out["po"] == "PO-1"
    case = await case_of(host, config)
    assert (case.status, case.requester, case.values["po"]) == ("completed", "person:studio", "PO-1")
    types = [event["type"] for event in await events(host, case.id)]
    assert types[:2] == ["case.started", "task.routed"]
    assert {"tool.intent", "tool.outcome", "task.finished", "case.completed"} <= set(types)
    assert (await host.ledger.verify()).ok


@pytest.mark.parametrize(
    ("answer", "po"),
    [
        ({"type": "approve"}, "PO-1"),
        (True, "PO-1"),
        ([{"type": "accept", "args": None}], "PO-1"),
        ({"decisions": [{"type": "approve"}]}, "PO-1"),
        ([{"type": "response", "args": "take the old one"}], "take the old one"),
    ],
)
async def test_raw_resume_values_become_decisions_of_the_dev_user(host: ControlPlane, answer: Any, po: str) -> None:
    graph, config = buying().compile(InMemorySaver()), thread()
    out = await graph.ainvoke({"total": 300_000}, config)
    (interrupt,) = out["__interrupt__"]
    assert interrupt.value["action_request"]["action"] == "erp.create_po"
    assert (await case_of(host, config)).status == "waiting"
    out = await graph.ainvoke(Command(resume=answer), config)
    assert out["po"] == po
    case = await case_of(host, config)
    (item,) = (await host.inbox.list(status=None, case_id=case.id)).items
    assert (case.status, item.decided_by) == ("completed", "person:dev")


async def test_an_answer_that_is_none_is_asked_again(host: ControlPlane) -> None:
    graph, config = buying().compile(InMemorySaver()), thread()
    await graph.ainvoke({"total": 300_000}, config)
    out = await graph.ainvoke(Command(resume="perhaps"), config)
    assert "was not taken" in out["__interrupt__"][0].value["message"]
    assert guest_project.ERP.orders == []
    out = await graph.ainvoke(Command(resume={"type": "approve"}), config)
    assert out["po"] == "PO-1"


async def test_an_approval_over_the_limit_is_refused(host: ControlPlane) -> None:
    """The dev user may approve what somebody of the project may: not ten million."""
    graph, config = buying().compile(InMemorySaver()), thread()
    out = await graph.ainvoke({"total": 1_000_000_000}, config)
    out = await graph.ainvoke(Command(resume=True), config)
    assert "nobody may approve this now" in out["__interrupt__"][0].value["message"]
    assert guest_project.ERP.orders == []


async def test_an_edit_is_checked_and_executed(host: ControlPlane) -> None:
    graph, config = buying().compile(InMemorySaver()), thread()
    await graph.ainvoke({"total": 300_000}, config)
    edited = {"type": "edit", "args": {"action": "erp.create_po", "args": {"supplier": "globex", "total": "200000"}}}
    await graph.ainvoke(Command(resume=[edited]), config)
    assert guest_project.ERP.orders == [("globex", 200_000)]


async def test_effects_only_in_sandboxes(host: ControlPlane) -> None:
    wf = Workflow("real", State)

    @wf.task(skill="x", tools=["real.stock"])
    async def touch(state: Any, call: Any) -> dict[str, Any]:
        try:
            await call("real.stock", {"item": "pump"})
        except errors.Denied as exc:
            return {"note": exc.policy_ids[0]}
        return {"note": "happened"}

    out = await wf.flow(START, touch, END).compile(InMemorySaver()).ainvoke({}, thread())
    assert out["note"] == "gateway.guest"


class Out(BaseModel):
    verdict: str


class Doc(TypedDict, total=False):
    verdict: str


async def test_people_and_exceptions_answer_in_place(host: ControlPlane) -> None:
    wf = Workflow("reviews", Doc)
    wf.task("review", skill="unheard-of", output=Out)
    graph, config = wf.flow(START, "review", END).compile(InMemorySaver()), thread()
    out = await graph.ainvoke({}, config)
    assert "nobody has the skill" in out["__interrupt__"][0].value["message"]
    out = await graph.ainvoke(Command(resume={"type": "respond", "args": {"verdict": "fine"}}), config)
    assert out["verdict"] == "fine"


async def test_a_task_of_a_person_takes_the_output(host: ControlPlane) -> None:
    wf = Workflow("checks", Doc)
    wf.task("review", skill="checking", output=Out)
    graph, config = wf.flow(START, "review", END).compile(InMemorySaver()), thread()
    await graph.ainvoke({}, config)
    assert (await case_of(host, config)).waiting_for[0].kind == "task"
    out = await graph.ainvoke(Command(resume={"type": "response", "args": {"verdict": "fine"}}), config)
    assert out["verdict"] == "fine"


async def test_the_authenticated_user_is_the_requester(host: ControlPlane) -> None:
    graph = buying().compile(InMemorySaver())
    config = thread(langgraph_auth_user={"identity": "ana"})
    await graph.ainvoke({"total": 1}, config)
    assert (await case_of(host, config)).requester == "person:ana"
    with pytest.raises(errors.NotFound):
        await graph.ainvoke({"total": 1}, thread(langgraph_auth_user={"identity": "mallory"}))


async def test_a_failure_is_recorded_and_raised(host: ControlPlane) -> None:
    wf = Workflow("fails", State)

    async def breaks(state: Any) -> None:
        raise ZeroDivisionError("boom")

    wf.add_node("breaks", breaks)
    wf.add_edge(START, "breaks").add_edge("breaks", END)
    config = thread()
    with pytest.raises(ZeroDivisionError):
        await wf.compile(InMemorySaver()).ainvoke({}, config)
    case = await case_of(host, config)
    assert (case.status, case.error) == ("failed", {"code": "ZeroDivisionError", "message": "boom"})


async def test_the_input_is_read_by_the_schema(host: ControlPlane) -> None:
    class Order(BaseModel):
        total: int

    wf = buying()
    wf.input_type = Order
    with pytest.raises(errors.InputError, match="total"):
        await wf.compile(InMemorySaver()).ainvoke({"total": "many"}, thread())
    assert (await wf.compile(InMemorySaver()).ainvoke({"total": "7"}, thread()))["total"] == 7


async def test_streams_do_not_leave_the_drive_behind(host: ControlPlane) -> None:
    graph = buying().compile(InMemorySaver())
    async for _ in graph.astream({"total": 1}, thread(), stream_mode="updates"):
        assert DRIVE.get() is None
    stream = graph.astream({"total": 1}, thread(), stream_mode="updates")
    await anext(stream)
    assert isinstance(stream, AsyncGenerator)
    await stream.aclose()
    assert DRIVE.get() is None


async def test_a_thread_that_runs_twice_stays_one_case(host: ControlPlane) -> None:
    graph, config = buying().compile(InMemorySaver()), thread()
    await graph.ainvoke({"total": 1}, config)
    await graph.ainvoke({"total": 2}, config)
    assert len(guest_project.ERP.orders) == 2
    assert [case.id for case in (await host.cases()).items] == [thread_id(config)]


async def test_the_engine_leaves_guests_alone(host: ControlPlane) -> None:
    graph, config = buying().compile(InMemorySaver()), thread()
    await graph.ainvoke({"total": 300_000}, config)
    case = await case_of(host, config)
    with pytest.raises(errors.Conflict, match="not driven by the engine"):
        await host.pause(case.id, by="person:op")
    await close_guest()
    again = await open_guest()
    assert (await again.case(case.id)).status == "waiting"
