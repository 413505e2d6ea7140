"""The group committer: order, savepoints, poison, epochs, callers that go away, loops, threads, closing."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from interlock import errors
from interlock.observability.verification import verify
from interlock.storage.claim import Claim
from interlock.storage.database import Database, Transaction
from tests.storage.units import claimed, event, failing, ledger_rows, put, reclaimed, targets


class Gate:
    """A unit that holds the writer until it is opened: what is committed meanwhile forms one batch."""

    def __init__(self, db: Database) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        self._task = asyncio.ensure_future(db.commit(self._wait))

    def _wait(self, tx: Transaction) -> None:
        self._entered.set()
        assert self._open.wait(30)

    async def __aenter__(self) -> Gate:
        await asyncio.to_thread(self._entered.wait, 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open.set()
        await self._task


async def together(db: Database, *units: Callable[[Transaction], Any], claim: Claim | None = None) -> list[Any]:
    """Commit units in one batch; gives results and errors in order."""
    async with Gate(db):
        waiting = [asyncio.ensure_future(db.commit(unit, claim=claim)) for unit in units]
        await asyncio.sleep(0)
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_units_are_applied_in_the_order_in_which_they_were_queued(db: Database) -> None:
    names = [f"t{n:04}" for n in range(1000)]
    assert await asyncio.gather(*(db.commit(put(name)) for name in names)) == names
    assert await db.read(targets) == names


async def test_units_that_wait_together_share_a_transaction(db: Database) -> None:
    before = db.commits
    await together(db, *(put(f"t{n}") for n in range(600)))
    assert db.units == 601
    assert db.commits - before == 4  # the gate, then 256 + 256 + 88


async def test_a_result_is_durable_when_the_caller_hears_of_it(db: Database) -> None:
    async def one(n: int) -> bool:
        await db.commit(put(f"t{n}"))
        return f"t{n}" in await db.read(targets)

    assert all(await asyncio.gather(*(one(n) for n in range(200))))


async def test_a_failing_unit_fails_neither_its_batch_nor_another_case(db: Database) -> None:
    good, bad = await claimed(db, "good"), await claimed(db, "bad")
    async with Gate(db):
        waiting = [
            asyncio.ensure_future(db.commit(put("one"), claim=good)),
            asyncio.ensure_future(db.commit(failing(ValueError("no")), claim=bad)),
            asyncio.ensure_future(db.commit(put("two"), claim=good)),
            asyncio.ensure_future(db.commit(put("after"), claim=bad)),
            asyncio.ensure_future(db.commit(put("three"))),
        ]
        await asyncio.sleep(0)
    one, no, two, after, three = await asyncio.gather(*waiting, return_exceptions=True)
    assert (one, two, three) == ("one", "two", "three")
    assert isinstance(no, ValueError)
    assert isinstance(after, errors.Stale)
    assert await db.read(targets) == ["one", "two", "three"]
    assert await db.read(ledger_rows) == []


@pytest.mark.parametrize(
    ("raised", "heard"),
    [
        (ValueError("odd"), ValueError),
        (errors.Conflict("taken", "choose another"), errors.Conflict),
        (StopIteration("end"), errors.StorageError),
        (asyncio.CancelledError(), errors.StorageError),
        (KeyboardInterrupt(), errors.StorageError),
        (SystemExit(3), errors.StorageError),
        (GeneratorExit(), errors.StorageError),
    ],
)
async def test_whatever_a_unit_raises_reaches_its_caller_and_the_committer_lives_on(
    db: Database, raised: BaseException, heard: type[Exception]
) -> None:
    claim = await claimed(db, "a")
    with pytest.raises(heard) as caught:
        await db.commit(failing(raised), claim=claim)
    assert caught.value is raised or caught.value.__cause__ is raised
    assert isinstance(claim.poison, errors.InterlockError)
    assert await db.commit(put("next")) == "next"
    assert await db.read(targets) == ["next"]


@pytest.mark.parametrize(
    "unit",
    [
        lambda tx: tx.execute("INSERT INTO switches (tenant, target) VALUES (NULL, 'x')"),
        lambda tx: tx.execute("no SQL at all"),
        lambda tx: tx.execute("SELECT ?", (1, 2)),
        lambda tx: tx.execute("INSERT INTO no_such_table VALUES (1)"),
        lambda tx: tx.row("SELECT * FROM no_such_table"),
        lambda tx: tx.executemany("INSERT INTO switches (tenant, target) VALUES ('t', ?)", [("a",), ("a",)]),
    ],
)
async def test_a_database_error_is_said_in_our_tree(db: Database, unit: Callable[[Transaction], Any]) -> None:
    with pytest.raises(errors.StorageError) as caught:
        await db.commit(unit)
    assert caught.value.hint
    assert caught.value.__cause__ is not None
    assert await db.read(targets) == []


async def test_a_unit_may_undo_a_part_of_itself(db: Database) -> None:
    def unit(tx: Transaction) -> None:
        tx.append(event(n=1))
        with pytest.raises(ValueError, match="part"), tx.savepoint():
            tx.append(event(n=2))
            put("undone")(tx)
            raise ValueError("part")
        with tx.savepoint():
            put("kept")(tx)
            tx.append(event(n=3))

    await db.commit(unit)
    assert await db.read(targets) == ["kept"]
    assert [row["seq"] for row in await db.read(ledger_rows)] == [1, 2]
    assert (await verify(db)).ok


# poison and epochs


async def test_the_first_failure_poisons_the_claim_and_stays_its_reason(db: Database) -> None:
    claim = await claimed(db, "a")
    results = await together(db, failing(ValueError("first")), failing(KeyError("second")), put("third"), claim=claim)
    assert isinstance(results[0], ValueError)
    assert isinstance(results[1], errors.Stale)
    assert isinstance(results[2], errors.Stale)
    assert claim.poison is not None
    assert "ValueError: first" in claim.poison.message
    with pytest.raises(errors.Stale, match="first") as caught:
        await db.commit(put("later"), claim=claim)
    assert caught.value.__cause__ is claim.poison
    assert await db.read(targets) == []


async def test_a_new_claim_goes_on_where_a_poisoned_one_stopped(db: Database) -> None:
    claim = await claimed(db, "a")
    await db.commit(put("one"), claim=claim)
    with pytest.raises(ValueError, match="lost"):
        await db.commit(failing(ValueError("lost")), claim=claim)
    await db.commit(put("two"), claim=await reclaimed(db, claim))
    assert await db.read(targets) == ["one", "two"]


@pytest.mark.parametrize("offset", [-1, 1, 1000])
async def test_another_epoch_is_refused(db: Database, offset: int) -> None:
    claim = await claimed(db, "a", epoch=7)
    other = Claim("default", "a", 7 + offset)
    with pytest.raises(errors.Stale, match="epoch 7"):
        await db.commit(put("stale"), claim=other)
    assert other.poison is not None
    await db.commit(put("right"), claim=claim)
    assert await db.read(targets) == ["right"]


async def test_the_claim_of_a_case_that_is_not_there_is_refused(db: Database) -> None:
    await claimed(db, "a")
    for claim in (Claim("default", "b", 1), Claim("other", "a", 1)):
        with pytest.raises(errors.Stale, match="gone"):
            await db.commit(put("stale"), claim=claim)
    assert await db.read(targets) == []


async def test_the_epoch_is_checked_inside_the_transaction(db: Database) -> None:
    """A claim that became old while its unit waited in the same batch."""
    claim = await claimed(db, "a")
    raised = "UPDATE cases SET epoch = 2 WHERE case_id = 'a'"
    async with Gate(db):
        first = asyncio.ensure_future(db.commit(lambda tx: tx.execute(raised)))
        second = asyncio.ensure_future(db.commit(put("stale"), claim=claim))
        await asyncio.sleep(0)
    await first
    with pytest.raises(errors.Stale):
        await second
    assert await db.read(targets) == []


async def test_a_poisoned_claim_writes_nothing_even_from_many_tasks(db: Database) -> None:
    claim = await claimed(db, "a")

    async def step(n: int) -> bool:
        try:
            await db.commit(failing(ValueError("50")) if n == 50 else put(f"t{n:03}"), claim=claim)
        except (ValueError, errors.Stale):
            return False
        return True

    done = await asyncio.gather(*(step(n) for n in range(200)))
    assert done == [n < 50 for n in range(200)]
    assert await db.read(targets) == [f"t{n:03}" for n in range(50)]


# the chain


async def test_a_failed_unit_leaves_no_gap_in_the_chain(db: Database) -> None:
    seqs = await together(
        db,
        lambda tx: tx.append(event(n=1)),
        failing(ValueError("no")),
        lambda tx: tx.append(event(n=2)),
        failing(ValueError("no")),
        lambda tx: [tx.append(event(n=3)), tx.append(event(n=4))],
    )
    assert [one for one in seqs if not isinstance(one, ValueError)] == [1, 2, [3, 4]]
    assert [row["seq"] for row in await db.read(ledger_rows)] == [1, 2, 3, 4]
    assert (await verify(db)).events == 4


async def test_an_identity_is_written_once(db: Database) -> None:
    assert await db.commit(lambda tx: tx.append(event(identity="i"))) == 1
    results = await together(db, *(lambda tx: tx.append(event(identity="i")) for _ in range(3)))
    assert results == [None] * 3
    assert await db.commit(lambda tx: tx.append(event(identity="i", tenant="other"))) == 2
    assert await db.commit(lambda tx: tx.append(event(identity="j"))) == 3
    assert (await verify(db)).ok


async def test_seqs_have_no_gap_and_no_double_under_many_writers(db: Database) -> None:
    async def one(n: int) -> int | None:
        if n % 7 == 0:
            with pytest.raises(ValueError, match="no"):
                await db.commit(failing(ValueError("no")))
            return None
        return await db.commit(lambda tx: tx.append(event(n=n)))

    seqs = [seq for seq in await asyncio.gather(*(one(n) for n in range(700))) if seq]
    assert sorted(seqs) == list(range(1, 601))
    assert (await verify(db)).events == 600


# callers that go away


async def test_a_cancelled_caller_does_not_take_its_unit_back(db: Database) -> None:
    async with Gate(db):
        waiting = asyncio.ensure_future(db.commit(put("kept")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await db.commit(put("next"))
    assert await db.read(targets) == ["kept", "next"]


async def test_a_cancelled_caller_of_a_failing_unit_still_poisons_the_claim(db: Database) -> None:
    claim = await claimed(db, "a")
    async with Gate(db):
        waiting = asyncio.ensure_future(db.commit(failing(ValueError("unheard")), claim=claim))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    with pytest.raises(errors.Stale, match="unheard"):
        await db.commit(put("later"), claim=claim)


async def test_cancelling_half_of_a_batch_loses_nothing(db: Database) -> None:
    async with Gate(db):
        waiting = [asyncio.ensure_future(db.commit(put(f"t{n:02}"))) for n in range(40)]
        await asyncio.sleep(0)
        for one in waiting[::2]:
            one.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [True, False] * 20
    assert await db.read(targets) == [f"t{n:02}" for n in range(40)]


async def test_a_unit_is_queued_before_the_first_await(db: Database) -> None:
    """Two commits of one coroutine keep their order although nothing is awaited between them."""
    async with Gate(db):
        commits = [db.commit(put("a")), db.commit(put("b"))]
        second, first = asyncio.ensure_future(commits[1]), asyncio.ensure_future(commits[0])
        await asyncio.sleep(0)
    await asyncio.gather(first, second)
    assert await db.read(targets) == ["b", "a"]  # the order in which they began to run


# threads and loops


async def test_threads_commit_without_a_loop(db: Database) -> None:
    def work(n: int) -> str:
        return db.commit_sync(put(f"t{n}"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(400))) == [f"t{n}" for n in range(400)]
    assert set(await db.read(targets)) == {f"t{n}" for n in range(400)}


async def test_a_thread_hears_of_its_units_failure(db: Database) -> None:
    claim = await claimed(db, "a")
    with pytest.raises(ValueError, match="sync"):
        await asyncio.to_thread(db.commit_sync, failing(ValueError("sync")), claim=claim)
    with pytest.raises(errors.Stale):
        db.commit_sync(put("later"), claim=claim)


async def test_a_unit_that_waits_for_another_unit_is_told_instead_of_hanging(db: Database) -> None:
    with pytest.raises(errors.StorageError, match="cannot wait for another unit"):
        await db.commit(lambda tx: db.commit_sync(put("inner")))
    assert await db.commit(put("next")) == "next"


async def test_two_event_loops_share_one_committer(db: Database) -> None:
    async def many(prefix: str) -> list[str]:
        return list(await asyncio.gather(*(db.commit(put(f"{prefix}{n}")) for n in range(150))))

    ran: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    other = threading.Thread(target=lambda: ran.put(asyncio.run(many("b"))))
    other.start()
    assert await many("a") == [f"a{n}" for n in range(150)]
    await asyncio.to_thread(other.join)
    assert ran.get_nowait() == [f"b{n}" for n in range(150)]
    assert len(await db.read(targets)) == 300


async def test_a_loop_that_was_closed_does_not_stop_the_others(db: Database) -> None:
    def abandon() -> None:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(db.commit(put("abandoned")))
        loop.run_until_complete(asyncio.sleep(0))
        waiting.cancel()
        loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        loop.close()

    async with Gate(db):
        await asyncio.to_thread(abandon)
    await db.commit(put("next"))
    assert await db.read(targets) == ["abandoned", "next"]


# closing


async def test_close_commits_what_waits_and_refuses_what_comes_later(path: object) -> None:
    db = await Database.open(f"sqlite:///{path}")
    async with Gate(db):
        waiting = [asyncio.ensure_future(db.commit(put(f"t{n:03}"))) for n in range(300)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(db.close())
        await asyncio.sleep(0)
    await closing
    assert len(await asyncio.gather(*waiting)) == 300
    with pytest.raises(errors.StorageError, match="closed") as caught:
        await db.commit(put("late"))
    assert caught.value.hint
    with pytest.raises(errors.StorageError, match="closed"):
        db.commit_sync(put("late"))
    with pytest.raises(errors.StorageError, match="closed"):
        await db.read(targets)
    again = await Database.open(f"sqlite:///{path}", read_only=True)
    assert await again.read(targets) == [f"t{n:03}" for n in range(300)]
    await again.close()


async def test_close_twice_at_once_and_again(db: Database) -> None:
    await db.commit(put("one"))
    await asyncio.gather(*(db.close() for _ in range(5)))
    await db.close()


async def test_close_while_threads_commit_gives_each_a_result_or_a_clear_error(path: object) -> None:
    db = await Database.open(f"sqlite:///{path}")
    started = threading.Barrier(9)

    def work(n: int) -> list[str]:
        started.wait(30)
        done: list[str] = []
        try:
            for k in range(10_000):
                done.append(db.commit_sync(put(f"{n}/{k}")))  # noqa: PERF401  # what was done before the error counts
        except errors.StorageError as exc:
            assert "closed" in exc.message
        return done

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(work, n) for n in range(8)]
        await asyncio.to_thread(started.wait, 30)
        await db.close()
        acknowledged = {name for one in running for name in one.result()}
    again = await Database.open(f"sqlite:///{path}", read_only=True)
    assert acknowledged == set(await again.read(targets))
    await again.close()


async def test_no_thread_is_left_after_close(path: object) -> None:
    before, there = threading.active_count(), set(threading.enumerate())  # pools of earlier tests
    db = await Database.open(f"sqlite:///{path}")
    await asyncio.gather(*(db.read(targets) for _ in range(20)))
    await db.commit(put("one"))
    await db.close()
    new = set(threading.enumerate()) - there
    left = [thread.name for thread in new if thread.name.startswith("interlock-")]
    assert not left
    assert threading.active_count() <= before + 5  # the loop's own pool
