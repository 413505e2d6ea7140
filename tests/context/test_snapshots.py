"""Snapshots: what a case saw at its start it sees until its end, and a crash shows nothing half-done."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from interlock import errors
from interlock.clock import iso
from interlock.context.context import Context
from interlock.context.store import Collection
from interlock.observability.ledger import Ledger
from interlock.settings import Settings
from interlock.storage.database import Database, Transaction

from .conftest import HandClock, WordModel

Open = Callable[[], Awaitable[Context]]


def limit(amount: int, **more: Any) -> dict[str, Any]:
    return {"id": "limit", "title": "Limit", "text": f"The purchase limit is {amount} euros.", **more}


async def texts(context: Context, **asked: Any) -> list[str]:
    return [fact.text for fact in await context.query("purchase limit", **asked)]


async def test_a_case_keeps_the_text_of_its_start_while_a_new_case_sees_the_new_one(
    context: Context, db: Database, clock: HandClock
) -> None:
    await context.ingest("rules", [limit(100)])
    await start_case(db, "old", await context.snapshot_at(clock.now()))
    first_task = await texts(context, case_id="old")
    clock.move(1)
    await context.ingest("rules", [limit(900)])
    await start_case(db, "new", await context.snapshot_at(clock.now()))

    second_task = await texts(context, case_id="old")

    assert first_task == second_task == ["The purchase limit is 100 euros."]
    assert await texts(context, case_id="new") == ["The purchase limit is 900 euros."]
    assert await texts(context) == ["The purchase limit is 900 euros."]


async def start_case(db: Database, case_id: str, snapshot: int) -> None:
    def insert(tx: Transaction) -> None:
        tx.execute(
            "INSERT INTO cases (tenant, case_id, workflow, seq, snapshot) VALUES (?, ?, ?, ?, ?)",
            ("default", case_id, "w", snapshot, snapshot),
        )

    await db.commit(insert)


async def test_as_of_is_what_was_known_at_that_time(context: Context, clock: HandClock) -> None:
    before = clock.now()
    clock.move(1)
    await context.ingest("rules", [limit(1)])
    first = clock.now()
    clock.move(1)
    await context.ingest("rules", [limit(2)])

    assert await texts(context, as_of=before) == []
    assert await texts(context, as_of=first) == ["The purchase limit is 1 euros."]
    assert await texts(context, as_of=iso(clock.now())) == ["The purchase limit is 2 euros."]
    assert [await context.snapshot_at(t) for t in (before, first, clock.now())] == [0, 1, 2]


async def test_results_of_a_snapshot_do_not_move_when_others_are_added(context: Context, reopen: Open) -> None:
    await context.ingest("rules", [limit(n, id=f"d{n}") for n in range(40)])
    before = [(fact.id, fact.score) for fact in await context.query("purchase limit 7", k=20, snapshot=1)]
    await context.ingest("rules", [limit(n, id=f"e{n}") for n in range(40)])
    await context.delete("rules", ["d7"])
    again = await reopen()

    after = [(fact.id, fact.score) for fact in await again.query("purchase limit 7", k=20, snapshot=1)]

    assert before == after


async def test_delete_closes_and_erase_removes(context: Context, reopen: Open, db: Database) -> None:
    await context.ingest("rules", [limit(1), limit(2, id="other")])
    assert await context.delete("rules", ["limit", "nobody"]) == 1
    assert await texts(context) == ["The purchase limit is 2 euros."]
    assert len(await texts(context, snapshot=1)) == 2

    assert await context.erase("rules", ["limit"]) == 1

    assert await texts(context, snapshot=1) == ["The purchase limit is 2 euros."]
    assert await texts(await reopen(), snapshot=1) == ["The purchase limit is 2 euros."]
    rows = await db.read(lambda reader: reader.rows("SELECT document_id FROM documents"))
    assert [row["document_id"] for row in rows] == ["other"]


async def test_a_document_comes_back_after_delete_and_after_erase(context: Context) -> None:
    await context.ingest("rules", [limit(1)])
    await context.delete("rules", ["limit"])
    assert (await context.ingest("rules", [limit(1)])).ingested == 1
    await context.erase("rules", ["limit"])
    assert (await context.ingest("rules", [limit(1)])).ingested == 1

    assert await texts(context) == ["The purchase limit is 1 euros."]


async def test_a_model_that_stops_leaves_nothing_visible_and_the_next_ingest_clears_up(
    context: Context, model: WordModel, reopen: Open
) -> None:
    await context.ingest("rules", [limit(1)])
    model.fail_on = "d30"
    many = [limit(n, id=f"d{n}", title=f"d{n}") for n in range(40)]
    with pytest.raises(RuntimeError, match="the model stopped"):
        await context.ingest("rules", many)
    assert await texts(context, k=50) == ["The purchase limit is 1 euros."]

    model.fail_on = ""
    await context.ingest("rules", [limit(5, id="five")])

    assert sorted(await texts(context, k=50)) == ["The purchase limit is 1 euros.", "The purchase limit is 5 euros."]
    assert len(stored(context)) == 2
    assert len(await texts(await reopen(), k=50)) == 2


async def test_chunks_of_a_killed_ingest_are_never_seen_and_go_at_the_next_start(
    context: Context, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await context.ingest("rules", [limit(1)])

    async def killed(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Database, "commit", killed)
        with pytest.raises(SystemExit):
            await context.ingest("rules", [limit(2), limit(3, id="three")])
    assert len(stored(context)) == 3
    again = await reopen()
    assert await texts(again, k=50) == ["The purchase limit is 1 euros."]
    assert len(stored(again)) == 1

    report = await again.ingest("rules", [limit(2), limit(3, id="three")])

    assert (report.ingested, report.snapshot) == (2, 2)
    assert sorted(await texts(again, k=50)) == ["The purchase limit is 2 euros.", "The purchase limit is 3 euros."]


async def test_a_commit_whose_caller_was_cancelled_is_seen(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    await context.ingest("rules", [limit(1)])
    commit = Database.commit

    async def cancelled(*args: Any, **kwargs: Any) -> None:
        await commit(*args, **kwargs)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(Database, "commit", cancelled)
        with pytest.raises(asyncio.CancelledError):
            await context.ingest("rules", [limit(2)])

    assert await texts(context) == ["The purchase limit is 2 euros."]
    assert (await context.ingest("rules", [limit(2)])).unchanged == 1


def stored(context: Context) -> set[str]:
    shelf = context._shelves["default"]
    return {record[0] for record in shelf._chunks.records()}


async def test_every_ingest_is_in_the_ledger_with_its_snapshot(
    context: Context, db: Database, clock: HandClock
) -> None:
    await context.ingest("rules", [limit(1), {"id": "bad"}])
    await context.ingest("rules", [limit(1)])
    await context.delete("rules", ["limit"])

    found = [event async for event in Ledger(db, clock).export()]

    assert [event["type"] for event in found] == ["context.ingested"] * 3
    assert found[0]["data"] == {"source": "rules", "ingested": 1, "unchanged": 0, "skipped": 1, "snapshot": 1}
    assert [event["data"]["snapshot"] for event in found] == [1, 1, 2]


async def test_ingest_and_query_at_once(context: Context) -> None:
    await context.ingest("rules", [limit(n, id=f"d{n}") for n in range(30)])

    async def ask() -> None:
        for _ in range(15):
            assert len(await texts(context, k=10)) == 10

    async def change(name: str) -> None:
        for round_ in range(5):
            await context.ingest(name, [limit(n + round_, id=f"d{n}") for n in range(5)])
            await context.erase(name, [f"d{round_}"])

    await asyncio.gather(ask(), ask(), ask(), change("a"), change("b"))

    assert len(await texts(context, k=100)) == 30 + 8


async def test_a_query_outlives_erasures_that_meet_every_try(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    await context.ingest("rules", [limit(n, id=f"d{n}") for n in range(6)])
    loop, nearest, left = asyncio.get_running_loop(), Collection.nearest, ["d0", "d1", "d2"]

    def after_an_erasure(self: Collection, *asked: Any) -> dict[str, float]:
        if left:
            asyncio.run_coroutine_threadsafe(context.erase("rules", [left.pop()]), loop).result()
        return nearest(self, *asked)

    monkeypatch.setattr(Collection, "nearest", after_an_erasure)
    assert len(await texts(context, k=10)) == 3
    assert left == []


async def test_one_owner(context: Context, db: Database, clock: HandClock, tmp_path: Path) -> None:
    await context.ingest("rules", [limit(1)])
    second = Context(db, Ledger(db, clock), clock, Settings.load(), tmp_path, embedder=WordModel())

    with pytest.raises(errors.DatabaseLocked, match="owns the context store"):
        await second.query("limit")
    await second.close()


async def test_a_damaged_store_is_a_clear_error(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "chroma.sqlite3").write_bytes(b"no database" * 500)

    with pytest.raises(errors.DatabaseCorrupt, match="no readable context store"):
        await context.ingest("rules", [limit(1)])


async def test_a_lost_store_is_filled_again_by_the_next_ingest(context: Context, reopen: Open, tmp_path: Path) -> None:
    await context.ingest("rules", [limit(1)])
    await context.close()
    (tmp_path / "context" / "chroma.sqlite3").unlink()
    again = await reopen()
    assert await texts(again) == []

    assert (await again.ingest("rules", [limit(1)])).ingested == 1

    assert await texts(again) == ["The purchase limit is 1 euros."]


async def test_in_memory_contexts_do_not_meet(clock: HandClock) -> None:
    db = await Database.open(":memory:")
    other = await Database.open(":memory:")
    one = Context(db, Ledger(db, clock), clock, Settings.load(), None, embedder=WordModel())
    two = Context(other, Ledger(other, clock), clock, Settings.load(), None, embedder=WordModel())
    await one.ingest("rules", [limit(1)])
    await two.ingest("rules", [limit(2)])

    assert await texts(one) == ["The purchase limit is 1 euros."]
    await one.close()
    assert await texts(two) == ["The purchase limit is 2 euros."]
    await two.close()
    await db.close()
    await other.close()


async def test_a_closed_context_says_so(context: Context) -> None:
    await context.ingest("rules", [limit(1)])
    await context.close()
    await context.close()

    with pytest.raises(errors.StorageError, match="the context is closed"):
        await texts(context)


async def test_erased_text_is_not_in_the_store_after_a_crash_between_commit_and_removal(
    context: Context, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await context.ingest("rules", [limit(1), limit(2, id="other")])

    def killed(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("interlock.context.shelf.Shelf.erase", killed)
        with pytest.raises(SystemExit):
            await context.erase("rules", ["limit"])
    assert await texts(context, snapshot=1) == ["The purchase limit is 2 euros."]

    again = await reopen()

    assert await texts(again) == ["The purchase limit is 2 euros."]
    assert len(stored(again)) == 1


async def test_erased_texts_leave_the_disk_at_the_close_or_after_a_crash_at_the_opening(
    context: Context, db: Database, clock: HandClock, tmp_path: Path
) -> None:
    """Not before: Chroma is at work on its file, and a second SQLite in the process would drop its locks."""
    await context.ingest("rules", [limit(1, text="Secret Name greases it."), limit(2, id="other")])
    await context.erase("rules", ["limit"])
    (crashed := tmp_path / "crashed").mkdir()
    shutil.copytree(tmp_path / "context", crashed / "context")
    await context.close()
    assert not holding(tmp_path / "context", b"Secret Name")

    again = Context(db, Ledger(db, clock), clock, Settings.load(), crashed, embedder=WordModel())
    assert await texts(again) == ["The purchase limit is 2 euros."]
    assert not holding(crashed / "context", b"Secret Name")
    await again.close()


async def test_a_store_that_cannot_be_scrubbed_says_so_and_is_scrubbed_when_it_opens(
    context: Context, reopen: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await context.ingest("rules", [limit(1, text="Secret Name greases it."), limit(2, id="other")])
    await context.erase("rules", ["limit"])
    with monkeypatch.context() as patch:
        patch.setattr("interlock.context.store.scrub_file", full)
        await context.close()
        assert "texts of erased documents stay" in caplog.text
        with pytest.raises(errors.DiskFull):
            await texts(await reopen())
    assert await texts(await reopen()) == ["The purchase limit is 2 euros."]
    assert not holding(tmp_path / "context", b"Secret Name")


def full(*_: Any) -> None:
    raise errors.DiskFull("the disk is full", "free some")


def holding(folder: Path, planted: bytes) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and planted in file.read_bytes()]
