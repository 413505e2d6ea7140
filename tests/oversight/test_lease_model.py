"""Leases under any order of events, against a model of a few lines: never two live holders, tokens only grow, and who
came first is served first."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from interlock import errors
from interlock.clock import iso
from interlock.observability.ledger import Ledger
from interlock.oversight.holds import forget_case
from interlock.oversight.leases import LeaseHeld, Leases, held
from interlock.oversight.waits import Deadlock
from interlock.storage.claim import Claim
from interlock.storage.database import Database
from interlock.storage.transaction import Transaction
from interlock.testing import ManualClock
from tests.oversight.department import START, add_case, events

AT = iso(START)
CASES, OBJECTS = ["a", "b", "c"], ["po/1", "po/2"]
WHO, WHAT = st.sampled_from(CASES), st.sampled_from(OBJECTS)


@dataclass
class Lease:
    """What the model knows of an object."""

    holder: str | None = None
    token: int = 0
    epoch: int = 0
    line: list[str] = field(default_factory=list)


class LeaseMachine(RuleBasedStateMachine):
    """Three cases and two objects on a database that crashes; each case is driven under an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.model = {resource: Lease() for resource in OBJECTS}
        self.epochs = dict.fromkeys(CASES, 0)
        self.ended: set[str] = set()
        self.given: dict[tuple[str, str], list[int]] = {}
        self.handed: set[str] = set()
        self.taken = self.released = 0
        self.run(self.start())
        for name in CASES:
            self.run(add_case(self.db, name))

    async def start(self) -> None:
        self.db = await Database.open(f"sqlite:///{self.folder / 'x.db'}")
        self.ledger = Ledger(self.db, ManualClock(START))
        self.leases = Leases(self.ledger)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def attempt(self, unit: Callable[[Transaction], Any], claim: Claim | None = None) -> Any:
        """What a unit gives, or the error that it raised."""
        try:
            return self.run(self.db.commit(unit, claim=claim))
        except errors.InterlockError as exc:
            return exc

    def alive(self, name: str | None) -> bool:
        return name is not None and name not in self.ended

    def take_unit(self, name: str, resource: str, epoch: int) -> Callable[[Transaction], Any]:
        where = {"tenant": "default", "resource": resource, "case_id": name, "at": AT}
        return lambda tx: self.leases.take(tx, **where, epoch=epoch)

    def teardown(self) -> None:
        self.run(self.db.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    # what happens

    @rule(name=WHO, resource=WHAT)
    def take(self, name: str, resource: str) -> None:
        if name in self.ended:
            return
        lease, epoch = self.model[resource], self.epochs[name]
        got = self.attempt(self.take_unit(name, resource, epoch), Claim("default", name, epoch))
        if lease.holder == name:
            assert name not in lease.line
            lease.epoch = max(lease.epoch, epoch)
            assert got == lease.token
        elif self.alive(lease.holder):
            assert isinstance(got, LeaseHeld) and got.holder == lease.holder
            self.line_up(name, resource)
        else:
            self.taken, self.released = self.taken + 1, self.released + (lease.holder is not None)
            lease.holder, lease.token, lease.epoch = name, lease.token + 1, epoch
            lease.line = [one for one in lease.line if one != name]
            assert got == lease.token
            self.given.setdefault((name, resource), []).append(got)

    def line_up(self, name: str, resource: str) -> None:
        """What a refused call does next: it stands in line, unless that would close a circle."""
        lease = self.model[resource]
        where = {"tenant": "default", "resource": resource, "case_id": name, "at": AT, "call": f"{name} {resource}"}
        got = self.attempt(lambda tx: self.leases.line_up(tx, **where))
        if isinstance(got, Deadlock):
            assert self.reaches(str(lease.holder), name)
        else:
            assert got is None and not self.reaches(str(lease.holder), name)
            lease.line += [] if name in lease.line else [name]

    def reaches(self, start: str, end: str) -> bool:
        """Whether a case waits for another one, by whatever way."""
        seen = {start}
        while more := {str(lease.holder) for lease in self.model.values() if seen & set(lease.line)} - seen - {"None"}:
            seen |= more
        return end in seen

    @rule(name=WHO, resource=WHAT)
    def leave(self, name: str, resource: str) -> None:
        """A call gives up its place; what its case has been handed, and not used, goes to the next."""
        lease, call = self.model[resource], f"{name} {resource}"
        handed = call in self.handed and lease.holder == name
        self.handed.discard(call)
        got = self.attempt(lambda tx: self.leases.leave(tx, "default", call, AT))
        lease.line = [one for one in lease.line if one != name]
        assert got == (self.hand_on([resource]) if handed else [])

    def hand_on(self, resources: list[str]) -> list[str]:
        """The model's way: the first in line whose case is open and not part of a circle then."""
        for resource in resources:
            self.model[resource].holder = None
        self.released += len(resources)
        return list(dict.fromkeys(filter(None, map(self.hand_one, resources))))

    def hand_one(self, resource: str) -> str | None:
        lease = self.model[resource]
        waiting = [name for name in lease.line if self.alive(name)]
        others = [[other for other in waiting if other != name] for name in waiting]
        free = [n for n, rest in zip(waiting, others, strict=True) if not any(self.reaches(n, one) for one in rest)]
        assert bool(free) == bool(waiting)
        if not free:
            return None
        self.taken += 1
        lease.holder, lease.token, lease.epoch = free[0], lease.token + 1, self.epochs[free[0]]
        lease.line.remove(free[0])
        self.handed.add(f"{free[0]} {resource}")
        self.given.setdefault((free[0], resource), []).append(lease.token)
        return free[0]

    @rule(name=WHO)
    def drive_anew(self, name: str) -> None:
        """Another driver takes the case: what the one before still wants to write is refused."""
        if name in self.ended:
            return
        self.epochs[name] += 1
        self.attempt(lambda tx: tx.execute("UPDATE cases SET epoch = epoch + 1 WHERE case_id = ?", (name,)))

    @rule(name=WHO, resource=WHAT)
    def take_as_a_stale_driver(self, name: str, resource: str) -> None:
        if self.epochs[name] == 0:
            return
        old = self.epochs[name] - 1
        got = self.attempt(self.take_unit(name, resource, old), Claim("default", name, old))
        assert isinstance(got, errors.Stale)

    @rule(name=WHO)
    def release(self, name: str) -> None:
        mine = [resource for resource in OBJECTS if self.model[resource].holder == name]
        for resource, lease in self.model.items():
            lease.line = [one for one in lease.line if one != name]
            self.handed.discard(f"{name} {resource}")
        got = self.attempt(lambda tx: self.leases.release_all(tx, "default", name, AT))
        assert got == self.hand_on(mine)

    @rule(name=WHO)
    def end_without_release(self, name: str) -> None:
        """A case that another way of ending left with its leases: the next who asks takes them over."""
        self.ended.add(name)
        self.epochs[name] += 1
        sql = "UPDATE cases SET status = 'failed', epoch = epoch + 1 WHERE case_id = ?"
        self.attempt(lambda tx: tx.execute(sql, (name,)))

    @rule(name=WHO)
    def begin_again(self, name: str) -> None:
        if name in self.ended:
            self.ended.discard(name)
            for lease in self.model.values():
                lease.line = [one for one in lease.line if one != name]
            self.attempt(lambda tx: forget_case(tx, "default", name))
            self.attempt(lambda tx: tx.execute("UPDATE cases SET status = 'running' WHERE case_id = ?", (name,)))

    @rule(name=WHO, resource=WHAT)
    def check_every_token_it_ever_had(self, name: str, resource: str) -> None:
        lease = self.model[resource]
        for token in {*self.given.get((name, resource), ()), lease.token, lease.token + 1}:
            check = partial(self.leases.check, tenant="default", resource=resource, case_id=name, token=token)
            got = self.attempt(check)
            if lease.holder == name and token == lease.token:
                assert got is None
            else:
                assert type(got) is (LeaseHeld if lease.holder not in (None, name) else errors.Stale)

    @rule(resource=WHAT)
    def all_at_once(self, resource: str) -> None:
        """Of all cases that want a free object at the same moment one gets it."""
        lease, names = self.model[resource], [name for name in CASES if name not in self.ended]
        if self.alive(lease.holder) or not names:
            return
        self.released += lease.holder is not None and lease.holder not in names
        winner = self.run(self.race(resource, names))
        if winner != lease.holder:
            self.taken, lease.token = self.taken + 1, lease.token + 1
        lease.holder, lease.epoch = winner, self.epochs[winner]
        lease.line = [one for one in lease.line if one != winner]
        self.given.setdefault((winner, resource), []).append(lease.token)

    async def race(self, resource: str, names: list[str]) -> str:
        units = [self.db.commit(self.take_unit(name, resource, self.epochs[name])) for name in names]
        got = await asyncio.gather(*units, return_exceptions=True)
        winners = [name for name, token in zip(names, got, strict=True) if isinstance(token, int)]
        assert len(winners) == 1 and sum(isinstance(one, LeaseHeld) for one in got) == len(names) - 1
        return winners[0]

    @rule()
    def crash(self) -> None:
        self.run(self.db.close())
        self.run(self.start())

    # what always holds

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        rows = self.run(self.db.read(lambda tx: tx.rows("SELECT resource, case_id, token, epoch FROM leases")))
        found = {row["resource"]: (row["case_id"], row["token"], row["epoch"]) for row in rows}
        known = {name: lease for name, lease in self.model.items() if lease.token}
        assert found == {name: (lease.holder, lease.token, lease.epoch) for name, lease in known.items()}
        for name in CASES:
            mine = self.run(self.db.read(partial(held, tenant="default", case_id=name)))
            assert [one.resource for one in mine] == [r for r in OBJECTS if self.model[r].holder == name]
            for one in mine:
                assert one.waiting == [name for name in self.model[one.resource].line if self.alive(name)]

    @invariant()
    def nobody_waits_in_a_circle(self) -> None:
        for lease in self.model.values():
            assert not any(self.reaches(str(lease.holder), name) for name in lease.line if lease.holder)

    @invariant()
    def the_ledger_tells_of_one_holder_at_a_time_with_growing_tokens(self) -> None:
        told = self.run(events(self.ledger, "lease.taken", "lease.released"))
        holder: dict[str, str | None] = dict.fromkeys(OBJECTS)
        token = dict.fromkeys(OBJECTS, 0)
        for event in told:
            resource, case = event["data"]["resource"], event["case_id"]
            if event["type"] == "lease.taken":
                assert holder[resource] is None and event["data"]["token"] == token[resource] + 1
                holder[resource], token[resource] = case, token[resource] + 1
            else:
                assert (holder[resource], token[resource]) == (case, event["data"]["token"])
                holder[resource] = None
        assert holder == {name: lease.holder for name, lease in self.model.items()}
        kinds = [event["type"] for event in told]
        assert (kinds.count("lease.taken"), kinds.count("lease.released")) == (self.taken, self.released)


TestLeases = LeaseMachine.TestCase
TestLeases.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
