"""Schema and migrations agree; upgrading is safe twice, at once, and with what belongs to somebody else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from langgraph.checkpoint.sqlite import SqliteSaver
from sqlalchemy.exc import DBAPIError

from interlock import errors
from interlock.storage import migrate
from interlock.storage.connections import open_writer
from interlock.storage.database import Database
from interlock.storage.migrate import at_head, upgrade
from interlock.storage.migrations import HEAD
from interlock.storage.schema import metadata
from tests.storage.units import put, targets


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """A database made by the migrations alone."""
    path = tmp_path / "migrated.db"
    upgrade(lambda: open_writer(path))
    made = sa.create_engine(f"sqlite:///{path}")
    yield made
    made.dispose()


def test_the_migrations_make_what_the_schema_says(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_make_it_to_the_letter(engine: sa.Engine) -> None:
    """Keys, defaults and the order of columns, which autogenerate does not compare."""
    fresh = sa.create_engine("sqlite://")
    metadata.create_all(fresh)
    made, migrated = statements(fresh), statements(engine)
    fresh.dispose()
    migrated.pop("alembic_version")
    assert migrated == made


def statements(engine: sa.Engine) -> dict[str, str]:
    sql = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    with engine.connect() as connection:
        return {name: " ".join(text.split()) for name, text in connection.execute(sa.text(sql))}


def test_every_table_has_a_tenant_and_every_unique_index_begins_with_it(tmp_path: Path) -> None:
    """Asked of SQLite itself, so that no table and no index can be overlooked."""
    with closing(open_writer(tmp_path / "x.db")) as connection:
        upgrade(lambda: open_writer(tmp_path / "x.db"))
        tables = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables.remove("alembic_version")
        assert len(tables) == len(metadata.tables) > 15
        for table in tables:
            columns = {row["name"]: row for row in connection.execute(f"PRAGMA table_info({table})")}
            assert columns["tenant"]["notnull"] == 1
            unique = [row["name"] for row in connection.execute(f"PRAGMA index_list({table})") if row["unique"]]
            assert unique
            for index in unique:
                assert connection.execute(f"PRAGMA index_info({index})").fetchone()["name"] == "tenant", index


def test_the_newest_migration_is_the_head_and_the_line_does_not_fork() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_downgrade_leaves_nothing(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(sa.inspect(engine).get_table_names()) == {"alembic_version"}


async def test_upgrading_again_changes_nothing(path: Path) -> None:
    for n in range(3):
        db = await Database.open(f"sqlite:///{path}")
        await db.commit(put(f"t{n}"))
        await db.close()
    upgrade(lambda: open_writer(path))
    db = await Database.open(f"sqlite:///{path}", read_only=True)
    assert await db.read(targets) == ["t0", "t1", "t2"]
    await db.close()


_OPEN = """
import asyncio, sys
from interlock.storage.database import Database

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    db = await Database.open(sys.argv[1], busy_s=60)
    await db.commit(lambda tx: tx.execute("INSERT INTO switches (tenant, target) VALUES ('t', ?)", (sys.argv[2],)))
    await db.close()

asyncio.run(main())
"""


async def test_processes_may_open_a_new_database_at_once(path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN, f"sqlite:///{path}", str(n)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in started:
        _, complaint = one.communicate(timeout=100)
        assert (one.returncode, complaint) == (0, "")
    db = await Database.open(f"sqlite:///{path}", read_only=True)
    assert sorted(await db.read(targets)) == ["0", "1", "2"]
    await db.close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_newer_database_is_refused_and_left_alone(path: Path, read_only: bool) -> None:
    db = await Database.open(f"sqlite:///{path}")
    await db.commit(put("kept"))
    await db.commit(lambda tx: tx.execute("UPDATE alembic_version SET version_num = '9999'"))
    await db.close()
    before = path.read_bytes()
    with pytest.raises(errors.StorageError, match="schema") as caught:
        await Database.open(f"sqlite:///{path}", read_only=read_only)
    assert "upgrade interlock" in caught.value.hint
    assert path.read_bytes() == before


async def test_a_database_of_the_stock_saver_is_refused_and_left_alone(path: Path) -> None:
    """Its tables have our names and other keys: they are not taken over."""
    path.parent.mkdir()
    with SqliteSaver.from_conn_string(str(path)) as stock:
        stock.setup()
    with pytest.raises(errors.StorageError, match="already exists"):
        await Database.open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as plain:
        tables = {row[0] for row in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"checkpoints", "writes"}


async def test_a_locked_new_database_is_refused_with_the_reason(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.DatabaseLocked):
            await Database.open(f"sqlite:///{path}", busy_s=0.05)
        other.execute("ROLLBACK")
    db = await Database.open(f"sqlite:///{path}")
    await db.close()


def test_an_error_of_the_database_layer_without_a_driver_error_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DBAPIError("statement", {}, ValueError("odd"))

    monkeypatch.setattr(command, "upgrade", refuse)
    with pytest.raises(DBAPIError):
        upgrade(lambda: sqlite3.connect(":memory:", isolation_level=None))


def test_an_empty_database_is_not_at_the_head() -> None:
    with closing(sqlite3.connect(":memory:")) as empty:
        assert not at_head(empty)
        empty.execute("CREATE TABLE alembic_version (version_num)")
        assert not at_head(empty)
        empty.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
        assert at_head(empty)
        empty.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
        assert not at_head(empty)
