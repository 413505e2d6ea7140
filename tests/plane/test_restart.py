"""One engine per home, commands from other processes, and what is left after a process was killed in the middle."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interlock import ControlPlane, Decision, Person, errors
from interlock.graphs.commands import commands
from interlock.graphs.engine.lock import Address, EngineLock
from interlock.graphs.engine.remote import send
from tests.graphs.office import POLICY, Erp, buying, fill, office, waits_on
from tests.plane import robot

ROOT = Path(__file__).parents[2]
CASES = 12


def started(home: Path) -> subprocess.Popen[str]:
    """The robot, once its cases are durable."""
    command = [sys.executable, "-m", "tests.plane.robot", str(home), str(CASES)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n", process.communicate()[1]
    return process


async def end_state(home: Path) -> tuple[list[tuple[str, object]], list[str]]:
    """What a run leaves: results by note, and what the ERP has been told."""
    plane = await robot.opened(home)
    page = await plane.cases(limit=1000)
    cases = await plane.wait_all([case.id for case in page.items], timeout=60)
    verified = await plane.ledger.verify()
    async for event in plane.ledger.export():
        assert event["type"] != "case.failed", event
    await plane.close()
    assert verified.ok, verified.why
    told = sorted(line.split(" ", 1)[1] for line in robot.FileErp(home).lines())
    return [(case.input["note"], case.values["log"]) for case in cases], told


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_kill_in_the_middle_leaves_the_same_end(tmp_path: Path, seed: int) -> None:
    process = started(tmp_path)
    time.sleep(random.Random(seed).uniform(0.0, 0.25))
    process.kill()
    process.communicate()
    results, told = await end_state(tmp_path)
    notes = [f"n{number:03}" for number in range(CASES)]
    assert results == [(note, [f"PO left-{note}", f"PO right-{note}"]) for note in notes]
    assert told == sorted([f"left-{note} 1" for note in notes] + [f"right-{note} 2" for note in notes])


async def test_two_engines_do_not_share_a_home(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(buying(), url=url):
        with pytest.raises(errors.DatabaseLocked, match="another engine"):
            await ControlPlane.open(url)
    plane = await ControlPlane.open(url)
    await plane.close()
    await plane.close()


async def test_a_second_process_reads_beside_the_engine(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    with pytest.raises(errors.NotFound):
        await ControlPlane.open(url, read_only=True)
    async with office(buying(), url=url) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        async with ControlPlane.open(url, read_only=True) as reader:
            assert (await reader.case(case.id)).status == "waiting"
            assert len((await reader.inbox.list()).items) == 1
            assert (await reader.wait(case.id)).status == "waiting"
            assert (await reader.metrics.summary()).cases.waiting == 1
            assert (await reader.ledger.verify()).ok
            reader.register_actor(Person("op"))
            with pytest.raises(errors.StorageError, match="read-only"):
                await reader.switch("all", "off", by="person:op")


DECIDE = """
import asyncio, sys
from pathlib import Path
from interlock.graphs.engine.lock import EngineLock
from interlock.graphs.engine.remote import send
async def main():
    address = EngineLock(Path(sys.argv[1])).holder()
    await send(address, "decide", item_id=sys.argv[2], decision={"kind": "approve"}, by="person:bo")
    print((await send(address, "wait", case_id=sys.argv[3], until="ended", timeout=30))["status"])
asyncio.run(main())
"""


async def test_an_approval_from_a_second_process_while_the_first_waits(tmp_path: Path) -> None:
    erp = Erp()
    async with office(buying(), url=f"sqlite:///{tmp_path / 'interlock.db'}", erp=erp) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        case = await plane.wait(case.id, timeout=30)
        waiting = asyncio.create_task(plane.wait(case.id, until="ended", timeout=60))
        command = [sys.executable, "-c", DECIDE, str(tmp_path), waits_on(case), case.id]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert out.decode().strip() == "completed"
        assert (await waiting).values["po"] == "PO-1"


async def test_commands_need_the_token_and_say_what_is_wrong(tmp_path: Path) -> None:
    async with office(buying(), url=f"sqlite:///{tmp_path / 'interlock.db'}") as plane:
        await plane.ready()
        file = tmp_path / "engine.json"
        assert file.stat().st_mode & 0o777 == 0o600
        address = EngineLock(tmp_path).holder()
        assert address is not None
        forged = Address(address.host, address.port, "forged", address.pid)
        with pytest.raises(errors.NotAuthorized, match="token"):
            await send(forged, "switch", target="all", state="off", by="person:op")
        with pytest.raises(errors.InputError, match="no command"):
            await send(address, "format_disk")
        with pytest.raises(errors.InputError, match="not understood"):
            await send(address, "switch", colour="red")
        with pytest.raises(errors.NotFound):
            await send(address, "cancel", case_id="nothing", by="person:op")
        with pytest.raises(errors.InputError, match="no decision"):
            await send(address, "decide", item_id="x", decision={"kind": "perhaps"}, by="person:op")
        assert await send(address, "switch", target="all", state="drain", by="person:op") == {
            "target": "all",
            "state": "drain",
            "cases": [],
        }
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"no json\n")
        await writer.drain()
        assert b"not understood" in await reader.readline()
        writer.close()
    assert not file.exists()
    assert EngineLock(tmp_path).holder() is None
    with pytest.raises(errors.Unreachable):
        await send(address, "wait", case_id="x")


async def test_every_command_is_handled_or_refused() -> None:
    async with office(buying()) as plane:
        known = commands(plane)
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        settled = await known["wait"](case_id=case.id, timeout=30)
        item = settled["waiting_for"][0]["item"]
        assert (await known["claim"](item_id=item, by="person:bo"))["claimed_by"] == "person:bo"
        assert (await known["pause"](case_id=case.id, by="person:op"))["status"] == "waiting"
        assert (await known["resume"](case_id=case.id, by="person:op"))["status"] == "waiting"
        fork = await known["fork"](case_id=case.id, by="person:op")
        assert fork["parent"] == case.id
        assert (await known["cancel"](case_id=fork["id"], by="person:op"))["status"] == "cancelled"
        with pytest.raises(errors.InputError):
            await known["complete"](item_id=item, output={}, by="person:bo")
        decided = await known["decide"](item_id=item, decision={"kind": "reject", "why": "no"}, by="person:bo")
        assert decided["decision"]["kind"] == "reject"


async def test_an_unanswered_case_is_found_and_answered_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(buying(), url=url) as plane:
        case = await plane.start("buying", {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
    erp = Erp()
    async with ControlPlane.open(url, policies={"office.cedar": POLICY}) as plane:
        fill(plane, erp)
        plane.register(buying())
        (item,) = (await plane.approvals.list()).items
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
        assert (await plane.wait(case.id, until="ended", timeout=30)).values["po"] == "PO-1"
        assert len(erp.orders) == 1


async def test_cases_that_were_queued_are_taken_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    async with office(buying(), url=url) as plane:
        await plane.ready()
        plane._engine._open = False
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
    async with office(buying(), url=url) as plane:
        assert (await plane.case(case.id)).status == "queued"
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"
