"""The ready queue against a simple model, whatever is pushed, popped and done in whatever order."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from interlock.graphs.engine.queue import ReadyQueue, Ticket

LIMIT = 2


class Queue(RuleBasedStateMachine):
    """Each case is driven by one driver at a time, in rank order within its bounds, and none is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = ReadyQueue(tenant_limit=LIMIT)
        self.queued: dict[str, Ticket] = {}
        self.again: dict[str, Ticket] = {}
        self.running: dict[str, Ticket] = {}
        self.count = 0

    @rule(
        tenant=st.sampled_from("ab"),
        priority=st.integers(-1, 1),
        sequence=st.sampled_from([None, "x", "y"]),
    )
    def start(self, tenant: str, priority: int, sequence: str | None) -> None:
        self.count += 1
        ticket = Ticket(self.count, f"case-{self.count}", tenant, priority, sequence)
        self.queue.push(ticket)
        self.queued[ticket.case_id] = ticket

    @precondition(lambda self: self.queued or self.running)
    @rule(data=st.data())
    def wake(self, data: st.DataObject) -> None:
        case_id = data.draw(st.sampled_from(sorted({*self.queued, *self.running})))
        known = self.queued.get(case_id) or self.running[case_id]
        ticket = Ticket(0, case_id, known.tenant)
        self.queue.push(ticket)
        if case_id in self.running:
            self.again[case_id] = ticket

    @rule()
    def pop(self) -> None:
        ticket = self.queue.pop()
        ready = [one for one in self.queued.values() if self.may_run(one)]
        if ticket is None:
            assert ready == []
            return
        assert ticket.case_id in self.queued
        assert (ticket.rank, ticket.seq) == min((one.rank, one.seq) for one in ready)
        self.running[ticket.case_id] = self.queued.pop(ticket.case_id)

    def may_run(self, ticket: Ticket) -> bool:
        tenants = Counter(one.tenant for one in self.running.values())
        if tenants[ticket.tenant] >= LIMIT:
            return False
        if ticket.sequence is None:
            return True
        line = [*self.running.values(), *self.queued.values()]
        mine = [one for one in line if (one.tenant, one.sequence) == (ticket.tenant, ticket.sequence)]
        return all(one.seq >= ticket.seq for one in mine)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        ticket = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.queue.done(ticket)
        again = self.again.pop(ticket.case_id, None)
        if again is not None:
            self.queued[ticket.case_id] = again

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        case_id = data.draw(st.sampled_from(sorted(self.running)))
        self.queue.discard(case_id)
        self.again.pop(case_id, None)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert len(self.queue) == len(self.queued) + len(self.again)
        assert all(case_id in self.queue for case_id in [*self.queued, *self.running])
        assert "nothing" not in self.queue


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
