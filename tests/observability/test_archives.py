"""Archives: what moves, what stays, what proves it, and that nothing is lost where a run is interrupted."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from interlock import errors
from interlock.observability import archives, archiving, verification
from interlock.observability.archives import Archive
from interlock.observability.archiving import Archived, archive
from interlock.observability.ledger import Ledger
from interlock.observability.seal import Proof
from interlock.observability.verify import check_files
from interlock.observability.walk import read_on
from interlock.storage.chain import STREAM
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.observability.sealed import START, change, copied, export, fill, make, sealer_of, verified

EVENTS = 6 * 21 + 1
LATER = START + timedelta(days=1)


async def moved(home: Path, before: Any = LATER) -> Archived:
    db = await Database.open(f"sqlite:///{home}/interlock.db")
    try:
        ledger, sealer = sealer_of(db, home)
        found = await archive(db, ledger, before, tenant="default", by="person:ana")
        await sealer.close()
        return found
    finally:
        await db.close()


def files(home: Path) -> list[Path]:
    return sorted(Proof(home).archives.iterdir())


def case(home: Path, case_id: str, ended_at: str | None) -> None:
    sql = "INSERT OR REPLACE INTO cases (tenant, case_id, status, ended_at) VALUES ('default', ?, 'any', ?)"
    change(home, lambda other: other.execute(sql, (case_id, ended_at)))


async def whole(home: Path) -> list[int]:
    """The numbers of all events: of the archives that the database knows, then of what is left."""
    db = await Database.open(f"sqlite:///{home}/interlock.db", read_only=True)
    try:
        known = await db.read(lambda reader: archives.listed(reader, STREAM))
    finally:
        await db.close()
    kept = [orjson.loads(line)["seq"] for one in known for line in archives.read(Proof(home).archives, one)]
    return kept + [orjson.loads(line)["seq"] for line in await export(home)]


async def test_old_events_move_and_everything_still_verifies(tmp_path: Path) -> None:
    await make(tmp_path)
    (file,) = (await moved(tmp_path)).files
    rest = tmp_path / "rest.jsonl"
    rest.write_bytes(b"".join(line + b"\n" for line in await export(tmp_path)))
    assert await verified(tmp_path) == (True, EVENTS + 2, None, "")  # with ledger.archived and a seal
    assert await whole(tmp_path) == list(range(1, EVENTS + 3))
    keys, anchor = Proof(tmp_path).keys(), Proof(tmp_path).anchored()
    alone = Proof(tmp_path).archives / file
    assert check_files([alone, rest], keys, anchor) == (True, EVENTS + 2, EVENTS + 2, None, "")
    assert check_files([alone], keys, anchor, archive=True) == (True, EVENTS, EVENTS, None, "")
    assert check_files([rest], keys, anchor, partial=True) == (True, 2, EVENTS + 2, None, "")
    for given, how in (([alone], {}), ([rest], {}), ([rest, alone], {}), ([alone], {"partial": True})):
        assert not check_files(given, keys, anchor, **how).ok


async def test_a_second_run_begins_where_the_first_ended(tmp_path: Path) -> None:
    await make(tmp_path, rounds=2)
    await moved(tmp_path)
    await make(tmp_path, rounds=2)
    second = await moved(tmp_path)
    assert (len(files(tmp_path)), second.events) == (2, 2 + 2 * 21)
    assert (await verified(tmp_path)).ok
    assert await whole(tmp_path) == list(range(1, 89))
    assert check_files(files(tmp_path), Proof(tmp_path).keys(), Proof(tmp_path).anchored(), archive=True).ok


async def test_a_long_chain_becomes_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(tmp_path)
    monkeypatch.setattr(archiving, "_EACH", 50)
    assert [file.name[:30] for file in files_of(await moved(tmp_path), tmp_path)] == [
        "main-000000000001-000000000042", "main-000000000043-000000000085", "main-000000000086-000000000127"
    ]  # fmt: skip
    assert (await verified(tmp_path)).ok


def files_of(found: Archived, home: Path) -> list[Path]:
    return [Proof(home).archives / file for file in found.files]


async def test_young_events_stay(tmp_path: Path) -> None:
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    ledger, sealer = sealer_of(db, tmp_path)
    await fill(ledger, 10)
    await sealer._turn()
    assert isinstance(ledger.clock, ManualClock)
    await ledger.clock.advance(timedelta(days=10))
    await fill(ledger, 10)
    await sealer.close()
    await db.close()
    assert (await moved(tmp_path, START)).files == []
    assert (await moved(tmp_path, START + timedelta(days=5))).events == 11
    assert (await verified(tmp_path)).ok


async def test_rows_of_an_open_case_stay_until_it_has_ended(tmp_path: Path) -> None:
    await make(tmp_path)
    for number in range(6):
        case(tmp_path, f"c{number}", None if number == 3 else "2026-01-30T22:00:00.000000Z")
    assert (await moved(tmp_path)).kept == 20
    report = await verified(tmp_path)
    assert (report.ok, report.events) == (True, EVENTS + 2)
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db", read_only=True)
    ledger = Ledger(db, ManualClock(START))
    assert len([one async for one in ledger.export("c3")]) == 20
    assert [one async for one in ledger.export("c2")] == []
    await db.close()
    case(tmp_path, "c3", "2026-01-30T23:00:00.000000Z")
    assert (await moved(tmp_path)).kept == 0
    assert (await verified(tmp_path)).ok


async def test_only_what_the_anchor_has_moves(tmp_path: Path) -> None:
    await make(tmp_path, rounds=3)
    anchor = Proof(tmp_path).anchor
    lines = anchor.read_bytes().splitlines(keepends=True)
    anchor.write_bytes(b"".join(lines[:-1]) + lines[-1][:50])  # a crash kept the last seal from it
    assert (await moved(tmp_path)).events == 42
    assert (await verified(tmp_path)).ok


async def test_a_touched_chain_does_not_move(tmp_path: Path) -> None:
    await make(tmp_path, rounds=2)
    change(tmp_path, lambda other: other.execute("UPDATE ledger SET actor = 'person:eve' WHERE seq = 5"))
    with pytest.raises(errors.StorageError, match="event 5 cannot be archived"):
        await moved(tmp_path)
    assert files(tmp_path) == []
    assert len(await export(tmp_path)) == 42


async def test_an_erasure_meanwhile_stops_the_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(tmp_path, rounds=2)
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    ledger, sealer = sealer_of(db, tmp_path)
    written = archiving._written

    def erased(*given: Any) -> str:
        asyncio.run_coroutine_threadsafe(
            ledger.erase("default", case_id="c0", by="person:ana", why="asked"), loop
        ).result()
        return written(*given)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(archiving, "_written", erased)
    with pytest.raises(errors.Conflict, match="erased meanwhile"):
        await archive(db, ledger, LATER, tenant="default", by="person:ana")
    monkeypatch.setattr(archiving, "_written", written)
    (file,) = (await archive(db, ledger, LATER, tenant="default", by="person:ana")).files
    assert [one.name for one in files(tmp_path)] == [file]  # what the first try left is gone
    assert b"event 7" not in files(tmp_path)[0].read_bytes().partition(b'"seq":21,')[0]
    await sealer.close()
    await db.close()
    assert (await verified(tmp_path)).ok


async def test_a_ledger_in_memory_has_no_archive() -> None:
    db = await Database.open(":memory:")
    with pytest.raises(errors.InputError, match="in memory"):
        await archive(db, Ledger(db, ManualClock(START)), LATER, tenant="default", by="person:ana")
    await db.close()


async def test_rows_that_move_while_the_chain_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(tmp_path)
    times = Counter[str]()

    async def and_move(db: Database, walk: Any) -> None:
        if not times["moved"]:
            times["moved"] += 1
            await moved(tmp_path)
        await read_on(db, walk)

    monkeypatch.setattr(verification, "read_on", and_move)
    assert (await verified(tmp_path)).ok


# what is done to archives


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("archived")

    async def work() -> None:
        await make(home)
        case(home, "c3", None)
        await moved(home)
        await make(home, rounds=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archiving, "_EACH", 50)
        asyncio.run(work())
    return home


def byte(home: Path, pick: random.Random) -> None:
    file = pick.choice(files(home))
    content = bytearray(file.read_bytes())
    place = pick.randrange(len(content))
    content[place] = pick.choice([one for one in range(32, 127) if one != content[place]])
    file.write_bytes(content)


def line(home: Path, pick: random.Random) -> None:
    file = pick.choice(files(home))
    lines = file.read_bytes().splitlines(keepends=True)
    lines.pop(pick.randrange(len(lines)))
    file.write_bytes(b"".join(lines))


def twice(home: Path, pick: random.Random) -> None:
    file = pick.choice(files(home))
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines, lines[-1]]))


def gone(home: Path, pick: random.Random) -> None:
    pick.choice(files(home)).unlink()


def swapped(home: Path, pick: random.Random) -> None:
    one, two = pick.sample(files(home), 2)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def renamed(home: Path, pick: random.Random) -> None:
    """Changed, and named by its new hash, in the database too."""
    file = pick.choice(files(home))
    lines = file.read_bytes().splitlines(keepends=True)
    lines[pick.randrange(len(lines))] = lines[pick.randrange(len(lines))].replace(b"person:ana", b"person:eve")
    lines.pop(pick.randrange(len(lines)))
    name = f"{file.name[:31]}{hashlib.sha256(b''.join(lines)).hexdigest()}.jsonl"
    (file.parent / name).write_bytes(b"".join(lines))
    change(home, lambda other: other.execute("UPDATE archives SET file = ? WHERE file = ?", (name, file.name)))


def row(home: Path, pick: random.Random) -> None:
    sql = pick.choice([
        "DELETE FROM archives WHERE rowid = 1",
        "DELETE FROM archives",
        "UPDATE archives SET seq = seq + 1 WHERE rowid = 2",
        "UPDATE archives SET hash = 'x' WHERE rowid = 3",
        "UPDATE archives SET file = 'x' WHERE rowid = 1",
        "UPDATE archives SET stream = 'other' WHERE rowid = 3",
    ])  # fmt: skip
    change(home, lambda other: other.execute(sql))


def stayed(home: Path, pick: random.Random) -> None:
    sql = pick.choice([
        "UPDATE ledger SET actor = 'person:eve' WHERE seq = 70",
        "UPDATE ledger SET seq = 5 WHERE seq = 70",
        "UPDATE payloads SET data = x'7b7d' WHERE hash = (SELECT payload_hash FROM ledger WHERE seq = 70)",
        "DELETE FROM payloads WHERE hash = (SELECT payload_hash FROM ledger WHERE seq = 70)",
    ])  # fmt: skip
    change(home, lambda other: other.execute(sql))


def first(home: Path, pick: random.Random) -> None:
    change(home, lambda other: other.execute("DELETE FROM ledger WHERE seq = 128"))


def anchor(home: Path, pick: random.Random) -> None:
    file = Proof(home).anchor
    lines = file.read_bytes().splitlines(keepends=True)
    lines.pop(pick.randrange(len(lines) - 1))
    file.write_bytes(b"".join(lines))


MUTATIONS: list[Callable[[Path, random.Random], None]] = [
    byte, line, twice, gone, swapped, renamed, row, stayed, first, anchor
]  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda one: one.__name__)
async def test_what_is_done_to_archives_is_found(
    archived: Path, tmp_path: Path, mutate: Callable[[Path, random.Random], None]
) -> None:
    assert (await verified(archived)).ok
    for seed in range(8):
        home = copied(archived, tmp_path / "home")
        mutate(home, random.Random(seed))
        report = await verified(home)
        assert not report.ok, (mutate.__name__, seed)
        assert report.first_bad is not None


@pytest.mark.parametrize("content", [b"", b"[]\n", b"{}\n", b"\xff\n", b"null\n", b'{"stream": 1}\n'])
async def test_an_archive_that_is_something_else(archived: Path, tmp_path: Path, content: bytes) -> None:
    home = copied(archived, tmp_path / "home")
    files(home)[1].write_bytes(content)
    report = await verified(home)
    assert (report.ok, report.events) == (False, 42)
    assert not check_files(files(home), Proof(home).keys(), archive=True).ok


def test_a_name_says_what_a_file_holds(archived: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name of an archive"):
        check_files([tmp_path / "some.jsonl"], Proof(archived).keys(), archive=True)


# kill -9


def killed(home: Path, at: int) -> int:
    command = [sys.executable, "-m", "tests.observability.killed_archiving", str(home), str(at)]
    return subprocess.run(command, check=False, timeout=120).returncode


def counted(home: Path) -> dict[str, int]:
    with closing(sqlite3.connect(home / "interlock.db")) as other:
        return {
            table: other.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # ours
            for table in ("ledger", "payloads", "seals", "archives")
        }


@pytest.mark.parametrize("at", [2, 3, 4, 5, 6, 9, 12])
async def test_a_killed_run_loses_and_doubles_nothing(sound_home: Path, tmp_path: Path, at: int) -> None:
    home = copied(sound_home, tmp_path / "home")
    code = await asyncio.to_thread(killed, home, at)
    assert code in (0, -signal.SIGKILL)
    numbers = await whole(home)
    assert (await verified(home)).ok
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= EVENTS
    await moved(home)
    assert (await verified(home)).ok
    db = await Database.open(f"sqlite:///{home}/interlock.db", read_only=True)
    known: list[Archive] = await db.read(lambda reader: archives.listed(reader, STREAM))
    await db.close()
    assert [file.name for file in files(home)] == [one.file for one in known]
    assert counted(home)["ledger"] == counted(home)["payloads"]


@pytest.fixture(scope="module")
def sound_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sound")
    asyncio.run(make(home))
    return home
