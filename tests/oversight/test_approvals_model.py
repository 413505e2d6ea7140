"""Approvals under any order of events, crashes and times, against a model of a few lines.

No approval without the authority, by requester or earlier approver, after the last deadline, twice, or for another
action than the one that was asked or edited.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from interlock import errors
from interlock.clock import iso
from interlock.ids import digest
from interlock.money import Money
from interlock.observability.ledger import Ledger
from interlock.oversight.actors import Actors, Person
from interlock.oversight.escalation import Step
from interlock.oversight.inbox import Decision, Item
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import START, add_case, ask, events
from tests.oversight.desk import Bot, Desk

LIMITS = {"person:ana": 100_000, "person:bo": 100_000, "person:cy": 100_000, "person:lo": 600}
BOSSES = {"person:olga"}
EVERYBODY = [*LIMITS, *BOSSES, "person:dora", "person:nobody", "agent:buyer", "Person:bo", "person:bo\u200b"]
WHO = st.sampled_from(["person:bo", "person:cy"]) | st.sampled_from(EVERYBODY)
AMOUNTS = st.sampled_from([500, 700, 100_000, 100_001])
SAID = {"approve": Decision.approve(), "reject": Decision.reject("no"), "respond": Decision.respond("x")}


def people() -> list[Any]:
    limited = [
        Person(name.removeprefix("person:"), authorities={"purchasing": Money(limit, "EUR")})
        for name, limit in LIMITS.items()
    ]
    others = [Person("olga", roles={"operator"}), Person("dora", authorities={"cfo": Money(10**7, "EUR")})]
    return [*limited, *others, Bot("buyer", roles={"purchasing", "operator"}, owner="person:olga")]


def action_digest(amount: int) -> str:
    return digest(["erp.create_po", {"total": amount, "vendor": "v1"}])


@dataclass
class Wanted:
    """What the model knows of one question: `dues` are its deadlines, `passed` how many of them were kept."""

    amount: int
    call: str
    dues: list[datetime]
    passed: int = 0
    status: str = "open"
    claimed: str | None = None
    answer: tuple[str, str, int] | None = None
    used: bool = False


class Approvals(RuleBasedStateMachine):
    """Two questions about one call are its stages: they share `call`, and need different persons."""

    items = Bundle("items")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock(START)
        self.loop = asyncio.new_event_loop()
        self.wanted: dict[str, Wanted] = {}
        self.escalated = 0
        self.run(self.start(fresh=True))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def start(self, *, fresh: bool = False) -> None:
        self.db = await Database.open(f"sqlite:///{self.folder / 'inbox.db'}")
        self.desk = Desk(self.db, Ledger(self.db, self.clock), self.clock, actors=Actors(people()))
        inbox, policies = self.desk.inbox, self.desk.policies
        inbox.digest_of = lambda item, args: digest([item.action["tool"], dict(args)])
        inbox.request_of = lambda item, args: ask(policies, int(args["total"]))
        if fresh:
            await add_case(self.db, "c1", "waiting")

    def teardown(self) -> None:
        self.run(self.db.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def attempt(self, work: Coroutine[Any, Any, Any]) -> type[BaseException] | None:
        """The kind of error of a call, or None; nothing else than our errors comes out."""
        try:
            self.run(work)
        except errors.InterlockError as exc:
            return type(exc)
        return None

    # what the model says

    def may(self, by: str, want: Wanted, amount: int) -> bool:
        return by != "person:ana" and amount <= LIMITS.get(by, -1) and want.status == "open"

    def other_stage(self, by: str, want: Wanted, amount: int) -> bool:
        """Whether this person decided another stage of the same action; an edit makes it another one."""
        others = [one.answer for one in self.wanted.values() if one.call == want.call and one is not want]
        return any(one is not None and (one[0], one[2]) == (by, amount) for one in others)

    def late(self, want: Wanted) -> bool:
        return bool(want.dues) and self.clock.now() >= want.dues[-1]

    # what happens

    @rule(
        target=items,
        amount=AMOUNTS,
        hours=st.lists(st.integers(1, 5), max_size=3),
        twin=st.sampled_from([True, True, False]),
    )
    def ask(self, amount: int, hours: list[int], twin: bool) -> str:
        name = f"i{len(self.wanted)}"
        before = next(reversed(self.wanted.values())) if twin and self.wanted else Wanted(amount, f"e{name}", [])
        amount, call = before.amount, before.call
        dues, at = [], self.clock.now()
        for step in hours:
            at += timedelta(hours=step)
            dues.append(at)
        chain = [Step(f"role:r{place}", iso(due)) for place, due in enumerate(dues[1:])]
        about = action_digest(amount)
        item = self.desk.approval(
            name, amount, effect_key=call, digest=about, due=iso(dues[0]) if dues else None, chain=chain,
            action={"tool": "erp.create_po", "args": {"total": amount, "vendor": "v1"}, "digest": about},
        )  # fmt: skip
        self.run(self.desk.open(item))
        self.wanted[name] = Wanted(amount, call, dues)
        return name

    @rule(name=items, by=WHO)
    def claim(self, name: str, by: str) -> None:
        want = self.wanted[name]
        failed = self.attempt(self.desk.inbox.claim(name, by=by))
        able = self.may(by, want, want.amount)
        assert (failed is None) == (able and want.claimed in (None, by)), failed
        want.claimed = by if failed is None else want.claimed

    @rule(name=items, by=WHO)
    def release(self, name: str, by: str) -> None:
        want = self.wanted[name]
        failed = self.attempt(self.desk.inbox.release(name, by=by))
        known = by in LIMITS or by in BOSSES or by == "person:dora"
        able = known and want.status == "open" and (by in BOSSES or want.claimed in (None, by))
        assert (failed is None) == able, failed
        want.claimed = None if failed is None else want.claimed

    @rule(name=items, by=WHO, to=WHO)
    def delegate(self, name: str, by: str, to: str) -> None:
        want = self.wanted[name]
        failed = self.attempt(self.desk.inbox.delegate(name, to=to, by=by))
        giver = by in BOSSES or (self.may(by, want, want.amount) and want.claimed in (None, by))
        able = giver and to != by and self.may(to, want, want.amount)
        assert (failed is None) == able, failed
        if failed is None:
            item = self.run(self.desk.inbox.get(name))
            assert item.delegated_to == to
            want.claimed = item.claimed_by  # handing it to whom it was handed already changes nothing

    @rule(name=items, by=WHO, said=st.sampled_from(sorted(SAID)))
    def decide(self, name: str, by: str, said: str) -> None:
        want = self.wanted[name]
        self.settle(want, by, said, want.amount, self.desk.inbox.decide(name, SAID[said], by=by))

    @rule(name=items, by=WHO, amount=AMOUNTS)
    def edit(self, name: str, by: str, amount: int) -> None:
        args = {"total": amount, "vendor": "v1"}
        call = self.desk.inbox.decide(name, Decision.edit(args), by=by)
        self.settle(self.wanted[name], by, "edit", amount, call)

    def settle(self, want: Wanted, by: str, said: str, amount: int, call: Coroutine[Any, Any, Any]) -> None:
        repeated = want.answer == (by, said, amount)
        able = self.may(by, want, amount) and want.claimed in (None, by)
        able = able and not self.late(want) and not self.other_stage(by, want, amount)
        failed = self.attempt(call)
        assert (failed is None) == (repeated or able), (failed, want)
        if failed is None and not repeated:
            want.status, want.answer = "decided", (by, said, amount)

    @rule(hours=st.integers(0, 7), timers=st.integers(0, 2))
    def later(self, hours: int, timers: int) -> None:
        """Time passes; none, one or two timers fire for each item."""
        self.run(self.clock.advance(timedelta(hours=hours)))
        for name in [name for name in self.wanted for _ in range(timers)]:
            self.run(self.desk.inbox.expire(name))
            self.due(self.wanted[name])

    def due(self, want: Wanted) -> None:
        gone = sum(self.clock.now() >= due for due in want.dues)
        if want.status != "open" or gone <= want.passed:
            return
        self.escalated += min(gone, len(want.dues) - 1) - min(want.passed, len(want.dues) - 1)
        want.claimed, want.passed = (
            (None, gone) if min(gone, len(want.dues) - 1) > want.passed else (want.claimed, gone)
        )
        want.status = "expired" if gone == len(want.dues) else "open"

    @rule(name=items, amount=AMOUNTS)
    def use(self, name: str, amount: int) -> None:
        """A call of this amount asks for its approvals, and two executions try to use them up."""
        want, inbox = self.wanted[name], self.desk.inbox
        where = {"case_id": "c1", "effect_key": want.call, "digest": action_digest(amount)}
        found = self.run(inbox.granted(ask(self.desk.policies, amount), **where)).items
        yes = {
            name for name, one in self.wanted.items()
            if one.call == want.call and one.answer and one.answer[1] in ("approve", "edit")
            and one.answer[2] == amount and not one.used
        }  # fmt: skip
        assert {item.id for item in found} == yes
        if yes:
            at = iso(self.clock.now())
            assert self.attempt(self.db.commit(lambda tx: inbox.use(tx, found, at))) is None
            assert self.attempt(self.db.commit(lambda tx: inbox.use(tx, found, at))) is errors.Denied
            for one in yes:
                self.wanted[one].used = True

    @rule()
    def crash(self) -> None:
        self.run(self.db.close())
        self.run(self.start())

    # what always holds

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        for name, want in self.wanted.items():
            item: Item = self.run(self.desk.inbox.get(name))
            assert (item.status, item.claimed_by) == (want.status, want.claimed), want
            assert (item.used_at is not None) == want.used
            if want.answer is not None:
                assert item.decision is not None and (item.decided_by, item.decision.kind) == want.answer[:2]

    @invariant()
    def the_ledger_tells_each_answer_once(self) -> None:
        told = self.run(events(self.desk.ledger, "inbox.decided", "inbox.expired", "inbox.escalated"))
        kinds = [event["type"] for event in told]
        states = [want.status for want in self.wanted.values()]
        assert kinds.count("inbox.decided") == states.count("decided")
        assert kinds.count("inbox.expired") == states.count("expired")
        assert kinds.count("inbox.escalated") == self.escalated


TestApprovals = Approvals.TestCase
TestApprovals.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
