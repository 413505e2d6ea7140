"""Full disks, locked files, broken connections: a clear error, nothing half-written, and on it goes afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from interlock import errors
from interlock.observability.verification import verify
from interlock.storage.committer import Committer
from interlock.storage.connections import open_writer
from interlock.storage.database import Database, Transaction
from interlock.storage.failures import meaning
from interlock.storage.migrate import upgrade
from tests.storage.units import claimed, event, ledger_rows, put, reclaimed, targets


async def pages(db: Database, limit: int | None) -> None:
    """Let the file have no more than `limit` pages, None for any number."""

    def unit(tx: Transaction) -> None:
        if limit is None:
            tx.row("PRAGMA max_page_count = 1073741823")
        else:
            row = tx.row("PRAGMA page_count")
            assert row is not None
            tx.row(f"PRAGMA max_page_count = {row['page_count'] + limit}")

    await db.commit(unit)


def big(name: str, kilobytes: int = 400) -> Any:
    def unit(tx: Transaction) -> str:
        tx.append(event(name=name))
        put(name, "x" * 1024 * kilobytes)(tx)
        tx.append(event(name=name, and_again=True))
        return name

    return unit


# a full disk


async def test_a_full_disk_is_a_clear_error_and_nothing_is_half_written(filed: Database) -> None:
    await filed.commit(big("before", 1))
    await pages(filed, 4)
    with pytest.raises(errors.DiskFull, match="full") as caught:
        await filed.commit(big("too much"))
    assert "free space" in caught.value.hint
    assert await filed.read(targets) == ["before"]
    assert len(await filed.read(ledger_rows)) == 2
    assert (await verify(filed)).ok


async def test_it_goes_on_after_the_disk_was_full(filed: Database) -> None:
    claim = await claimed(filed, "a")
    await pages(filed, 4)
    with pytest.raises(errors.DiskFull):
        await filed.commit(big("too much"), claim=claim)
    assert isinstance(claim.poison, errors.DiskFull)
    await pages(filed, None)
    with pytest.raises(errors.Stale, match="full"):
        await filed.commit(put("under the old claim"), claim=claim)
    await filed.commit(big("now it fits"), claim=await reclaimed(filed, claim))
    assert await filed.read(targets) == ["now it fits"]
    report = await verify(filed)
    assert (report.ok, report.events) == (True, 2)


async def test_a_batch_that_hits_the_full_disk_fails_as_a_whole_and_every_caller_hears_it(filed: Database) -> None:
    one, two, three = [await claimed(filed, case) for case in ("one", "two", "three")]
    await pages(filed, 4)
    units = ((put("small"), one), (big("too much"), two), (put("later"), three))
    waiting: list[Any] = [filed.commit(unit, claim=claim) for unit, claim in units]
    small, large, later = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(large, errors.DiskFull)
    written = await filed.read(targets)
    assert [isinstance(small, errors.DiskFull), "small" in written] in ([True, False], [False, True])
    assert [isinstance(later, errors.DiskFull), "later" in written] in ([True, False], [False, True])
    assert "too much" not in written
    for claim, result in ((one, small), (two, large), (three, later)):
        assert (claim.poison is not None) == isinstance(result, Exception)


async def test_a_unit_that_swallows_the_full_disk_writes_nothing_outside_a_transaction(filed: Database) -> None:
    await pages(filed, 4)

    def stubborn(tx: Transaction) -> None:
        with pytest.raises(sqlite3.OperationalError), tx.savepoint():
            put("too much", "x" * 400_000)(tx)
        put("half")(tx)

    with pytest.raises(errors.StorageError, match="ended by an earlier error"):
        await filed.commit(stubborn)
    with pytest.raises(errors.StorageError, match="ended by an earlier error"):
        await filed.commit(swallowing_many)
    await pages(filed, None)
    assert await filed.read(targets) == []


def swallowing_many(tx: Transaction) -> None:
    with pytest.raises(sqlite3.OperationalError):
        put("too much", "x" * 400_000)(tx)
    tx.executemany("INSERT INTO switches (tenant, target) VALUES ('t', ?)", [("half",)])


async def test_a_disk_that_is_full_at_the_commit(path: Path) -> None:
    """The statements fit, the commit does not: the transaction is still open and has to be rolled back."""
    with committer(path, fail={"COMMIT": 1}) as broken:
        with pytest.raises(errors.DiskFull):
            await broken.commit(big("lost", 1), None)
        assert await broken.commit(put("next"), None) == "next"
        assert broken.units == broken.commits == 1
    assert stored(path) == ["next"]


# a connection that fails in the worst places


class Breaking(sqlite3.Connection):
    """Fails the next statements that begin with certain words, as often as is said."""

    fail: dict[str, int] = {}

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(BreakingCursor)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        break_on(sql)
        return super().execute(sql, *args)


class BreakingCursor(sqlite3.Cursor):
    def execute(self, sql: str, *args: Any) -> BreakingCursor:
        break_on(sql)
        return super().execute(sql, *args)


def break_on(sql: str) -> None:
    for words, left in Breaking.fail.items():
        if sql.startswith(words) and left:
            Breaking.fail[words] = left - 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error


@contextmanager
def committer(path: Path, fail: dict[str, int]) -> Iterator[Committer]:
    path.parent.mkdir()
    upgrade(lambda: open_writer(path))

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Breaking)
        connection.row_factory = sqlite3.Row
        return connection

    Breaking.fail = dict(fail)
    made = Committer(connect, "the database")
    try:
        yield made
    finally:
        Breaking.fail = {}
        made.close()


def stored(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT target FROM switches")]


@pytest.mark.parametrize(
    "fail",
    [
        {"BEGIN": 1},
        {"SAVEPOINT": 1},
        {"RELEASE": 1},
        {"INSERT INTO heads": 1},
        {"COMMIT": 1, "ROLLBACK": 1},
        {"COMMIT": 1, "ROLLBACK": 2, "BEGIN": 1},
        {"INSERT INTO switches": 1, "ROLLBACK TO": 1},
    ],
)
async def test_no_caller_hangs_and_the_next_unit_is_written(path: Path, fail: dict[str, int]) -> None:
    with committer(path, fail) as broken:
        outcomes: list[Any] = []
        for n in range(6):
            async with asyncio.timeout(30):
                outcomes += await asyncio.gather(broken.commit(big(f"t{n}", 1), None), return_exceptions=True)
    assert isinstance(outcomes[0], errors.DiskFull)
    assert outcomes[-1] == "t5"
    assert all(isinstance(one, (str, errors.StorageError)) for one in outcomes)
    assert stored(path) == [one for one in outcomes if isinstance(one, str)]


# a locked file


async def test_a_locked_file_is_a_clear_error_and_it_goes_on_when_it_is_free(filed: Database, path: Path) -> None:
    claim = await claimed(filed, "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.DatabaseLocked, match="locked by another process") as caught:
            await filed.commit(big("blocked", 1), claim=claim)
        assert caught.value.hint
        assert await filed.read(targets) == []  # readers are not blocked
        other.execute("ROLLBACK")
    assert await filed.commit(put("free")) == "free"
    await filed.commit(put("a goes on"), claim=await reclaimed(filed, claim))
    assert await filed.read(targets) == ["free", "a goes on"]
    assert await filed.read(ledger_rows) == []


async def test_a_whole_batch_hears_of_the_lock(filed: Database, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        results = await asyncio.gather(*(filed.commit(put(f"t{n}")) for n in range(50)), return_exceptions=True)
    assert all(isinstance(one, errors.DatabaseLocked) for one in results)
    assert filed.units == 0


async def test_waiting_for_a_short_lock_is_enough(path: Path) -> None:
    db = await Database.open(f"sqlite:///{path}", busy_s=30)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(db.commit(put("patient")))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await asyncio.to_thread(other.execute, "COMMIT")
    assert await waiting == "patient"
    other.close()
    await db.close()


# queries


async def test_a_query_that_fails_is_said_in_our_tree_and_the_reader_lives_on(db: Database) -> None:
    for query in (
        lambda reader: reader.rows("SELECT * FROM no_such_table"),
        lambda reader: list(reader.scan("no SQL")),
        lambda reader: next(reader.scan("SELECT * FROM switches")),  # StopIteration: a future cannot carry it
    ):
        for _ in range(8):
            with pytest.raises(errors.StorageError):
                await db.read(query)
    with pytest.raises(ZeroDivisionError):
        await db.read(lambda reader: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        db.read_sync(lambda reader: 1 / 0)
    assert await db.read(targets) == []


async def test_queries_cannot_write(db: Database) -> None:
    with pytest.raises(errors.DiskFull, match="readonly"):
        await db.read(lambda reader: reader.rows("INSERT INTO switches (tenant, target) VALUES ('t', 'x')"))


async def test_a_query_sees_one_state_of_the_database(db: Database) -> None:
    loop = asyncio.get_running_loop()

    def twice(reader: Any) -> tuple[list[str], list[str]]:
        first = targets(reader)
        asyncio.run_coroutine_threadsafe(db.commit(put("meanwhile")), loop).result(30)
        return first, targets(reader)

    assert await db.read(twice) == ([], [])
    assert await db.read(targets) == ["meanwhile"]


async def test_a_read_transaction_that_sqlite_ended_does_not_hide_the_error(db: Database) -> None:
    def ended(reader: Any) -> None:
        reader.rows("ROLLBACK")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.read(ended)
    assert await db.read(targets) == []


# what errors mean


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_BUSY, errors.DatabaseLocked),
        (sqlite3.SQLITE_LOCKED, errors.DatabaseLocked),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, errors.DatabaseLocked),
        (sqlite3.SQLITE_CORRUPT, errors.DatabaseCorrupt),
        (sqlite3.SQLITE_NOTADB, errors.DatabaseCorrupt),
        (sqlite3.SQLITE_FULL, errors.DiskFull),
        (sqlite3.SQLITE_READONLY, errors.DiskFull),
        (sqlite3.SQLITE_CANTOPEN, errors.DiskFull),
        (sqlite3.SQLITE_IOERR_FSYNC, errors.StorageError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, errors.StorageError),
        (None, errors.StorageError),
    ],
)
def test_what_a_driver_error_means(code: int | None, expected: type[errors.StorageError]) -> None:
    exc = sqlite3.OperationalError("words of the driver")
    if code is not None:
        exc.sqlite_errorcode = code
    found = meaning(exc, "database x.db")
    assert type(found) is expected
    assert found.__cause__ is exc
    assert "x.db" in str(found)
    assert found.hint


def test_our_errors_and_ordinary_ones_stay_as_they_are() -> None:
    for exc in (errors.Conflict("a", "b"), ValueError("x")):
        assert meaning(exc, "somewhere") is exc


async def test_text_that_is_no_text_is_a_corrupt_database(filed: Database) -> None:
    await filed.commit(lambda tx: tx.execute("INSERT INTO switches VALUES ('t', CAST(x'ff' AS TEXT), '', '', '', '')"))
    with pytest.raises(errors.DatabaseCorrupt):
        await filed.read(targets)
