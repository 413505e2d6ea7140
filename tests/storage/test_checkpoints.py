"""The checkpointer under real graphs: order, special channels, encryption, allow-list, tenants, stock tools."""

from __future__ import annotations

import asyncio
import operator
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import errors
from interlock.storage.checkpoint_rows import PAGE
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.claim import TENANT
from interlock.storage.database import Database, Transaction
from tests.storage.units import statement


class State(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]
    answer: str


class Note(BaseModel):
    text: str


def thread(name: str = "t", **more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": name, **more}}


def fan_out(workers: int) -> Any:
    """`workers` parallel tasks that end in another order than they began, then a question to a person."""

    async def work(state: dict[str, int]) -> State:
        await asyncio.sleep(random.Random(state["n"]).random() / 100)
        return {"seen": [state["n"]]}

    def ask(state: State) -> State:
        return {"answer": interrupt({"count": len(state.get("seen", []))})}

    graph: Any = StateGraph(State)
    graph.add_node("work", work)
    graph.add_node("ask", ask)
    graph.add_conditional_edges(START, lambda _: [Send("work", {"n": n}) for n in range(workers)])
    graph.add_edge("work", "ask")
    graph.add_edge("ask", END)
    return graph


async def test_twelve_parallel_workers_reload_in_order(saver: Checkpoints) -> None:
    graph = fan_out(12).compile(saver)
    await graph.ainvoke({"seen": []}, thread(), durability="sync")
    reloaded = await fan_out(12).compile(saver).aget_state(thread())
    assert reloaded.values["seen"] == list(range(12))
    done = await graph.ainvoke(Command(resume="yes"), thread(), durability="sync")
    assert done["answer"] == "yes"
    history = [one async for one in saver.alist(thread())]
    by_step = {one.metadata.get("step"): one.pending_writes for one in history}
    assert [value for _, channel, value in by_step[0] or [] if channel == "seen"] == [[n] for n in range(12)]


async def test_a_crash_between_parallel_workers_and_their_join_loses_no_order(db: Database, saver: Checkpoints) -> None:
    """The writes are durable, the checkpoint after them is not: the order comes from the task paths alone."""
    graph = fan_out(12).compile(saver)
    await graph.ainvoke({"seen": []}, thread(), durability="sync")
    last = "SELECT max(checkpoint_id) AS id FROM checkpoints"

    def crash(tx: Transaction) -> None:
        row = tx.row(last)
        assert row is not None
        tx.execute("DELETE FROM checkpoints WHERE checkpoint_id = ?", (row["id"],))
        tx.execute("DELETE FROM writes WHERE checkpoint_id = ?", (row["id"],))

    await db.commit(crash)
    await graph.ainvoke(None, thread(), durability="sync")
    assert (await graph.aget_state(thread())).values["seen"] == list(range(12))


async def test_sync_and_async_use_give_the_same_thread(saver: Checkpoints) -> None:
    def use_sync() -> list[Any]:
        graph = fan_out(5).compile(saver)
        graph_sync = sync_graph().compile(saver)
        graph_sync.invoke({"seen": []}, thread("sync"), durability="sync")
        graph_sync.invoke(Command(resume="yes"), thread("sync"), durability="sync")
        assert graph.checkpointer is saver
        return [graph_sync.get_state(thread("sync")).values, len(list(saver.list(thread("sync"))))]

    graph = sync_graph().compile(saver)
    await graph.ainvoke({"seen": []}, thread("async"), durability="sync")
    await graph.ainvoke(Command(resume="yes"), thread("async"), durability="sync")
    values = (await graph.aget_state(thread("async"))).values
    assert await asyncio.to_thread(use_sync) == [values, len([one async for one in saver.alist(thread("async"))])]
    assert values == {"seen": [1, 2], "answer": "yes"}


def sync_graph() -> Any:
    graph: Any = StateGraph(State)
    graph.add_node("one", lambda _: {"seen": [1]})
    graph.add_node("two", lambda _: {"seen": [2], "answer": interrupt("sure?")})
    graph.add_edge(START, "one")
    graph.add_edge("one", "two")
    return graph


async def test_a_reload_gives_exactly_what_was_stored(saver: Checkpoints) -> None:
    config = await saver.aput(thread(), empty_checkpoint(), {"source": "input", "step": -1, "run_id": "r"}, {})
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"a": [1, "ü\0\U0001f600", b"\xff", None, 1.5, {"k": [1, 2]}, 2**63 - 1, {1, 2}]}
    stored = await saver.aput(config, checkpoint, {"source": "loop", "step": 0}, {"a": "1"})
    await saver.aput_writes(stored, [("a", [3]), ("b", "x")], "task", "~path")
    found = await saver.aget_tuple(thread())
    assert found is not None
    assert found.checkpoint == checkpoint
    assert found.config == stored
    assert found.parent_config == config
    assert found.pending_writes == [("task", "a", [3]), ("task", "b", "x")]
    assert await asyncio.to_thread(saver.get_tuple, thread()) == found
    assert await asyncio.to_thread(lambda: list(saver.list(thread()))) == [one async for one in saver.alist(thread())]


# special channels


async def test_ordinary_writes_keep_the_first_and_special_ones_the_last(saver: Checkpoints) -> None:
    config = await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    for value in ("first", "second"):
        await saver.aput_writes(config, [("a", value), ("__error__", value), ("b", value)], "task", "p")
        await asyncio.to_thread(
            saver.put_writes, config, [("__interrupt__", value), ("__resume__", value)], "task", "p"
        )
    found = await saver.aget_tuple(thread())
    assert found is not None
    assert found.pending_writes == [
        ("task", "__resume__", "second"),
        ("task", "__interrupt__", "second"),
        ("task", "__error__", "second"),
        ("task", "a", "first"),
        ("task", "b", "first"),
    ]


async def test_no_writes_are_no_rows(db: Database, saver: Checkpoints) -> None:
    config = await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    await saver.aput_writes(config, [], "task", "p")
    assert await db.read(lambda reader: reader.rows("SELECT * FROM writes")) == []


# lists


async def many(saver: Checkpoints, count: int) -> list[str]:
    """`count` checkpoints, spread over three threads."""
    ids = []
    for n in range(count):
        checkpoint = empty_checkpoint()
        await saver.aput(thread(f"t{n % 3}"), checkpoint, {"source": "loop", "step": n, "run_id": f"r{n % 2}"}, {})
        ids.append(checkpoint["id"])
    return sorted(ids, reverse=True)


async def listed(saver: Checkpoints, *args: Any, **more: Any) -> list[str]:
    found = [one.checkpoint["id"] async for one in saver.alist(*args, **more)]
    assert found == await asyncio.to_thread(lambda: [one.checkpoint["id"] for one in saver.list(*args, **more)])
    return found


async def test_long_lists_come_in_pages_without_gap_or_double(saver: Checkpoints) -> None:
    ids = await many(saver, 2 * PAGE + 7)
    assert await listed(saver, None) == ids
    for limit in (0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 10_000):
        assert await listed(saver, None, limit=limit) == ids[:limit]
    assert len(await listed(saver, thread("t1"))) == 69
    half = await listed(saver, None, filter={"run_id": "r1"})
    assert len(half) == 103
    assert await listed(saver, None, filter={"run_id": "r1"}, limit=60) == half[:60]
    assert await listed(saver, None, before=thread(checkpoint_id=ids[150])) == ids[151:]
    assert await listed(saver, None, filter={"run_id": "r1", "step": "1"}) == []
    assert await listed(saver, None, filter={"no' OR 1=1 --": 1}) == []


async def test_checkpoints_of_the_same_id_in_two_threads_are_both_listed(saver: Checkpoints) -> None:
    await many(saver, PAGE)
    for source in ("t0", "t1", "t2"):
        for target in ("x", "y"):
            await saver.acopy_thread(source, f"{source}{target}")
    assert len(await listed(saver, None)) == 3 * PAGE


# what cannot be stored or read


@pytest.mark.parametrize("value", [object(), lambda: None, 2**70])
async def test_a_value_that_cannot_be_stored_is_a_clear_error(saver: Checkpoints, value: object) -> None:
    config = await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    with pytest.raises(errors.StorageError, match="write to 'a' cannot be stored") as caught:
        await saver.aput_writes(config, [("fine", 1), ("a", value)], "task")
    assert caught.value.hint
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"a": value}
    with pytest.raises(errors.StorageError, match="checkpoint cannot be stored"):
        await asyncio.to_thread(saver.put, config, checkpoint, {"source": "loop", "step": 1}, {})
    found = await saver.aget_tuple(thread())
    assert found is not None
    assert found.pending_writes == []


@pytest.mark.parametrize(
    ("value", "found"),
    [(2**70, 2**70), ("\ud800", "\ud800"), ({1: "a"}, {"1": "a"}), (None, None), ("a\0b", "ab"), ([1.5], [1.5])],
)
async def test_metadata_of_any_json_is_kept(saver: Checkpoints, value: Any, found: Any) -> None:
    await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "odd": value}, {})  # type: ignore[typeddict-unknown-key]
    stored = await saver.aget_tuple(thread())
    assert stored is not None
    assert stored.metadata.get("odd") == found


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


@pytest.mark.parametrize("value", [object(), b"bytes", deep(100_000)])
async def test_other_metadata_is_a_clear_error(saver: Checkpoints, value: object) -> None:
    with pytest.raises(errors.StorageError, match="metadata"):
        await saver.aput(thread(), empty_checkpoint(), {"odd": value}, {})  # type: ignore[typeddict-unknown-key]
    assert await saver.aget_tuple(thread()) is None


async def test_a_row_without_metadata_has_none(db: Database, saver: Checkpoints) -> None:
    await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    await db.commit(lambda tx: tx.execute("UPDATE checkpoints SET metadata = NULL"))
    found = await saver.aget_tuple(thread())
    assert found is not None
    assert found.metadata == {}


async def test_a_stored_value_that_cannot_be_read_is_a_clear_error(db: Database, saver: Checkpoints) -> None:
    await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    for change in ("type = 'pickle'", "checkpoint = x'c1'", "checkpoint = x''"):
        await db.commit(statement(f"UPDATE checkpoints SET {change}"))
        with pytest.raises(errors.StorageError, match="cannot be read") as caught:
            await saver.aget_tuple(thread())
        assert caught.value.hint


# tenants


async def test_a_tenant_sees_changes_and_deletes_only_its_own(saver: Checkpoints) -> None:
    ids = {}
    for tenant in ("default", "acme", "Ünï"):
        TENANT.set(tenant)
        checkpoint = empty_checkpoint()
        config = await saver.aput(thread(), checkpoint, {"source": "loop", "run_id": "r"}, {})
        await saver.aput_writes(config, [("who", tenant)], "task")
        ids[tenant] = checkpoint["id"]
    for tenant, checkpoint_id in ids.items():
        TENANT.set(tenant)
        found = await saver.aget_tuple(thread())
        assert found is not None
        assert (found.checkpoint["id"], found.pending_writes) == (checkpoint_id, [("task", "who", tenant)])
        assert await listed(saver, None) == [checkpoint_id]
        for other in ids.values():
            if other != checkpoint_id:
                assert await saver.aget_tuple(thread(checkpoint_id=other)) is None
    await saver.adelete_thread("t")  # as the last of them
    await saver.aprune(["t"], strategy="delete")
    await saver.adelete_for_runs(["r"])
    assert await listed(saver, None) == []
    for tenant in ("default", "acme"):
        TENANT.set(tenant)
        assert await listed(saver, None) == [ids[tenant]]


# whole threads


async def test_whole_threads_from_worker_threads(saver: Checkpoints) -> None:
    def work() -> list[int]:
        counts = []
        graph = sync_graph().compile(saver)
        graph.invoke({"seen": []}, thread("a"), durability="sync")
        saver.copy_thread("a", "b")
        counts.append(len(list(saver.list(thread("b")))))
        saver.prune(["a", "b"])
        counts.append(len(list(saver.list(thread("b")))))
        assert graph.get_state(thread("b")).next == ("two",)
        graph.invoke(Command(resume="yes"), thread("b"), durability="sync")
        assert graph.get_state(thread("b")).values == {"seen": [1, 2], "answer": "yes"}
        saver.delete_thread("a")
        counts.append(len(list(saver.list(thread("a")))))
        saver.delete_for_runs(["no such run"])
        saver.prune(["b"], strategy="delete")
        counts.append(len(list(saver.list(None))))
        return counts

    assert await asyncio.to_thread(work) == [3, 1, 0, 0]


async def test_an_unknown_way_to_prune_is_refused(saver: Checkpoints) -> None:
    await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    with pytest.raises(errors.InputError, match="no way to prune"):
        await saver.aprune(["t"], strategy="keep_some")
    assert len(await listed(saver, None)) == 1


def test_versions_grow_and_sort_as_text(saver: Checkpoints) -> None:
    version: str | int | None = None
    versions: list[str] = []
    for _ in range(1200):
        version = saver.get_next_version(version, None)
        versions.append(version)
    assert versions == sorted(set(versions))
    assert saver.get_next_version(41, None).startswith(f"{42:032}.")
    assert saver.get_next_version(versions[-1], None) != saver.get_next_version(versions[-1], None)


# collecting


async def test_what_is_collected_becomes_durable_with_the_unit_of_the_caller(db: Database, saver: Checkpoints) -> None:
    graph = sync_graph().compile(saver)
    before = db.units
    async with saver.collecting() as applies:
        await graph.aupdate_state(thread(), {"seen": [0]}, as_node="one")
        assert await saver.aget_tuple(thread()) is None
        await asyncio.to_thread(saver.delete_thread, "another")
    assert db.units == before
    assert len(applies) >= 2

    def unit(tx: Transaction) -> None:
        for apply in applies:
            apply(tx)

    await db.commit(unit)
    assert db.units == before + 1
    assert (await graph.aget_state(thread())).values["seen"] == [0]


async def test_collecting_ends_with_its_block_even_when_that_fails(db: Database, saver: Checkpoints) -> None:
    with pytest.raises(ZeroDivisionError):
        async with saver.collecting():
            raise ZeroDivisionError
    await saver.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    assert len(await listed(saver, None)) == 1


# stock tools


async def test_the_stock_saver_reads_our_file(filed: Database, path: Path) -> None:
    ours = sync_graph().compile(Checkpoints(filed))
    await ours.ainvoke({"seen": []}, thread(), durability="sync")

    def read_it() -> tuple[Any, ...]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)) as connection:
            stock = SqliteSaver(connection)
            stock.is_setup = True  # the connection may not write, and there is nothing to set up
            graph = sync_graph().compile(stock)
            state = graph.get_state(thread())
            return state.values, state.next, state.interrupts, len(list(graph.get_state_history(thread())))

    values, following, interrupts, steps = await asyncio.to_thread(read_it)
    mine = await ours.aget_state(thread())
    assert (values, following, interrupts) == (mine.values, mine.next, mine.interrupts)
    assert values == {"seen": [1]}
    assert steps == 3


async def test_the_stock_saver_sets_up_beside_our_tables_and_changes_nothing(filed: Database, path: Path) -> None:
    ours = sync_graph().compile(Checkpoints(filed))
    await ours.ainvoke({"seen": []}, thread(), durability="sync")

    def set_up() -> Any:
        with SqliteSaver.from_conn_string(str(path)) as stock:
            stock.setup()
            return sync_graph().compile(stock).get_state(thread()).values

    assert await asyncio.to_thread(set_up) == {"seen": [1]}
    assert (await ours.ainvoke(Command(resume="yes"), thread(), durability="sync"))["answer"] == "yes"
