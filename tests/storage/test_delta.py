"""Growing channels reload exactly: parallel tasks, snapshots, forks, thinning out, copies, deleted runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from interlock import errors
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.database import Database


def extend(state: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    return [*state, *(one for write in writes for one in write)]


def state_type(frequency: int) -> Any:
    often: DeltaChannel[Any] = DeltaChannel(extend, snapshot_frequency=frequency)
    seldom: DeltaChannel[Any] = DeltaChannel(extend, snapshot_frequency=2 * frequency)
    keys = {"log": Annotated[list[Any], often], "other": Annotated[list[Any], seldom], "turns": int}
    made: Any = TypedDict  # by a call: the frequency is known only now
    return made("Growing", keys, total=False)


def looping(frequency: int, workers: int = 3, turns: int = 4) -> Any:
    """Each turn fans out to parallel workers that append; after the last one it asks a person."""

    async def work(state: dict[str, int]) -> dict[str, Any]:
        await asyncio.sleep(random.Random(state["n"]).random() / 200)
        return {"log": [(f"{state['turn']}/{state['n']}")], "other": [state["n"]] if state["n"] == 0 else []}

    def turn(state: dict[str, Any]) -> dict[str, Any]:
        return {"turns": state.get("turns", 0) + 1}

    def more(state: dict[str, Any]) -> list[Send] | str:
        if state["turns"] > turns:
            return "ask"
        return [Send("work", {"turn": state["turns"], "n": n}) for n in range(workers)]

    def ask(state: dict[str, Any]) -> dict[str, Any]:
        return {"log": [interrupt("more?")], "turns": 0}

    graph: Any = StateGraph(state_type(frequency))
    graph.add_node("turn", turn)
    graph.add_node("work", work)
    graph.add_node("ask", ask)
    graph.add_edge(START, "turn")
    graph.add_conditional_edges("turn", more, ["work", "ask"])
    graph.add_edge("work", "turn")
    graph.add_edge("ask", END)
    return graph


EXPECTED = [f"{turn}/{n}" for turn in range(1, 5) for n in range(3)]


def thread(name: str = "t", **more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": name, **more}}


async def run(saver: Checkpoints, frequency: int, name: str = "t") -> Any:
    graph = looping(frequency).compile(saver)
    await graph.ainvoke({"log": ["start"]}, thread(name), durability="sync")
    return graph


async def history(graph: Any, name: str = "t") -> list[Any]:
    return [(one.values.get("log"), one.values.get("other")) async for one in graph.aget_state_history(thread(name))]


@pytest.mark.parametrize("frequency", [1, 2, 3, 5, 1000])
async def test_a_thread_reloads_exactly_at_every_step(saver: Checkpoints, frequency: int) -> None:
    graph = await run(saver, frequency)
    fresh = looping(frequency).compile(saver)
    assert (await fresh.aget_state(thread())).values["log"] == ["start", *EXPECTED]
    steps = [log for log, _ in await history(fresh) if log]
    assert {len(log) for log in steps} == {1, 4, 7, 10, 13}
    assert all(log == ["start", *EXPECTED][: len(log)] for log in steps)
    done = await graph.ainvoke(Command(resume="end"), thread(), durability="sync")
    assert done["log"] == ["start", *EXPECTED, "end"]
    assert done["other"] == [0, 0, 0, 0]


async def test_it_is_stored_as_differences(db: Database, saver: Checkpoints) -> None:
    """Without snapshots no checkpoint holds what earlier ones hold."""
    await run(saver, 1000)
    rows = await db.read(lambda reader: reader.rows("SELECT checkpoint FROM checkpoints"))
    assert len(rows) > 8
    assert not any(b"1/0" in row["checkpoint"] or b"4/2" in row["checkpoint"] for row in rows)


@pytest.mark.parametrize("frequency", [1, 3, 1000])
async def test_async_and_sync_history_are_those_of_the_reference(saver: Checkpoints, frequency: int) -> None:
    """LangGraph's own walk over get_tuple is the reference for the walk in SQL."""
    await run(saver, frequency)
    channels = ["log", "other", "no such channel"]
    found: list[CheckpointTuple] = [one async for one in saver.alist(thread())]
    assert len(found) > 8
    for config in [thread(), *(one.config for one in found), thread("no such thread")]:
        reference = await BaseCheckpointSaver.aget_delta_channel_history(saver, config=config, channels=channels)
        assert await saver.aget_delta_channel_history(config=config, channels=channels) == reference
        given_sync = await asyncio.to_thread(saver.get_delta_channel_history, config=config, channels=channels)
        assert given_sync == reference
    assert await saver.aget_delta_channel_history(config=thread(), channels=[]) == {}


async def test_a_chain_that_was_made_a_loop_ends(db: Database, saver: Checkpoints) -> None:
    await run(saver, 1000)
    first = "(SELECT min(checkpoint_id) FROM checkpoints)"
    last = "(SELECT max(checkpoint_id) FROM checkpoints)"
    await db.commit(
        lambda tx: tx.execute(f"UPDATE checkpoints SET parent_checkpoint_id = {last} WHERE checkpoint_id = {first}")
    )
    found = await saver.aget_delta_channel_history(config=thread(), channels=["log"])
    assert [one for _, _, value in found["log"]["writes"] for one in value] == ["start", *EXPECTED]


@pytest.mark.parametrize("frequency", [1, 2, 3, 5, 1000])
async def test_thinning_out_keeps_what_the_newest_state_is_rebuilt_from(saver: Checkpoints, frequency: int) -> None:
    graph = await run(saver, frequency)
    before, stored = (await graph.aget_state(thread())), len(await history(graph))
    await saver.aprune(["t"])
    assert (await graph.aget_state(thread())).values == before.values
    left = len(await history(graph))
    assert left < stored if frequency < 3 else left <= stored
    await saver.aprune(["t"])
    assert len(await history(graph)) == left
    done = await graph.ainvoke(Command(resume="end"), thread(), durability="sync")
    assert done["log"] == ["start", *EXPECTED, "end"]


async def test_thinning_out_may_end_the_wait_for_no_snapshot_at_all(saver: Checkpoints) -> None:
    """A thread that never snapshots keeps its chain; one that just did keeps one checkpoint."""
    graph = await run(saver, 1)
    await saver.aprune(["t"])
    assert len(await history(graph)) <= 2


@pytest.mark.parametrize("frequency", [2, 1000])
async def test_a_copy_is_whole_and_lives_its_own_life(saver: Checkpoints, frequency: int) -> None:
    graph = await run(saver, frequency)
    await saver.acopy_thread("t", "copy")
    assert await history(graph, "copy") == await history(graph)
    await saver.adelete_thread("t")
    assert (await graph.aget_state(thread("copy"))).values["log"] == ["start", *EXPECTED]
    done = await graph.ainvoke(Command(resume="copied"), thread("copy"), durability="sync")
    assert done["log"] == ["start", *EXPECTED, "copied"]
    assert (await graph.aget_state(thread())).values == {}


@pytest.mark.parametrize("frequency", [3, 1000])
async def test_a_fork_follows_its_own_ancestors(saver: Checkpoints, frequency: int) -> None:
    graph = await run(saver, frequency)
    middle = [one async for one in graph.aget_state_history(thread())][5]
    forked = await graph.aupdate_state(middle.config, {"log": ["forked"]}, as_node="ask")
    assert (await graph.aget_state(forked)).values["log"] == [*middle.values["log"], "forked"]
    assert (await graph.aget_state(thread())).values["log"] == [*middle.values["log"], "forked"]
    assert (await graph.aget_state(middle.config)).values["log"] == middle.values["log"]


# deleting runs


async def two_runs(saver: Checkpoints, frequency: int) -> Any:
    graph: Any = looping(frequency).compile(saver)
    for number in (1, 2):
        config = {**thread(), "metadata": {"run_id": f"run {number}"}}
        await graph.ainvoke({"log": [f"start {number}"], "turns": 0}, config, durability="sync")
    return graph


async def test_the_last_run_can_be_taken_back(saver: Checkpoints) -> None:
    graph = await two_runs(saver, 1000)
    assert len((await graph.aget_state(thread())).values["log"]) == 2 + 2 * len(EXPECTED)
    await saver.adelete_for_runs(["run 2"])
    assert (await graph.aget_state(thread())).values["log"] == ["start 1", *EXPECTED]


async def test_a_run_on_which_a_later_one_is_built_is_not_deleted(saver: Checkpoints) -> None:
    graph = await two_runs(saver, 1000)
    before = await history(graph)
    with pytest.raises(errors.StorageError, match="rebuilt from") as caught:
        await saver.adelete_for_runs(["run 1"])
    assert caught.value.hint
    with pytest.raises(errors.StorageError):
        await asyncio.to_thread(saver.delete_for_runs, ["run 1", "no such run"])
    assert await history(graph) == before
    await saver.adelete_for_runs(["run 1", "run 2"])
    assert await history(graph) == []


async def test_after_thinning_out_nothing_is_built_on_the_first_run_any_more(saver: Checkpoints) -> None:
    """As the hint says. Before it the first step of the second run has no snapshot, even if each update makes one."""
    graph = await two_runs(saver, 1)
    before = (await graph.aget_state(thread())).values
    with pytest.raises(errors.StorageError, match="rebuilt from"):
        await saver.adelete_for_runs(["run 1"])
    await saver.aprune(["t"])
    await saver.adelete_for_runs(["run 1"])
    assert [one async for one in saver.alist(thread(), filter={"run_id": "run 1"})] == []
    assert (await graph.aget_state(thread())).values == before


# any order of things


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frequency=st.integers(1, 6),
    steps=st.lists(st.sampled_from(["answer", "update", "prune", "copy"]), min_size=1, max_size=6),
)
async def test_whatever_is_done_a_reload_equals_what_the_run_saw(frequency: int, steps: list[str]) -> None:
    db = await Database.open(":memory:")
    try:
        await live(Checkpoints(db), frequency, steps)
    finally:
        await db.close()


async def live(saver: Checkpoints, frequency: int, steps: list[str]) -> None:
    graph, name = await run(saver, frequency), "t"
    expected: list[Any] = ["start", *EXPECTED]
    for number, step in enumerate(steps):
        if step == "answer":
            started = {"log": [f"again {number}"], "turns": 4}
            await graph.ainvoke(started, thread(name), durability="sync")
            done = await graph.ainvoke(Command(resume=number), thread(name), durability="sync")
            expected += [f"again {number}", number]
            assert done["log"] == expected
        elif step == "update":
            await graph.aupdate_state(thread(name), {"log": [number]}, as_node="ask")
            expected.append(number)
        elif step == "prune":
            await saver.aprune([name])
        else:
            await saver.acopy_thread(name, f"copy {number}")
            name = f"copy {number}"
        assert (await looping(frequency).compile(saver).aget_state(thread(name))).values["log"] == expected
