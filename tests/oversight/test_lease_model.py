"""Leases under any order of events, against a model of a few lines: never two live holders, and tokens only grow."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from interlock import errors
from interlock.clock import iso
from interlock.observability.ledger import Ledger
from interlock.oversight.leases import LeaseHeld, Leases, held
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
            lease.epoch = max(lease.epoch, epoch)
            assert got == lease.token
        elif self.alive(lease.holder):
            assert isinstance(got, LeaseHeld) and got.holder == lease.holder
        else:
            self.taken, self.released = self.taken + 1, self.released + (lease.holder is not None)
            lease.holder, lease.token, lease.epoch = name, lease.token + 1, epoch
            assert got == lease.token
            self.given.setdefault((name, resource), []).append(got)

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
        assert self.attempt(lambda tx: self.leases.release_all(tx, "default", name, AT)) == mine
        for resource in mine:
            self.model[resource].holder = None
        self.released += len(mine)

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
TestLeases.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
