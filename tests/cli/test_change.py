"""A command that an engine takes while it stops is carried to its end by the next engine, and never given twice."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from interlock import ControlPlane, errors
from interlock.cli.change import change
from interlock.cli.session import reading, working
from interlock.graphs.engine.lock import Address, EngineLock

APPROVE: dict[str, Any] = {"decision": {"kind": "approve"}, "by": "person:bo"}


async def only_approval(plane: ControlPlane) -> Any:
    (item,) = (await plane.approvals.list()).items
    return item


async def ended(home: Path, case_id: str) -> tuple[str, list[str]]:
    """How a case stands, and who decided in it."""
    async with reading(home) as plane:
        decided = [e["actor"] async for e in plane.ledger.export(case_id=case_id) if e["type"] == "inbox.decided"]
        return (await plane.case(case_id)).status, decided


@pytest.mark.parametrize("driven", [True, False])
async def test_an_engine_that_stops_behind_the_answer_leaves_the_case_to_the_next(
    waiting: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], erp: Any, driven: bool
) -> None:
    """The engine has decided; whether or not it has driven the case when it stops, the command ends with the case."""
    async with working(waiting) as plane:
        await plane.ready()
        item = await only_approval(plane)

        async def stop(**given: Any) -> None:
            if driven:
                await plane.wait(item.case_id, "ended", 60)
            await plane.close()

        if not driven:
            monkeypatch.setattr(plane._engine, "wake", lambda tenant, case_id: None)
        assert plane._commands is not None
        monkeypatch.setitem(plane._commands._handlers, "wait", stop)
        answer = await change(waiting, "decide", item_id=item.id, **APPROVE)
    assert answer["decided_by"] == "person:bo"
    assert await ended(waiting, item.case_id) == ("completed", ["person:bo"])
    assert len(erp()) == 1
    assert capsys.readouterr().err.count(f"case {item.case_id} is completed") == 1


async def test_an_engine_that_stops_before_it_takes_the_command_leaves_it_to_the_next(
    waiting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(waiting) as plane:
        item = await only_approval(plane)
    lock, glances = EngineLock(waiting), list[float]()
    lock.take()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes the port, nobody answers
        lock.publish(Address("127.0.0.1", closed.getsockname()[1], "token", 1))

        async def glance(seconds: float) -> None:
            glances.append(seconds)
            lock.release()

        monkeypatch.setattr("interlock.cli.change.asyncio.sleep", glance)
        answer = await change(waiting, "decide", item_id=item.id, **APPROVE)
    assert (answer["status"], len(glances)) == ("decided", 1)
    assert await ended(waiting, item.case_id) == ("completed", ["person:bo"])


async def test_a_command_that_an_engine_has_begun_when_it_stops_is_answered(
    waiting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(waiting) as plane:
        await plane.ready()
        item, decide, closing = await only_approval(plane), plane.inbox.decide, list[asyncio.Task[None]]()

        async def slowly(*args: Any, **given: Any) -> Any:
            decided = await decide(*args, **given)
            closing.append(asyncio.create_task(plane.close()))
            await asyncio.sleep(0)
            assert plane._commands is not None and plane._commands._server is not None
            assert not plane._commands._server.is_serving()
            return decided

        monkeypatch.setattr(plane.inbox, "decide", slowly)
        answer = await change(waiting, "decide", item_id=item.id, **APPROVE)
        await asyncio.gather(*closing)
    assert answer["decided_by"] == "person:bo"
    assert await ended(waiting, item.case_id) == ("completed", ["person:bo"])


@pytest.mark.parametrize("command", ["decide", "cancel"])
async def test_a_connection_that_breaks_before_the_answer_is_told_and_nothing_is_done_again(
    waiting: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Whether it was done is not known here: to do it again might be to do it twice."""
    async with working(waiting) as plane:
        await plane.ready()
        item = await only_approval(plane)

        async def cut(**given: Any) -> None:
            assert plane._commands is not None
            for writer in plane._commands._open:
                writer.close()

        assert plane._commands is not None
        monkeypatch.setitem(plane._commands._handlers, command, cut)
        with pytest.raises(errors.Unreachable, match="closed the connection"):
            await change(waiting, command, item_id=item.id, **APPROVE)
        assert (await plane.inbox.get(item.id)).open
