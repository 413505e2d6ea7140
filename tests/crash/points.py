"""The numbered points of one call between "decided" and "settled", and a way to stand at each; product code knows none.

A point is reached in the node (1), in the commit (2, 7), in the flight of the effect (3 to 6, 8), or in the task's own
commit (9). `visiting` patches the steps of the gateway for as long as it is entered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from typing import Any, Protocol
from unittest.mock import patch

from interlock.storage.checkpoints import Checkpoints
from interlock.tools import effects
from interlock.tools.execution import Execution
from interlock.tools.judgement import Judge
from interlock.tools.records import Records

__all__ = ["IN_COMMIT", "Point", "Visitor", "visiting"]


class Point(IntEnum):
    """Where a call stands."""

    DECIDED = 1
    INTENT_IN_COMMIT = 2
    INTENT_DURABLE = 3
    BEFORE_EFFECT = 4
    AFTER_EFFECT = 5
    EXECUTED = 6
    OUTCOME_IN_COMMIT = 7
    OUTCOME_DURABLE = 8
    TASK_WRITES = 9


IN_COMMIT = frozenset({Point.INTENT_IN_COMMIT, Point.OUTCOME_IN_COMMIT})


class Visitor(Protocol):
    """Told of each point: `reach` may wait, `reach_in_commit` is called in the thread of the committer."""

    async def reach(self, point: Point) -> None: ...

    def reach_in_commit(self, point: Point) -> None: ...


@contextmanager
def visiting(visitor: Visitor) -> Iterator[None]:
    """Every call of a writing tool passes the visitor; the tools themselves tell of points 4 and 5."""
    with ExitStack() as stack:
        for owner, name, step in [*_steps(visitor), *_commits(visitor)]:
            stack.enter_context(patch.object(owner, name, step))
        yield


def _steps(visitor: Visitor) -> Iterator[tuple[Any, str, Any]]:
    decide, run, outcome, writes = Judge.decide, Execution.run, Records.outcome, Checkpoints.aput_writes
    settled: list[bool] = []

    async def decided(judge: Judge, *args: Any) -> Any:
        item = await decide(judge, *args)
        await visitor.reach(Point.DECIDED)
        return item

    async def ran(execution: Execution, attempt: Any) -> Any:
        await visitor.reach(Point.INTENT_DURABLE)
        return await run(execution, attempt)

    async def recorded(records: Records, *args: Any) -> None:
        await visitor.reach(Point.EXECUTED)
        await outcome(records, *args)
        settled.append(True)
        await visitor.reach(Point.OUTCOME_DURABLE)

    async def written(saver: Checkpoints, *args: Any) -> None:
        if settled:
            await visitor.reach(Point.TASK_WRITES)
        await writes(saver, *args)

    yield from ((Judge, "decide", decided), (Execution, "run", ran))
    yield from ((Records, "outcome", recorded), (Checkpoints, "aput_writes", written))


def _commits(visitor: Visitor) -> Iterator[tuple[Any, str, Any]]:
    intend, settle = effects.intend, effects.settle

    def intending(*args: Any) -> bool:
        written = intend(*args)
        visitor.reach_in_commit(Point.INTENT_IN_COMMIT)
        return written

    def settling(*args: Any) -> bool:
        written = settle(*args)
        visitor.reach_in_commit(Point.OUTCOME_IN_COMMIT)
        return written

    yield from ((effects, "intend", intending), (effects, "settle", settling))
