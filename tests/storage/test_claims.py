"""Who may write a case, and what else is written beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph

from interlock import errors
from interlock.observability.ledger import Ledger
from interlock.observability.verification import verify
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.claim import CLAIM, TENANT, Claim
from interlock.storage.database import Database, Transaction
from tests.storage.driving import ALL, CASE, State, config, drive, fine, line, note, noted
from tests.storage.units import claimed, failing, put, reclaimed


async def finished(saver: Checkpoints, claim: Claim) -> Any:
    graph: Any = (
        StateGraph(State).add_node("one", lambda state: {"done": ["one"]}).add_edge(START, "one").compile(saver)
    )
    await drive(graph, claim, {"done": []})
    return graph


async def test_a_case_is_written_only_under_its_claim(db: Database, saver: Checkpoints, claim: Claim) -> None:
    graph = await finished(saver, claim)
    before = [one async for one in saver.alist(None)]
    new = await reclaimed(db, claim)
    poisoned = Claim("default", CASE, new.epoch)
    poisoned.fail(ValueError("earlier"))
    another = await claimed(db, "another")
    for held in (None, claim, poisoned, another, Claim("default", CASE, new.epoch + 1)):
        with pytest.raises(errors.Stale) as caught:
            await drive(graph, held, {"done": ["again"]})
        assert caught.value.hint
        CLAIM.set(held)
        with pytest.raises(errors.Stale):
            await saver.aput_writes(config(checkpoint_id=before[0].checkpoint["id"]), [("done", ["x"])], "task")
        with pytest.raises(errors.Stale):
            await asyncio.to_thread(saver.put, config(), empty_checkpoint(), {}, {})
        CLAIM.set(None)
    assert [one async for one in saver.alist(None)] == before
    assert (await drive(graph, new, {"done": ["again"]}))["done"] == ["one", "again", "one"]


async def test_whole_threads_of_cases_are_left_alone_without_their_claim(
    db: Database, saver: Checkpoints, claim: Claim
) -> None:
    graph = await finished(saver, claim)
    plain: Any = (
        StateGraph(State).add_node("one", lambda state: {"done": ["plain"]}).add_edge(START, "one").compile(saver)
    )
    run = {**config("plain"), "metadata": {"run_id": "r"}}
    await plain.ainvoke({"done": []}, run, durability="sync")
    CLAIM.set(claim)
    await saver.aput({**config(), "metadata": {"run_id": "r"}}, empty_checkpoint(), {"source": "loop"}, {})
    CLAIM.set(None)
    before = [one async for one in saver.alist(None)]
    for attempt in (
        saver.adelete_thread(CASE),
        saver.aprune([CASE]),
        saver.aprune([CASE], strategy="delete"),
        saver.acopy_thread("plain", CASE),
        saver.adelete_for_runs(["r"]),
    ):
        with pytest.raises(errors.Stale, match="governed case"):
            await attempt
    assert [one async for one in saver.alist(None)] == before
    await saver.acopy_thread(CASE, "copy")
    assert (await graph.aget_state(config("copy"))).values["done"] == []
    CLAIM.set(claim)
    await saver.aprune([CASE])
    assert len([one async for one in saver.alist(config())]) == 1
    await saver.adelete_thread(CASE)
    assert [one async for one in saver.alist(config())] == []


async def test_the_same_id_is_a_plain_thread_for_another_tenant(db: Database, saver: Checkpoints, claim: Claim) -> None:
    TENANT.set("acme")
    await saver.aput(config(), empty_checkpoint(), {"source": "loop"}, {})
    assert len([one async for one in saver.alist(None)]) == 1
    TENANT.set("default")
    assert [one async for one in saver.alist(None)] == []
    with pytest.raises(errors.Stale):
        await saver.aput(config(), empty_checkpoint(), {"source": "loop"}, {})


async def test_a_claim_brings_its_tenant(db: Database, saver: Checkpoints) -> None:
    other = await claimed(db, CASE, tenant="acme")
    await finished(saver, other)
    assert [one async for one in saver.alist(None)] == []
    TENANT.set("acme")
    assert len([one async for one in saver.alist(None)]) == 3


async def test_a_plain_thread_inside_a_driven_case_is_stored_without_the_claim(
    db: Database, saver: Checkpoints, claim: Claim
) -> None:
    inner: Any = (
        StateGraph(State).add_node("one", lambda state: {"done": ["inner"]}).add_edge(START, "one").compile(saver)
    )

    async def outer(state: State) -> dict[str, Any]:
        own = {"configurable": {"thread_id": "own thread", "checkpoint_ns": ""}}
        result = await inner.ainvoke({"done": []}, own, durability="sync")
        return {"done": result["done"]}

    graph: Any = StateGraph(State).add_node("outer", outer).add_edge(START, "outer").compile(saver)
    assert (await drive(graph, claim, {"done": []}))["done"] == ["inner"]
    assert (await inner.aget_state(config("own thread"))).values["done"] == ["inner"]


async def test_sync_use_is_governed_too(db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim) -> None:
    def step(state: State, config: RunnableConfig) -> dict[str, Any]:
        note(ledger, config, "sync")
        return {"done": ["sync"]}

    graph: Any = StateGraph(State).add_node("step", step).add_edge(START, "step").compile(saver)
    CLAIM.set(claim)
    result = await asyncio.to_thread(graph.invoke, {"done": []}, config(), durability="sync")
    assert result["done"] == await noted(ledger) == ["sync"]
    CLAIM.set(None)
    with pytest.raises(errors.Stale):
        await asyncio.to_thread(graph.invoke, {"done": []}, config(), durability="sync")
    CLAIM.set(await reclaimed(db, claim))
    unstorable = empty_checkpoint()
    unstorable["channel_values"] = {"a": object()}
    with pytest.raises(errors.StorageError, match="cannot be stored"):
        await asyncio.to_thread(saver.put, config(), unstorable, {}, {})
    with pytest.raises(errors.Stale):
        await asyncio.to_thread(graph.invoke, {"done": []}, config(), durability="sync")


async def test_a_case_opens_with_its_first_checkpoint_and_row_in_one_commit(
    db: Database, saver: Checkpoints, ledger: Ledger
) -> None:
    graph = line(ledger, fine).compile(saver)
    async with saver.collecting() as applies:
        await graph.aupdate_state(config(), {"done": []}, as_node="__input__")
    insert = "INSERT INTO cases (tenant, case_id, epoch, status) VALUES ('default', ?, 1, 'queued')"
    event = ledger.event("case.resumed", tenant="default", case_id=CASE, data={"by": "start", "comment": ""})

    def opening(tx: Transaction) -> None:
        tx.execute(insert, (CASE,))
        tx.append(event)
        for apply in applies:
            apply(tx)

    await db.commit(opening)
    done = await drive(graph, Claim("default", CASE, 1))
    assert done["done"] == ALL
    assert await noted(ledger) == ["start", *ALL]


async def test_a_failed_unit_beside_the_graph_stops_the_graph(
    db: Database, saver: Checkpoints, ledger: Ledger, claim: Claim
) -> None:
    """An intent, a reservation or any other unit under the claim counts as much as a write of LangGraph's."""

    async def step(state: State, config: RunnableConfig) -> dict[str, Any]:
        note(ledger, config, "step")
        with pytest.raises(ValueError, match="intent"):
            await db.commit(failing(ValueError("intent")), claim=CLAIM.get())
        return {"done": ["step"]}

    graph: Any = StateGraph(State).add_node("step", step).add_edge(START, "step").compile(saver)
    with pytest.raises(errors.Stale, match="intent"):
        await drive(graph, claim, {"done": []})
    assert await noted(ledger) == []
    assert await db.commit(put("others go on")) == "others go on"
    assert (await verify(db)).ok
