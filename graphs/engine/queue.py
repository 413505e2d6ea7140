"""Which case is driven next: priority, then start order; fair to tenants; one at a time within a sequence."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field

__all__ = ["ReadyQueue", "Ticket"]


@dataclass(frozen=True, order=True)
class Ticket:
    """A case that can be driven. A higher `priority` goes first; `seq` is its place in the order of starts.

    `sequence` names a queue in which the next case begins only when the one before it has settled once.
    """

    rank: int = field(init=False, repr=False)
    seq: int
    case_id: str = field(compare=False)
    tenant: str = field(compare=False)
    priority: int = field(default=0, compare=False)
    sequence: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", -self.priority)


class ReadyQueue:
    """Tickets in memory; each case stands in it at most once. Not thread-safe: one event loop owns it.

    `running` has the tickets of the cases that are being driven.
    """

    def __init__(self, tenant_limit: int | None = None) -> None:
        self._limit = tenant_limit
        self._heap: list[Ticket] = []
        self._queued: set[str] = set()
        self.running: dict[str, Ticket] = {}
        self._tenants: Counter[str] = Counter()
        self._held: dict[str, deque[Ticket]] = {}
        self._again: dict[str, Ticket] = {}

    def __len__(self) -> int:
        return len(self._queued) + len(self._again)

    def __contains__(self, case_id: object) -> bool:
        """Whether a case is queued or being driven."""
        return case_id in self._queued or case_id in self.running

    def push(self, ticket: Ticket) -> None:
        """Queue a case; one that is being driven is queued again when its drive ends."""
        if ticket.case_id in self.running:
            self._again[ticket.case_id] = ticket
        elif ticket.case_id not in self._queued:
            self._queued.add(ticket.case_id)
            self._offer(ticket)

    def pop(self) -> Ticket | None:
        """The next case that may run now, marked as running; None when there is none."""
        passed: list[Ticket] = []
        chosen = None
        while self._heap and chosen is None:
            ticket = heapq.heappop(self._heap)
            if self._limit is not None and self._tenants[ticket.tenant] >= self._limit:
                passed.append(ticket)
            else:
                chosen = ticket
        for ticket in passed:
            heapq.heappush(self._heap, ticket)
        if chosen is not None:
            self._queued.discard(chosen.case_id)
            self.running[chosen.case_id] = chosen
            self._tenants[chosen.tenant] += 1
        return chosen

    def done(self, ticket: Ticket) -> None:
        """A drive has ended: its sequence goes on, and the case is queued again if it was asked for meanwhile."""
        del self.running[ticket.case_id]
        self._tenants[ticket.tenant] -= 1
        again = self._again.pop(ticket.case_id, None)
        self._advance(ticket)
        if again is not None:
            self.push(again)

    def discard(self, case_id: str) -> None:
        """Forget that a running case was asked for again."""
        self._again.pop(case_id, None)

    def _offer(self, ticket: Ticket) -> None:
        line = None if ticket.sequence is None else self._held.get(self._line(ticket))
        if ticket.sequence is None:
            heapq.heappush(self._heap, ticket)
        elif line is None:
            self._held[self._line(ticket)] = deque([ticket])
            heapq.heappush(self._heap, ticket)
        else:
            line.append(ticket)

    def _advance(self, ticket: Ticket) -> None:
        if ticket.sequence is None:
            return
        line = self._held[self._line(ticket)]
        line.popleft()
        if line:
            heapq.heappush(self._heap, line[0])
        else:
            del self._held[self._line(ticket)]

    @staticmethod
    def _line(ticket: Ticket) -> str:
        return f"{ticket.tenant}\n{ticket.sequence}"
