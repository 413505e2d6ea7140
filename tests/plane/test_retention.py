"""Erasing what cases hold of people, and archiving, through the plane: no byte is left, and the chain stays whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import Agent, ControlPlane, Decision, Workflow, errors
from interlock.observability import archives
from interlock.storage.chain import STREAM
from interlock.storage.database import Reader, Transaction
from interlock.testing import ManualClock
from tests.graphs.office import START_TIME, State, events, office, waits_on

NAME = "Zoë Quillfeather-Øst"
OTHER = "Umberto Vandersteen"
QUOTED = 'Li "Bo" Marchetti'


def helping() -> Workflow:
    """Orders for somebody, after a question about it; a child case is given the name as well."""
    wf = Workflow("helping", State, key=lambda value: value["note"])

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        facts = await call.context("who greases the pump", k=1)
        po = await call("erp.create_po", {"supplier": state["note"], "total": state.get("total", 100)})
        return {"po": po, "log": [f"for {state['note']}", *(fact.text for fact in facts)]}

    @wf.task(skill="telling")
    async def tell(state: Any, call: Any) -> dict[str, Any]:
        await call.start("telling", {"note": state["note"]}, wait=True)
        return {"left": f"told {state['note']}"}

    return wf.flow(START, order, tell, END)


def telling() -> Workflow:
    wf = Workflow("telling", State)

    @wf.task(skill="telling")
    async def tell(state: Any, call: Any) -> dict[str, Any]:
        return {"right": f"dear {state['note']}"}

    return wf.flow(START, tell, END)


@asynccontextmanager
async def opened(home: Path, clock: ManualClock, **settings: Any) -> AsyncIterator[ControlPlane]:
    url, chosen = f"sqlite:///{home}/interlock.db", {"retention_days": 0, "seal_seconds": 3600, **settings}
    async with office(helping(), telling(), url=url, clock=clock, settings=chosen) as plane:
        yield plane


async def helped(plane: ControlPlane, name: str, total: int = 300_000) -> str:
    """A case of a person that was asked about, approved with a comment, and ended."""
    case = await plane.start("helping", {"note": name, "total": total}, requester="person:ana")
    case = await plane.wait(case.id)
    if any(one.kind == "approval" for one in case.waiting_for):
        await plane.inbox.decide(waits_on(case), Decision.approve(), by="person:bo", comment=f"{name} may")
    case = await plane.wait(case.id, until="ended")
    assert case.status == "completed", case
    return case.id


def found(home: Path, text: str) -> list[str]:
    """The files that hold a text anywhere."""
    return [str(file) for file in home.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


async def test_no_byte_of_an_erased_case_is_left(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(START_TIME)) as plane:
        erased, kept = await helped(plane, NAME), await helped(plane, OTHER)
        assert found(tmp_path, NAME)
        gone = await plane.retention.erase([erased], by="person:op", why="asked to be forgotten")
        assert len(gone.cases) == 2  # with the case that it started
        assert gone.payloads > 10
        assert found(tmp_path, NAME) == []
        assert found(tmp_path, OTHER)
        assert (await plane.ledger.verify()).ok
        case = await plane.case(erased)
        assert (case.status, case.input, case.values, case.workflow) == ("completed", None, None, "helping")
        assert (await plane.case(kept)).values["left"] == f"told {OTHER}"
        (told,) = await events(plane, erased, "payload.erased")
        assert (told["actor"], told["data"]["why"]) == ("person:op", "asked to be forgotten")
        assert [item.action for item in (await plane.inbox.list(case_id=erased, status=None)).items] == [{}]
        again = await plane.retention.erase([erased], by="person:op", why="once more")
        assert again.payloads == 0
    assert found(tmp_path, NAME) == []


async def test_an_erased_case_is_still_known_by_its_key(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(START_TIME)) as plane:
        erased = await helped(plane, NAME)
        await plane.retention.erase([erased], by="person:op", why="asked")
        with pytest.raises(errors.Conflict, match="another input"):
            await plane.start("helping", {"note": NAME, "total": 300_000}, requester="person:ana")
        with pytest.raises(errors.Conflict, match="was erased"):
            await plane.fork(erased, by="person:ana")
        assert (await plane.metrics.summary())["cases"]["started"] >= 0
        assert (await plane.cases()).items


@pytest.mark.parametrize("name", [NAME, QUOTED])
async def test_a_subject_is_found_wherever_the_name_stands(tmp_path: Path, name: str) -> None:
    clock = ManualClock(START_TIME)
    async with opened(tmp_path, clock) as plane:
        one, other = await helped(plane, f"{name} (a)"), await helped(plane, f"for {name}", total=100)
        await helped(plane, OTHER)
        gone = await plane.retention.erase(subject=name, by="person:op", why="asked")
        assert {one, other} < set(gone.cases)
        assert len(gone.cases) == 4
        assert (await plane.retention.erase(subject=name, by="person:op", why="asked")).cases == []
    assert found(tmp_path, name) == found(tmp_path, name.replace('"', '\\"')) == []
    assert found(tmp_path, OTHER)


async def test_sums_of_past_periods_forget_whom_a_case_paid(tmp_path: Path) -> None:
    """Those of periods that are not over still limit."""
    async with opened(tmp_path, ManualClock(START_TIME)) as plane:
        case_id = await helped(plane, OTHER)
        mine, other = f"counterparty/person:ana/{NAME}", f"counterparty/person:ana/{OTHER}"
        add = "INSERT INTO limits (tenant, bucket, period, currency, settled) VALUES ('default', ?, ?, 'EUR', 1)"
        count = (
            "INSERT INTO reservations (tenant, effect_key, bucket, period, currency) SELECT tenant, effect_key, ?, ?,"
            " 'EUR' FROM effects WHERE case_id = ?"
        )

        def paid(tx: Transaction) -> None:
            for period in ("2026-02", "2026-03", "2026-W09", "2026-03-02"):
                for bucket in (mine, other):
                    tx.execute(add, (bucket, period))
                tx.execute(count, (mine, period, case_id))

        def left(tx: Reader) -> list[tuple[Any, ...]]:
            sums = tx.values("SELECT period FROM limits WHERE bucket = ? ORDER BY period", (mine,))
            others = tx.values("SELECT count(*) FROM limits WHERE bucket = ?", (other,))
            return [*sums, *others, *tx.values("SELECT count(*) FROM reservations WHERE bucket = ?", (mine,))]

        await plane.services.db.commit(paid)
        await plane.retention.erase([case_id], by="person:op", why="asked")
        assert await plane.services.db.read(left) == [("2026-03",), ("2026-03-02",), (4,), (0,)]


async def archived(home: Path, clock: ManualClock, *names: str) -> list[str]:
    """Cases of people, closed, sealed and archived."""
    async with opened(home, clock) as plane:
        ids = [await helped(plane, name) for name in names]
        await clock.advance(timedelta(days=400))
    async with opened(home, clock) as plane:
        await clock.advance(timedelta(days=1))
        moved = await plane.retention.archive(by="person:op")
        assert (len(moved.files), moved.kept) == (1, 0)
        assert (await plane.ledger.verify()).ok
    return ids


async def test_archives_forget_as_well(tmp_path: Path) -> None:
    clock = ManualClock(START_TIME)
    erased, kept = await archived(tmp_path, clock, NAME, OTHER)
    async with opened(tmp_path, clock) as plane:
        assert await events(plane, kept) == []
        gone = await plane.retention.erase(subject=NAME, by="person:op", why="asked")
        assert erased in gone.cases
        assert gone.payloads > 10
        report = await plane.ledger.verify()
        assert report.ok, report
        assert len(await events(plane, None, "payload.erased")) == len(gone.cases)
        assert len(list((tmp_path / "archives").iterdir())) == 1
    assert found(tmp_path, NAME) == []
    assert any("archives" in file for file in found(tmp_path, OTHER))


async def test_an_erasure_that_was_interrupted_is_done_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new archive is there and the old one too: whether the commit came or not, the next run leaves one."""
    clock = ManualClock(START_TIME)
    (erased,) = await archived(tmp_path, clock, NAME)
    async with opened(tmp_path, clock) as plane:
        tidy = archives.tidy
        for turns in (1, 2):  # before the commit, after it
            calls = iter(range(10))

            def failing(*given: Any, calls: Any = calls, turns: int = turns) -> None:
                if next(calls) == turns - 1:
                    raise OSError("pulled the plug")
                tidy(*given)

            monkeypatch.setattr(archives, "tidy", failing)
            with pytest.raises(OSError, match="plug"):
                await plane.retention.erase([erased], by="person:op", why="asked")
            assert (await plane.ledger.verify()).ok
        monkeypatch.setattr(archives, "tidy", tidy)
        await plane.retention.erase([erased], by="person:op", why="asked")
        assert (await plane.ledger.verify()).ok
        left = await plane.services.db.read(lambda tx: archives.listed(tx, STREAM))
        assert [file.name for file in (tmp_path / "archives").iterdir()] == [one.file for one in left]
    assert found(tmp_path, NAME) == []


async def test_an_open_case_is_not_erased_and_none_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(START_TIME)) as plane:
        ended = await helped(plane, f"{NAME} a")
        waiting = await plane.start("helping", {"note": f"{NAME} b", "total": 300_000}, requester="person:ana")
        await plane.wait(waiting.id)
        each: list[dict[str, Any]] = [{"case_ids": [ended, waiting.id]}, {"subject": NAME}]
        for wanted in each:
            with pytest.raises(errors.Conflict, match=f"{waiting.id} has not ended"):
                await plane.retention.erase(**wanted, by="person:op", why="asked")
        assert (await plane.case(ended)).input["note"] == f"{NAME} a"
        assert await events(plane, None, "payload.erased") == []


async def test_a_case_under_a_legal_hold_is_not_erased(tmp_path: Path) -> None:
    clock = ManualClock(START_TIME)
    async with opened(tmp_path, clock) as plane:
        held = await helped(plane, NAME)
    async with opened(tmp_path, clock, legal_holds=[held]) as plane:
        with pytest.raises(errors.Conflict, match="is held"):
            await plane.retention.erase(subject=NAME, by="person:op", why="asked")
        assert (await plane.case(held)).input["note"] == NAME


async def test_what_an_erasure_needs(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(START_TIME)) as plane:
        plane.register_actor(Agent("robot"))
        erase, op = plane.retention.erase, {"by": "person:op", "why": "asked"}
        for wanted in ({}, {"case_ids": ["x"], "subject": "y"}, {"subject": ""}, {"case_ids": "x"}):
            with pytest.raises(errors.InputError, match="say what to erase"):
                await erase(**wanted, **op)
        with pytest.raises(errors.InputError, match="needs a reason"):
            await erase(["x"], by="person:op", why=" ")
        with pytest.raises(errors.NotAuthorized, match="no person"):
            await erase(["x"], by="agent:robot", why="asked")
        for case_id in ("no such case", "", "%"):
            with pytest.raises(errors.NotFound):
                await erase([case_id], by="person:op", why="asked")
        with pytest.raises(errors.NotFound):
            await erase(["x"], by="person:nobody", why="asked")


async def test_another_tenant_is_not_reached(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(START_TIME)) as plane:
        case = await plane.start("telling", {"note": NAME}, requester="person:ana", tenant="acme")
        await plane.wait(case.id)
        with pytest.raises(errors.NotFound):
            await plane.retention.erase([case.id], by="person:op", why="asked")
        assert (await plane.retention.erase(subject=NAME, by="person:op", why="asked")).cases == []
        assert (await plane.case(case.id)).input["note"] == NAME


async def test_erasing_beside_running_cases(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock(START_TIME)) as plane:
        first = await helped(plane, NAME)
        running = [asyncio.ensure_future(helped(plane, f"{OTHER} {n}")) for n in range(8)]
        await plane.retention.erase([first], by="person:op", why="asked")
        await asyncio.gather(*running)
        assert (await plane.ledger.verify()).ok
    assert found(tmp_path, NAME) == []


async def test_young_events_are_not_archived(tmp_path: Path) -> None:
    clock = ManualClock(START_TIME)
    async with opened(tmp_path, clock, retention_days=183) as plane:
        await helped(plane, NAME)
        await clock.advance(timedelta(days=100))
        with pytest.raises(errors.InputError, match="last 183 days"):
            await plane.retention.archive(clock.now() - timedelta(days=182), by="person:op")
        with pytest.raises(errors.NotFound):
            await plane.retention.archive(by="person:nobody")
        assert (await plane.retention.archive(by="person:op")).files == []


async def test_documents_leave_no_text_behind(tmp_path: Path) -> None:
    clock, note = ManualClock(START_TIME), {"id": "a", "title": "Note", "text": f"{NAME} greases the pump."}
    async with opened(tmp_path, clock) as plane:
        await plane.context.ingest("notes", [note, {**note, "id": "b", "text": f"{OTHER} paints it."}])
        case = await helped(plane, "somebody")
        assert NAME in str((await plane.case(case)).values)
        assert await plane.context.erase("notes", ["a"]) == 1
        await plane.retention.erase(subject=NAME, by="person:op", why="asked")
        (fact,) = await plane.context.query("who paints the pump", k=5)
        assert OTHER in fact.text
    assert found(tmp_path, NAME) == []
    async with opened(tmp_path, clock) as plane:
        (fact,) = await plane.context.query("who paints the pump", k=5)
        assert OTHER in fact.text
