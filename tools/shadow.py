"""What a candidate set says to a call that is being decided. It acts on nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from interlock.clock import Clock
from interlock.oversight.contexts import merged
from interlock.oversight.edition import Edition
from interlock.oversight.inbox import Item
from interlock.oversight.policy import Policies, Request
from interlock.oversight.replay import Answer
from interlock.oversight.shadow import difference, unharmed
from interlock.tools.attempt import Attempt
from interlock.tools.history import earlier

if TYPE_CHECKING:
    from interlock.storage.database import Database

__all__ = ["Shadow"]


class Shadow:
    """Asks the candidate of the policies, if there is one; without one nothing is done."""

    def __init__(self, db: Database, policies: Policies, clock: Clock) -> None:
        self._db, self._policies, self._clock = db, policies, clock

    def looks_back(self, attempt: Attempt) -> bool:
        """Whether the candidate asks what came before a call."""
        candidate = self._policies.candidate
        return candidate is not None and bool(_asks(candidate, attempt))

    def aged(self, attempt: Attempt) -> tuple[str, ...]:
        """The ages of arguments that the candidate asks for."""
        candidate = self._policies.candidate
        part = candidate.slice(attempt.name) if candidate is not None else None
        return part.aged if part is not None else ()

    async def compare(self, attempt: Attempt, decision: str, item: Item | None = None) -> None:
        """Note on an attempt how the candidate would have decided it, where that is not as it was decided."""
        candidate = self._policies.candidate
        if candidate is None or attempt.request is None:
            return
        live = Answer(decision, attempt.reasons, dict(item.need) if item is not None else {}, attempt.version)
        with unharmed(attempt.name):
            request = await self._request(candidate, attempt, attempt.request)
            attempt.shadowed = difference(candidate, request, live)

    async def _request(self, candidate: Edition, attempt: Attempt, asked: Request) -> Request:
        """The same request, with what the candidate wants to know of earlier calls."""
        paths, found = _asks(candidate, attempt), dict[str, Any]()
        if paths:
            at = self._clock.now()
            found = await self._db.read(lambda tx: earlier(tx, attempt, paths, at, attempt.read))
        return replace(asked, context=merged(asked.context, found))


def _asks(candidate: Edition, attempt: Attempt) -> tuple[str, ...]:
    part = candidate.slice(attempt.name)
    return part.earlier if part is not None else ()
