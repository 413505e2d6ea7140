"""Studio's server: graphs load, show themselves, and run an alert to the approval and past it, in guest mode."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from interlock.clock import SystemClock
from interlock.observability.ledger import Ledger
from interlock.storage.database import Database
from tests.protocol.studio import folder, langgraph_dev, log_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("studio")]

# Its order costs more than may be ordered without asking.
DEAR = {
    "equipment_id": "FM2-CO01", "equipment_name": "Ammonia compressor 1", "rule_id": "FR05",
    "start_time": "2026-03-02 09:30", "end_time": "2026-03-02 09:45",
}  # fmt: skip


@asynccontextmanager
async def server(path: Path) -> AsyncIterator[tuple[str, LangGraphClient]]:
    """A running server: its address, and a client of it."""
    with langgraph_dev(path) as url:
        async with get_client(url=url) as client:
            yield url, client


async def test_the_graph_shows_its_input_and_its_nodes(tmp_path: Path) -> None:
    path = folder(tmp_path / "show")
    async with server(path) as (url, client):
        (assistant,) = await client.assistants.search(graph_id="maintenance")
        schemas = await client.assistants.get_schemas(assistant["assistant_id"])
        assert {"equipment_id", "rule_id", "start_time"} <= set((schemas["input_schema"] or {})["properties"])
        assert "interlock_tasks" not in (schemas["input_schema"] or {})["properties"]
        drawn = await client.assistants.get_graph(assistant["assistant_id"])
        nodes = {node["id"]: node.get("metadata", {}) for node in drawn["nodes"]}
        assert nodes["diagnose"]["skill"] == "diagnosis"
        assert nodes["order"]["tools"] == ["cmms.create_work_order"]
        assert nodes["order"]["owner"] == "maintenance"
        assert nodes["order"]["sla"] == "4:00:00"
        assert {"order.route", "order", "order.person"} <= set(nodes)
        assert (await _get(url, "/ok"))["ok"] is True
        assert "langgraph_py_version" in await _get(url, "/info"), "Studio reads the server's own"


async def test_an_alert_runs_to_the_approval_and_on_across_restarts(tmp_path: Path) -> None:
    path = folder(tmp_path / "run")
    async with server(path) as (url, client):
        thread = (await client.threads.create())["thread_id"]
        stopped = await client.runs.wait(thread, "maintenance", input=DEAR, raise_error=True)
        (question,) = stopped["__interrupt__"]  # type: ignore[call-overload]
        assert question["value"]["action_request"]["action"] == "cmms.create_work_order"
        assert (await client.threads.get(thread))["status"] == "interrupted"
        (item,) = await _items(url)
        assert item["kind"] == "approval"
    assert await _count(path, "tool.intent") == 1, "the report; the order waits"
    async with server(path) as (url, client):
        done = await _until_it_rests(client, thread)
        assert done["outcome"] == "work_order", log_of(path)
        (case,) = (await _get(url, "/control/cases"))["items"]
        assert (case["status"], case["values"]["work_order"]) == ("completed", done["work_order"])
    async with server(path) as (url, client):
        values: Any = (await client.threads.get_state(thread))["values"]
        assert values["work_order"] == done["work_order"]
        assert await _items(url) == []
    await _consistent(path, str(done["work_order"]))


async def _until_it_rests(client: LangGraphClient, thread: str) -> dict[str, Any]:
    """Answer as Studio does, question by question."""
    for _ in range(4):
        run = await client.runs.wait(thread, "maintenance", command={"resume": {"type": "approve"}}, raise_error=True)
        if not (isinstance(run, dict) and run.get("__interrupt__")):
            return dict(run)  # type: ignore[arg-type]
    raise AssertionError("the same question came back")


async def _items(url: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await _get(url, "/control/inbox"))["items"]
    return items


async def _get(url: str, path: str) -> Any:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _count(path: Path, kind: str) -> int:
    return len([event for event in await _ledger(path) if event["type"] == kind])


async def _ledger(path: Path) -> list[dict[str, Any]]:
    db = await Database.open(f"sqlite:///{path / 'home' / 'dev' / 'interlock.db'}", read_only=True)
    try:
        ledger = Ledger(db, SystemClock())
        report = await ledger.verify()
        assert report.ok, report
        return [event async for event in ledger.export()]
    finally:
        await db.close()


async def _consistent(path: Path, order: str) -> None:
    """One case, one order outside, each effect with exactly one outcome, and a ledger that verifies."""
    events = await _ledger(path)
    types = [event["type"] for event in events]
    assert (types.count("case.started"), types.count("case.completed")) == (1, 1)
    outcomes = [event["data"] for event in events if event["type"] == "tool.outcome"]
    assert len({data["effect_key"] for data in outcomes}) == len(outcomes)
    assert [d["status"] for d in outcomes if d["tool"] == "cmms.create_work_order"] == ["done"]
    assert types.count("inbox.opened") == types.count("inbox.decided")
    found = await asyncio.to_thread(_orders, path / "home" / "dev" / "cmms.db")
    assert found == [(order, "released")]


def _orders(database: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT id, status FROM work_orders").fetchall()
    finally:
        connection.close()
