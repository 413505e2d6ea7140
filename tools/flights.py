"""Effects in flight: each runs in a task of the plane, so that it ends whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from interlock.tools.attempt import Attempt

__all__ = ["Flights"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Flights(Generic[T]):
    """One per gateway; at most one flight per effect."""

    def __init__(self) -> None:
        self._flying: dict[tuple[str, str], tuple[str, asyncio.Task[T]]] = {}

    def of(self, attempt: Attempt) -> asyncio.Task[T] | None:
        """The flight of a call's effect, to be awaited through a shield; None when there is none."""
        flying = self._flying.get(_key(attempt))
        return None if flying is None else flying[1]

    async def own(self, attempt: Attempt, work: Coroutine[Any, Any, T]) -> T | None:
        """Run `work` in a task of the plane: LangGraph cancels nodes, and an effect in flight has to end all the same.

        Whoever comes second waits for the first, and gets None: the database says what the first has left.
        """
        flying = self.of(attempt)
        if flying is not None:
            work.close()
            await asyncio.shield(flying)
            return None
        key = _key(attempt)
        task = asyncio.create_task(work, name=f"effect {attempt.name}")
        self._flying[key] = (attempt.site.case_id, task)
        task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    async def drain(self, case_id: str | None = None) -> None:
        """Wait for the flights of one case or all. Each is bounded by its tool's time-out."""
        while flying := [task for case, task in self._flying.values() if case_id in (None, case)]:
            await asyncio.wait(flying)

    def _landed(self, key: tuple[str, str], task: asyncio.Task[T]) -> None:
        del self._flying[key]
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("effect %s could not be recorded: %s", key[1], failure)


def _key(attempt: Attempt) -> tuple[str, str]:
    return attempt.site.tenant, attempt.effect_key
