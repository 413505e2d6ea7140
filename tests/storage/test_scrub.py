"""Writing a database anew: no byte of what was deleted stays, and whoever cannot do it says so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from interlock import errors
from interlock.storage.connections import open_writer
from interlock.storage.database import Database
from interlock.storage.scrub import scrub, scrub_file


def planted(path: Path) -> None:
    with closing(open_writer(path)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")  # as most builds have it
        connection.execute("CREATE TABLE notes (text)")
        connection.executemany("INSERT INTO notes VALUES (?)", [("planted " * 100,), ("kept",)])
        connection.execute("DELETE FROM notes WHERE text LIKE 'planted%'")


def test_nothing_deleted_stays(tmp_path: Path) -> None:
    planted(path := tmp_path / "a.db")
    assert b"planted" in path.read_bytes()
    scrub_file(path, ["INSERT INTO notes VALUES ('and')"])
    assert b"planted" not in path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("kept",), ("and",)]


def test_a_reader_of_the_log_keeps_it(tmp_path: Path) -> None:
    planted(path := tmp_path / "a.db")
    with closing(open_writer(path, busy_s=0.1)) as writer, closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM notes").fetchall()
        with pytest.raises(errors.DatabaseLocked, match="reads the log"):
            scrub(writer)
        reader.rollback()
        scrub(writer)


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (path := tmp_path / "a.db").write_bytes(b"no database" * 500)
    with pytest.raises(errors.StorageError):
        scrub_file(path, [])


async def test_a_failure_reaches_its_caller_and_the_next_unit_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    db = await Database.open(f"sqlite:///{tmp_path / 'a.db'}")
    with monkeypatch.context() as patch:
        patch.setattr("interlock.storage.database.scrub", full)
        with pytest.raises(errors.StorageError):
            await db.scrub()
    await db.commit(lambda tx: tx.execute("INSERT INTO switches (tenant, target) VALUES ('t', 'all')"))
    await db.scrub()
    await db.close()
