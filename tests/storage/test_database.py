"""Opening and closing: URLs, scratch databases, read-only use, what is no database, what may not be written."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from interlock import errors
from interlock.storage.database import Database, Transaction
from interlock.storage.integrity import damage
from interlock.storage.migrations import HEAD
from tests.storage.units import big_rows, put, targets


async def test_what_was_committed_is_there_after_reopening(path: Path) -> None:
    db = await Database.open(f"sqlite:///{path}")
    assert db.path == path
    await db.commit(put("kept"))
    await db.close()
    again = await Database.open(f"sqlite:///{path}")
    assert await again.read(targets) == ["kept"]
    await again.close()


async def test_commits_survive_a_power_cut(filed: Database) -> None:
    def pragmas(tx: Transaction) -> list[object]:
        names = ("journal_mode", "synchronous")
        return [value for name in names for row in tx.rows(f"PRAGMA {name}") for value in row]

    assert await filed.commit(pragmas) == ["wal", 2]


async def test_a_database_in_memory_is_private_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, two = await Database.open(":memory:"), await Database.open(":memory:")
    await one.commit(put("mine"))
    assert await two.read(targets) == []
    assert one.path is None
    assert list(tmp_path.iterdir())
    await one.close()
    await two.close()
    assert not list(tmp_path.iterdir())


async def test_a_scratch_database_that_fails_to_open_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_schema(_: object) -> None:
        raise sqlite3.OperationalError("no")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("interlock.storage.database.upgrade", no_schema)
    with pytest.raises(errors.StorageError):
        await Database.open(":memory:")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["with space", "ünï↯cødé", "per%20cent", "que?ry=1&mode=memory", "ha#sh", "quo'te"])
async def test_any_file_name_is_a_file_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "x.db"
    for _ in range(2):
        db = await Database.open(f"sqlite:///{path}")
        await db.commit(put("kept"))
        assert await db.read(targets) == ["kept"]
        await db.close()
    assert [one.name for one in tmp_path.rglob("*")] == [name, "x.db"]


async def test_a_relative_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    db = await Database.open("sqlite:///.interlock/interlock.db")
    await db.close()
    assert (tmp_path / ".interlock" / "interlock.db").is_file()


@pytest.mark.parametrize(
    "url", ["", "sqlite:///", "sqlite://", "/some/path.db", "postgresql://localhost/x", "SQLITE:///x", "sqlite:///a\0b"]
)
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="no database URL") as caught:
        await Database.open(url)
    assert ":memory:" in caught.value.hint


# read-only


async def test_a_reader_sees_what_a_living_writer_commits(filed: Database, path: Path) -> None:
    reader = await Database.open(f"sqlite:///{path}", read_only=True)
    for n in range(3):
        await filed.commit(put(f"t{n}"))
        assert len(await reader.read(targets)) == n + 1
    assert reader.units == reader.commits == 0
    with pytest.raises(errors.StorageError, match="read-only"):
        await reader.commit(put("no"))
    with pytest.raises(errors.StorageError, match="read-only"):
        reader.commit_sync(put("no"))
    await reader.close()
    assert await filed.commit(put("still writing")) == "still writing"


async def test_reading_what_is_not_there_makes_nothing(path: Path) -> None:
    with pytest.raises(errors.NotFound) as caught:
        await Database.open(f"sqlite:///{path}", read_only=True)
    assert caught.value.hint
    assert not path.parent.exists()


async def test_a_reader_does_not_migrate(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(errors.StorageError, match="no schema of this version"):
        await Database.open(f"sqlite:///{path}", read_only=True)
    assert path.stat().st_size == 0


# what is no database


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all" * 10)


def replaced(path: Path) -> None:
    path.write_text("once upon a time " * 500)


def cut_off(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def noise(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("spoil", [overwritten, replaced, cut_off, noise])
async def test_a_corrupt_file_is_a_clear_error_and_stays_as_it_is(
    path: Path, spoil: Callable[[Path], None], read_only: bool
) -> None:
    db = await Database.open(f"sqlite:///{path}")
    await db.commit(big_rows(300))
    await db.close()
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(errors.DatabaseCorrupt) as caught:
        opened = await Database.open(f"sqlite:///{path}", read_only=read_only)
        try:
            await opened.read(lambda reader: reader.rows("SELECT target, comment FROM switches"))
        finally:
            await opened.close()
    assert caught.value.hint
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("spoil", [overwritten, replaced, cut_off, noise])
async def test_damage_is_found_without_a_change(path: Path, spoil: Callable[[Path], None]) -> None:
    db = await Database.open(f"sqlite:///{path}")
    await db.commit(big_rows(300))
    assert damage(path) == []
    await db.close()
    assert damage(path) == []
    spoil(path)
    before = path.read_bytes()
    assert 0 < len(damage(path)) <= 20
    assert path.read_bytes() == before


def test_a_file_that_is_not_there_is_no_sound_database(path: Path) -> None:
    assert damage(path)
    assert not path.exists()


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    for read_only in (False, True):
        with pytest.raises(errors.ConfigurationError, match="is a folder"):
            await Database.open(f"sqlite:///{tmp_path}", read_only=read_only)


async def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(errors.DiskFull, match="cannot be opened") as caught:
        await Database.open(f"sqlite:///{tmp_path}/home/interlock.db")
    assert "permissions" in caught.value.hint


# what may not be written


@contextmanager
def folder(mode: int) -> Iterator[Path]:
    """A folder in which this process has no more rights than `mode` gives anybody."""
    with tempfile.TemporaryDirectory() as name:
        home, user = Path(name), os.geteuid()
        home.chmod(0o755)
        with closing(sqlite3.connect(home / "other.db")) as made:
            made.execute("CREATE TABLE t (x)")
        home.chmod(mode)
        if user == 0:
            os.seteuid(65534)
        try:
            yield home
        finally:
            os.seteuid(user)
            home.chmod(0o755)


async def test_a_read_only_folder_is_a_clear_error() -> None:
    with folder(0o555) as home:
        for name in ("new.db", "other.db", "below/new.db"):
            with pytest.raises(errors.DiskFull) as caught:
                await Database.open(f"sqlite:///{home / name}")
            assert "permissions" in caught.value.hint
        assert [one.name for one in home.iterdir()] == ["other.db"]


async def test_a_folder_that_may_not_be_entered_is_a_clear_error() -> None:
    with folder(0o000) as home:
        for read_only in (False, True):
            with pytest.raises(errors.DiskFull):
                await Database.open(f"sqlite:///{home}/other.db", read_only=read_only)


async def test_a_read_only_file_is_a_clear_error_when_it_is_written(path: Path) -> None:
    db = await Database.open(f"sqlite:///{path}")
    await db.close()
    content = path.read_bytes()
    with folder(0o777) as home:
        target = home / "interlock.db"
        target.write_bytes(content)
        target.chmod(0o444)
        db = await Database.open(f"sqlite:///{target}")
        with pytest.raises(errors.DiskFull, match="readonly"):
            await db.commit(put("no"))
        assert await db.read(targets) == []
        await db.close()


# closing


async def test_a_cancelled_close_still_closes(path: Path) -> None:
    db = await Database.open(f"sqlite:///{path}")
    await db.commit(put("kept"))
    closing_ = asyncio.ensure_future(db.close())
    await asyncio.sleep(0)
    closing_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing_
    await db.close()
    assert not path.with_name("interlock.db-wal").exists()
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)


async def test_close_lets_running_queries_end(db: Database) -> None:
    def slow(reader: object) -> str:
        started.set()
        assert go.wait(30)
        return "whole"

    started, go = threading.Event(), threading.Event()
    running = asyncio.ensure_future(db.read(slow))
    await asyncio.to_thread(started.wait, 30)
    closing_ = asyncio.ensure_future(db.close())
    await asyncio.sleep(0)
    go.set()
    await closing_
    assert await running == "whole"


def test_scripts_without_a_loop_can_close(path: Path) -> None:
    db = asyncio.run(Database.open(f"sqlite:///{path}"))
    db.commit_sync(put("from a script"))
    assert db.read_sync(targets) == ["from a script"]
    db.close_sync()
    db.close_sync()
