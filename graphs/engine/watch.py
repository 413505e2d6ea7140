"""Waiting for cases: one watch for any number of them, told by the engine, without asking the database again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType

from interlock import errors
from interlock.graphs import cases

__all__ = ["Watch", "Watches"]


class Watch:
    """Some cases on their way to a status that is enough. Entered, it hears of every drive that ends."""

    def __init__(self, watches: Watches, ids: Iterable[str], until: str) -> None:
        self.missing = set(ids)
        self._enough = cases.ENDED if until == "ended" else cases.SETTLED
        self._watches = watches
        self._changed = asyncio.Event()
        self._failure: errors.StorageError | None = None

    def hear(self, case_id: str, status: str) -> None:
        if status in self._enough or status == "gone":
            self.missing.discard(case_id)
        if not self.missing:
            self._changed.set()

    def fail(self, failure: errors.StorageError) -> None:
        self._failure = failure
        self._changed.set()

    async def over(self) -> None:
        """Return when no case is missing any more. Raises StorageError when one of them cannot go on."""
        if self.missing:
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Watch:
        self._watches.open.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watches.open.discard(self)


class Watches:
    """The open watches of an engine."""

    def __init__(self) -> None:
        self.open: set[Watch] = set()

    def tell(self, case_id: str, status: str) -> None:
        for watch in list(self.open):
            if case_id in watch.missing:
                watch.hear(case_id, status)

    def fail(self, case_id: str, failure: errors.StorageError) -> None:
        for watch in list(self.open):
            if case_id in watch.missing:
                watch.fail(failure)

    def close(self) -> None:
        """Nothing will be driven any more: let everybody go, with the cases as they are."""
        for watch in list(self.open):
            watch.missing.clear()
            watch.hear("", "")
