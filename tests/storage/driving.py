"""Drives graphs as the engine does, whose nodes note rows for the ledger."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from interlock.observability.ledger import Ledger
from interlock.storage.claim import CLAIM, Claim

CASE = "case"
STEPS = 6


class State(TypedDict, total=False):
    done: Annotated[list[str], operator.add]
    answer: str


def config(case: str = CASE, **more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": case, **more}}


def namespace(config: RunnableConfig) -> str:
    """Where a node runs, with its task id."""
    return str(config.get("configurable", {})["checkpoint_ns"])


async def drive(graph: Any, claim: Claim | None, value: Any = None, case: str = CASE) -> Any:
    token = CLAIM.set(claim)
    try:
        return await graph.ainvoke(value, config(case), durability="sync")
    finally:
        CLAIM.reset(token)


def note(ledger: Ledger, config: RunnableConfig, what: str, attempt: int = 1) -> None:
    """A row that becomes durable with the task it was noted in."""
    event = ledger.event("case.resumed", tenant="default", case_id=CASE, data={"by": what, "comment": ""})
    ledger.defer(event, namespace(config), attempt)


async def noted(ledger: Ledger) -> list[str]:
    assert (await ledger.verify()).ok
    return [event["data"]["by"] async for event in ledger.export(case_id=CASE)]


def line(ledger: Ledger, spoil: Callable[[int, RunnableConfig], Any]) -> Any:
    """Six steps in a row, each of which notes itself; `spoil` may ruin one of them and gives what it returns."""
    graph: Any = StateGraph(State)
    for number in range(STEPS):

        async def step(state: State, config: RunnableConfig, number: int = number) -> dict[str, Any]:
            note(ledger, config, f"step {number}")
            spoilt = spoil(number, config)
            return {"done": [f"step {number}"]} if spoilt is None else {"done": [spoilt]}

        graph.add_node(f"s{number}", step)
        graph.add_edge(f"s{number - 1}" if number else START, f"s{number}")
    return graph


def fine(number: int, config: RunnableConfig) -> None:
    return None


ALL = [f"step {number}" for number in range(STEPS)]
