"""B1: what the gateway adds to a tool call. Arguments, a hundred policies and a chained record, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool
from langgraph.graph import END, START
from typing_extensions import TypedDict

from bench.trial import Trial, measure
from interlock import ControlPlane, Person, Workflow

TOOL = "bench.add"
POLICIES = 100
_ARGS = {"left": 2, "right": 3, "note": "two and three"}
_WARM_UP = 50


class State(TypedDict, total=False):
    calls: int


async def add(left: int, right: int, note: str = "") -> int:
    """Add two numbers."""
    return left + right


async def bare(folder: Path, runs: int, callers: int) -> Trial:
    """The tool as LangChain calls it: arguments validated, nothing decided, nothing recorded."""
    tool = StructuredTool.from_function(coroutine=add, name="add")

    async def once(number: int) -> None:
        assert await tool.ainvoke(dict(_ARGS)) == 5

    return await measure(once, runs, callers, lambda: 0)


async def governed(folder: Path, runs: int, callers: int) -> Trial:
    """A read from inside a task, with a hundred policies, five of which name this tool."""
    return await _calls(runs, "read", named=5)


async def crowded(folder: Path, runs: int, callers: int) -> Trial:
    """The same where all hundred policies name this tool."""
    return await _calls(runs, "read", named=POLICIES)


async def write(folder: Path, runs: int, callers: int) -> Trial:
    """A write: its intent is committed before it runs, its outcome after."""
    return await _calls(runs, "write", named=5)


async def _calls(runs: int, effect: str, named: int) -> Trial:
    """One case whose only task makes all calls: what case and task cost is spread over them, and counted."""
    async with ControlPlane.open(":memory:", policies=policies(named)) as plane:
        plane.register_tool(add, name=TOOL, effect=effect)
        plane.register_actor(Person("ana"))
        plane.register(_caller())

        async def once(number: int) -> None:
            calls = runs if number >= 0 else _WARM_UP
            started = await plane.start("caller", {"calls": calls}, requester="person:ana")
            done = await plane.wait(started.id)
            assert done.status == "completed", done

        trial = await measure(once, 1, 1, lambda: plane.services.db.commits)
    return replace(trial, runs=runs)


def _caller() -> Workflow:
    workflow = Workflow("caller", State)

    async def work(state: State, call: Any) -> None:
        for _ in range(state.get("calls", 1)):
            assert await call(TOOL, _ARGS) == 5

    workflow.task(tools=[TOOL])(work)
    return workflow.flow(START, "work", END)


def policies(named: int) -> Mapping[str, str]:
    """A hundred policies: `named` for this tool, of which the last one permits, the other ones for whole systems."""
    mine = [_policy(number, f'== Interlock::Action::"{TOOL}"', _condition(number, named)) for number in range(named)]
    other = 'in Interlock::Action::"effect:approve"'
    rest = [_policy(number, other, "context.amount <= 100000") for number in range(named, POLICIES)]
    return {"bench.cedar": "\n".join([*mine, *rest])}


def _condition(number: int, named: int) -> str:
    return "context.args.left >= 0" if number == named - 1 else f"context.args.right > {1000 + number}"


def _policy(number: int, action: str, condition: str) -> str:
    return f'@id("bench.{number}") permit (principal, action {action}, resource) when {{ {condition} }};'


PEERS = {"bare": bare, "governed": governed, "crowded": crowded, "write": write}
