"""Random units, failures, cancellations, claims and reopenings, against a model of a few lines."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from interlock import errors
from interlock.observability.verification import verify
from interlock.storage.claim import Claim
from interlock.storage.database import Database, Transaction
from tests.storage.units import claimed, event, reclaimed, targets

CASES = ("a", "b", "c")


@dataclass
class Model:
    """What must be in the database: names of rows, in order, and how many events; which claim of a case is fit."""

    rows: list[str] = field(default_factory=list)
    events: int = 0
    identities: set[str] = field(default_factory=set)
    fit: dict[str, bool] = field(default_factory=dict)

    def add(self, name: str, identity: str | None) -> None:
        self.rows.append(name)
        if identity is None or identity not in self.identities:
            self.events += 1
        if identity is not None:
            self.identities.add(identity)


@dataclass(frozen=True)
class Step:
    """One unit: of a case or of none, under the present or an old claim, that may fail or lose its caller."""

    case: str | None
    fails: bool
    old_claim: bool
    cancelled: bool
    identity: str | None


steps = st.builds(
    Step,
    case=st.sampled_from([None, *CASES]),
    fails=st.sampled_from([False, False, False, True]),
    old_claim=st.sampled_from([False, False, False, False, True]),
    cancelled=st.sampled_from([False, False, False, True]),
    identity=st.sampled_from([None, None, "i", "j"]),
)


class Life(RuleBasedStateMachine):
    """Each rule is checked at once: the caller's outcome, the rows, and the chain."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{Path(self.folder.name) / 'x.db'}"
        self.model, self.count = Model(), 0
        self.claims: dict[str, Claim] = {}
        self.old: dict[str, Claim] = {}

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        self.db = self.run(Database.open(self.url))
        for case in CASES:
            self.claims[case] = self.run(claimed(self.db, case))
            self.old[case] = Claim("default", case, 0)
            self.model.fit[case] = True

    @rule(batch=st.lists(steps, min_size=1, max_size=12))
    def commit(self, batch: list[Step]) -> None:
        """Commit units at the same time; they may meet in one transaction, and keep their order."""
        expected = [self.expect(step, f"r{self.count + n}") for n, step in enumerate(batch)]
        outcomes = self.run(self.together(batch))
        self.count += len(batch)
        for step, outcome, good in zip(batch, outcomes, expected, strict=True):
            if step.cancelled and not isinstance(outcome, errors.Stale):
                assert isinstance(outcome, asyncio.CancelledError)
            elif good:
                assert outcome is None
            else:
                assert isinstance(outcome, (ZeroDivisionError, errors.Stale)), outcome

    def expect(self, step: Step, name: str) -> bool:
        """Whether the unit becomes durable; says so to the model."""
        fit = step.case is None or (self.model.fit[step.case] and not step.old_claim)
        if fit and not step.fails:
            self.model.add(name, step.identity)
        if step.fails and step.case is not None and not step.old_claim:
            self.model.fit[step.case] = False
        return fit and not step.fails

    async def together(self, batch: list[Step]) -> list[Any]:
        waiting = [asyncio.ensure_future(self.one(step, f"r{self.count + n}")) for n, step in enumerate(batch)]
        await asyncio.sleep(0)
        for step, task in zip(batch, waiting, strict=True):
            if step.cancelled:
                task.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await self.db.commit(lambda tx: None)  # units whose callers went away are durable before this one
        return outcomes

    async def one(self, step: Step, name: str) -> None:
        def unit(tx: Transaction) -> None:
            tx.execute("INSERT INTO switches (tenant, target) VALUES ('default', ?)", (name,))
            tx.append(event(step.case, step.identity, name=name))
            if step.fails:
                raise ZeroDivisionError

        held = None if step.case is None else (self.old if step.old_claim else self.claims)[step.case]
        await self.db.commit(unit, claim=held)

    @rule(case=st.sampled_from(CASES))
    def claim(self, case: str) -> None:
        self.old[case] = self.claims[case]
        self.claims[case] = self.run(reclaimed(self.db, self.claims[case]))
        self.model.fit[case] = True

    @rule()
    def reopen(self) -> None:
        self.run(self.db.close())
        self.db = self.run(Database.open(self.url))

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "db"):
            assert self.run(self.db.read(targets)) == self.model.rows
            assert self.run(verify(self.db)) == (True, self.model.events, None, "")

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.run(self.db.close())
        self.runner.close()
        self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
