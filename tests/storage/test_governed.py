"""Cases under real graphs: what is lost together, and that state and ledger never disagree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

from interlock import errors
from interlock.observability.ledger import Ledger
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.claim import CLAIM, Claim
from interlock.storage.database import Database, Transaction
from tests.storage.driving import ALL, STEPS, State, config, drive, fine, line, namespace, note, noted
from tests.storage.units import claimed, failing, reclaimed


async def steps_of(saver: Checkpoints) -> list[int]:
    """Numbers of the durable steps, oldest first."""
    return sorted([one.metadata.get("step", -2) async for one in saver.alist(config())])


# one lost write


def unstorable(number: int, config: RunnableConfig) -> Any:
    return object()


def refused(number: int, config: RunnableConfig) -> None:
    claim = CLAIM.get()
    assert claim is not None
    claim.later(namespace(config), failing(ValueError("the row is refused")))


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("ruin", [unstorable, refused])
async def test_after_a_lost_write_no_later_step_is_durable_and_it_goes_on_from_there(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim, step: int, ruin: Callable[..., Any]
) -> None:
    graph = line(ledger, lambda number, config: ruin(number, config) if number == step else None).compile(saver)
    with pytest.raises(errors.StorageError):
        await drive(graph, claim, {"done": []})
    assert claim.poison is not None
    assert await steps_of(saver) == list(range(-1, step + 1))  # the input, and the steps before
    assert await noted(ledger) == ALL[:step]
    state = await graph.aget_state(config())
    assert state.values["done"] == ALL[:step]
    assert state.next == (f"s{step}",)

    mended = line(ledger, fine).compile(saver)
    with pytest.raises(errors.Stale):
        await drive(mended, claim)
    done = await drive(mended, await reclaimed(db, claim))
    assert done["done"] == ALL
    assert await noted(ledger) == ALL
    assert await steps_of(saver) == list(range(-1, STEPS + 1))


async def test_a_failing_aput_writes_of_a_saver_is_no_different(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit of the write itself fails once, in the transaction, as under a full disk."""
    whole = Database.commit
    calls = 0

    async def once(self: Database, apply: Callable[[Transaction], Any], *, claim: Claim | None = None) -> Any:
        nonlocal calls
        calls += 1
        if calls != 6:
            return await whole(self, apply, claim=claim)

        def full(tx: Transaction) -> None:
            apply(tx)
            raise errors.DiskFull("no room", "make some")

        return await whole(self, full, claim=claim)

    graph = line(ledger, fine).compile(saver)
    monkeypatch.setattr(Database, "commit", once)
    with pytest.raises(errors.StorageError):
        await drive(graph, claim, {"done": []})
    monkeypatch.undo()
    rows, state = await noted(ledger), await graph.aget_state(config())
    assert 0 < len(rows) < STEPS
    assert rows == state.values["done"]
    done = await drive(graph, await reclaimed(db, claim))
    assert done["done"] == await noted(ledger) == ALL


async def test_a_lost_write_of_one_case_does_not_touch_another(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    graph = line(ledger, lambda number, config: refused(number, config) if number == 2 else None).compile(saver)
    other: Any = StateGraph(State)
    for number in range(STEPS):
        other.add_node(f"s{number}", lambda _, number=number: {"done": [f"step {number}"]})
        other.add_edge(f"s{number - 1}" if number else START, f"s{number}")
    others = [f"other {n}" for n in range(10)]
    claims = [await claimed(db, name) for name in others]
    results: list[Any] = await asyncio.gather(
        drive(graph, claim, {"done": []}),
        *(drive(other.compile(saver), one, {"done": []}, one.case_id) for one in claims),
        return_exceptions=True,
    )
    assert isinstance(results[0], errors.StorageError)
    assert [one["done"] for one in results[1:]] == [ALL] * 10


def write_left(claim: Claim, tx: Transaction) -> None:
    for apply in claim.take_all():
        apply(tx)


async def test_a_run_cancelled_anywhere_leaves_state_and_ledger_agreeing(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    for step in range(STEPS):
        running = asyncio.Event()

        def wait(number: int, _: RunnableConfig, step: int = step, running: asyncio.Event = running) -> None:
            if number == step:
                running.set()

        graph = line(ledger, wait).compile(saver)
        task = asyncio.ensure_future(drive(graph, claim, {"done": []} if step == 0 else None))
        await running.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await db.commit(partial(write_left, claim))  # as the engine does
        claim = await reclaimed(db, claim)
        rows, state = await noted(ledger), await graph.aget_state(config())
        assert state.values["done"] == ALL[: len(state.values["done"])]
        assert set(state.values["done"]) <= set(rows)
        assert len(rows) == len(set(rows))
    done = await drive(line(ledger, fine).compile(saver), claim)
    assert done["done"] == await noted(ledger) == ALL


# rows that wait for their task


async def test_rows_cost_no_commit_of_their_own(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "defer", lambda *_: None)
        other = await claimed(db, "without rows")
        before = db.units
        await drive(line(ledger, fine).compile(saver), other, {"done": []}, other.case_id)
        without = db.units - before
    await drive(line(ledger, fine).compile(saver), claim, {"done": []})
    assert db.units - before == 2 * without
    assert await noted(ledger) == ALL
    assert claim.take_all() == []


async def test_a_task_that_asks_and_restarts_writes_its_rows_once(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    starts = 0

    def ask(state: State, config: RunnableConfig) -> dict[str, Any]:
        nonlocal starts
        starts += 1
        note(ledger, config, "before")
        first = interrupt("first?")
        note(ledger, config, f"between {first}")
        second = interrupt("second?")
        note(ledger, config, f"after {second}")
        return {"answer": first + second}

    graph: Any = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile(saver)
    await drive(graph, claim, {"done": []})
    assert await noted(ledger) == ["before"]
    claim.rewind()
    await drive(graph, claim, Command(resume="a"))  # the same claim
    assert await noted(ledger) == ["before", "between a"]
    done = await drive(graph, await reclaimed(db, claim), Command(resume="b"))  # another claim
    assert await noted(ledger) == ["before", "between a", "after b"]
    assert done["answer"] == "ab"
    assert starts == 3


async def test_each_visit_of_a_loop_has_rows_of_its_own(saver: Checkpoints, ledger: Ledger, claim: Claim) -> None:
    def again(state: State, config: RunnableConfig) -> dict[str, Any]:
        note(ledger, config, "visit")
        note(ledger, config, "visit")
        return {"done": ["visit"]}

    graph: Any = StateGraph(State).add_node("again", again).add_edge(START, "again")
    graph.add_conditional_edges("again", lambda state: END if len(state["done"]) == 3 else "again", ["again", END])
    await drive(graph.compile(saver), claim, {"done": []})
    assert await noted(ledger) == ["visit"] * 6


async def test_a_task_that_is_tried_again_writes_its_rows_once(
    saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    tries = 0

    def flaky(state: State, config: RunnableConfig) -> dict[str, Any]:
        nonlocal tries
        tries += 1
        note(ledger, config, "one", attempt=tries)
        if tries == 1:
            raise ConnectionError("try again")
        note(ledger, config, "two", attempt=tries)
        if tries == 2:
            raise ConnectionError("try again")
        note(ledger, config, "three", attempt=tries)
        return {"done": ["flaky"]}

    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=ConnectionError)
    graph: Any = StateGraph(State).add_node("flaky", flaky, retry_policy=policy).add_edge(START, "flaky").compile(saver)
    await drive(graph, claim, {"done": []})
    assert tries == 3
    assert await noted(ledger) == ["one", "two", "three"]


async def test_a_task_that_fails_leaves_its_rows_with_its_error(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    def bad(state: State, config: RunnableConfig) -> None:
        note(ledger, config, "tried")
        raise ZeroDivisionError("bad")

    graph: Any = StateGraph(State).add_node("bad", bad).add_edge(START, "bad").compile(saver)
    with pytest.raises(ZeroDivisionError):
        await drive(graph, claim, {"done": []})
    assert await noted(ledger) == ["tried"]
    found = await saver.aget_tuple(config())
    assert found is not None
    assert [channel for _, channel, _ in found.pending_writes or []] == ["__error__"]
    with pytest.raises(ZeroDivisionError):
        await drive(graph, await reclaimed(db, claim))
    assert await noted(ledger) == ["tried"]


async def test_a_task_without_a_result_leaves_its_rows(saver: Checkpoints, ledger: Ledger, claim: Claim) -> None:
    def silent(state: State, config: RunnableConfig) -> None:
        note(ledger, config, "nothing to say")

    graph: Any = StateGraph(State).add_node("silent", silent).add_edge(START, "silent").compile(saver)
    await drive(graph, claim, {"done": []})
    assert await noted(ledger) == ["nothing to say"]


async def test_parallel_branches_one_waiting_one_failing_leave_every_row(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    async def done(state: State, config: RunnableConfig) -> dict[str, Any]:
        note(ledger, config, "done")
        return {"done": ["done"]}

    async def asks(state: State, config: RunnableConfig) -> dict[str, Any]:
        note(ledger, config, "asks")
        return {"done": [interrupt("?")]}

    graph: Any = StateGraph(State).add_node("a", done).add_node("b", asks)
    graph.add_edge(START, "a").add_edge(START, "b")
    compiled = graph.compile(saver)
    await drive(compiled, claim, {"done": []})
    assert sorted(await noted(ledger)) == ["asks", "done"]
    result = await drive(compiled, await reclaimed(db, claim), Command(resume="answered"))
    assert result["done"] == ["done", "answered"]
    assert sorted(await noted(ledger)) == ["asks", "done"]


async def test_rows_of_a_subgraph_are_in_the_commits_of_its_tasks(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    def inner(state: State, config: RunnableConfig) -> dict[str, Any]:
        note(ledger, config, "inner")
        return {"done": [interrupt("inner?")]}

    def after(state: State, config: RunnableConfig) -> dict[str, Any]:
        note(ledger, config, "after")
        return {"done": ["after"]}

    sub = StateGraph(State).add_node("inner", inner).add_node("after", after)
    sub.add_edge(START, "inner").add_edge("inner", "after")
    graph: Any = StateGraph(State).add_node("outer", sub.compile()).add_edge(START, "outer").compile(saver)
    await drive(graph, claim, {"done": []})
    assert await noted(ledger) == ["inner"]
    result = await drive(graph, await reclaimed(db, claim), Command(resume="yes"))
    assert result["done"] == ["yes", "after"]
    assert await noted(ledger) == ["inner", "after"]


async def test_rows_of_a_function_called_below_a_task_are_taken_with_it(claim: Claim) -> None:
    taken: list[str] = []
    claim.later("a:T1|b:T2", lambda tx: taken.append("below"))
    claim.later("a:T1", lambda tx: taken.append("of the task"))
    claim.later("a:T3|1|b:T4", lambda tx: taken.append("another"))
    claim.later("", lambda tx: taken.append("of no task"))
    assert claim.take("T9") == []
    for apply in claim.take("T1"):
        apply(None)  # type: ignore[arg-type]  # it does not look
    assert taken == ["below", "of the task"]
    assert claim.take("T1") == []
    for apply in claim.take_all():
        apply(None)  # type: ignore[arg-type]  # it does not look
    assert taken == ["below", "of the task", "another", "of no task"]
    assert claim.take_all() == []
