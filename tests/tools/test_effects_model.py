"""Effects under any order of events, against an outside world that counts: none twice, none lost, none forgotten."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from interlock.money import Money
from interlock.oversight.inbox import Decision
from interlock.storage.transaction import Transaction
from interlock.tools.contract import DidNotHappen, Happened, ToolContext, ToolResult, Unsure
from tests.tools.plant import CASE, Plant, plant

OTHER = "0190a0a0-0000-7000-8000-000000000002"
AT = "2026-01-01T00:00:00Z"
KINDS = ["plain", "idempotent", "probed", "both"]
POLICY = '@id("ALL") permit(principal, action in Interlock::Action::"effect:write", resource);'
# A status only goes forward, in every single statement, and no row goes away.
GUARD = [
    "CREATE TRIGGER forward BEFORE UPDATE OF status ON effects WHEN OLD.status IN ('done', 'failed')"
    " OR (OLD.status, NEW.status) = ('unknown', 'unknown') OR NEW.attempt < OLD.attempt"
    " BEGIN SELECT RAISE(ABORT, 'an effect went backward'); END",
    "CREATE TRIGGER kept BEFORE DELETE ON effects BEGIN SELECT RAISE(ABORT, 'an effect was forgotten'); END",
]
# What a tool does when it is run: act, say a clear no, or leave the caller without an answer, before or after it acted.
FATES = ["acts", "refuses", "is away", "is silent", "acts and is silent"]
CALL, KIND = st.integers(0, 9), st.sampled_from(KINDS)
WILL = st.lists(st.sampled_from(FATES), min_size=1, max_size=2)
ENDED = ("done", "failed")


class World:
    """What happened outside: by call, how often; where keys are known, a repetition is no second time."""

    def __init__(self) -> None:
        self.done: Counter[int] = Counter()
        self.keys: dict[str, int] = {}
        self.fates: list[str] = []
        self.probe = "honest"
        self.hang: str | None = None
        self.entered = asyncio.Event()

    async def act(self, n: int, key: str | None) -> str:
        fate = self.fates.pop(0) if self.fates else "acts"
        await self._hang("before")
        if fate == "refuses":
            raise ValueError("no")
        if fate == "is away":
            raise ConnectionRefusedError("away")
        if fate == "is silent":
            raise TimeoutError
        if key is None or key not in self.keys:
            self.done[n] += 1
        if key is not None:
            assert self.keys.setdefault(key, n) == n, "two calls had one key"
        await self._hang("after")
        if fate == "acts and is silent":
            raise TimeoutError
        return f"did {n}"

    async def _hang(self, when: str) -> None:
        if self.hang == when:
            self.entered.set()
            await asyncio.Event().wait()

    def asked(self, n: int) -> Happened | DidNotHappen | Unsure:
        if self.probe == "broken":
            raise ConnectionResetError("broken")
        if self.probe == "unsure":
            return Unsure()
        return Happened(f"did {n}") if self.done[n] else DidNotHappen()


def equip(one: Plant, world: World) -> None:
    """A tool of each kind; each leases its object and costs a cent."""

    async def known(n: int, ctx: ToolContext) -> str:
        return await world.act(n, ctx.key)

    async def unknown(n: int) -> str:
        return await world.act(n, None)

    def probe(args: Any, ctx: ToolContext) -> Happened | DidNotHappen | Unsure:
        return world.asked(args["n"])

    def a_cent(args: Any) -> Money:
        return Money(1, "EUR")

    for kind in KINDS:
        idempotent = kind in ("idempotent", "both")
        one.tools.register(
            known if idempotent else unknown, name=f"do.{kind}", effect="write", money=a_cent,
            resource=lambda args: f"thing/{args['n']}", idempotent=idempotent,
            reconcile=probe if kind in ("probed", "both") else None,
        )  # fmt: skip
    one.bind()


class EffectMachine(RuleBasedStateMachine):
    """One case makes ten calls, each again and again, on a database that crashes; people and probes tell the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.kinds: dict[int, str] = {}
        self.ends: dict[int, tuple[Any, ...]] = {}
        self.run(self.start())
        self.run(self.one.case())
        self.run(self.one.case(OTHER))
        self.run(self.one.db.commit(lambda tx: [tx.execute(sql) for sql in GUARD]))

    async def start(self) -> None:
        self.process = AsyncExitStack()
        opening = plant(self.folder / "x.db", policies=POLICY, tool_retries=1, breaker_failures=10_000)
        self.one = await self.process.enter_async_context(opening)
        equip(self.one, self.world)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.process.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)

    async def call(self, n: int) -> ToolResult:
        return await self.one.gateway.call(f"do.{self.kinds[n]}", {"n": n}, self.one.site(), slot=n)

    def ended(self, n: int, result: ToolResult) -> None:
        """What a call said; once it has said how it ended it says so for ever, and nothing more happens."""
        assert result.status in (*ENDED, "unknown"), result
        assert result.status != "done" or result.value == f"did {n}"
        if n in self.ends:
            assert (result.status, result.value, result.error) == self.ends[n]
        elif result.status in ENDED:
            self.ends[n] = (result.status, result.value, result.error)

    def rows(self) -> dict[int, dict[str, Any]]:
        found = self.run(self.one.db.read(lambda tx: tx.rows("SELECT * FROM effects")))
        return {int(row["slot"]): dict(row) for row in found}

    # what happens

    @rule(n=CALL, kind=KIND, fates=WILL)
    def call_it(self, n: int, kind: str, fates: list[str]) -> None:
        """The first time, and again after whatever has happened since."""
        self.kinds.setdefault(n, kind)
        self._call(n, fates)

    def _call(self, n: int, fates: list[str]) -> None:
        before, self.world.fates = self.world.done[n], list(fates)
        known = n in self.ends
        self.ended(n, self.run(self.call(n)))
        assert not known or (self.world.done[n] == before and self.world.fates == fates), "a replay acted"

    @rule(n=CALL, kind=KIND, fates=WILL)
    def call_it_twice_at_once(self, n: int, kind: str, fates: list[str]) -> None:
        self.kinds.setdefault(n, kind)
        self.world.fates = list(fates)

        async def both() -> tuple[ToolResult, ToolResult]:
            return await asyncio.gather(self.call(n), self.call(n))

        one, other = self.run(both())
        assert one.status == other.status or "unknown" in (one.status, other.status)
        self.ended(n, one)
        self.ended(n, other)

    @rule(n=CALL, kind=KIND, when=st.sampled_from(["before", "after"]), then=WILL)
    def crash_in_flight(self, n: int, kind: str, when: str, then: list[str]) -> None:
        """The process dies while the tool runs, before or after it has acted, if it runs; the next one goes on."""
        self.kinds.setdefault(n, kind)
        self.world.fates, self.world.hang = [], when
        self.run(self._dying(n))
        self.world.hang = None
        self._call(n, then)

    async def _dying(self, n: int) -> None:
        calling, entered = asyncio.ensure_future(self.call(n)), asyncio.ensure_future(self.world.entered.wait())
        await asyncio.wait([calling, entered], return_when=asyncio.FIRST_COMPLETED)
        self.world.entered.clear()
        entered.cancel()
        await self._die(calling)
        if calling.done() and not calling.cancelled():
            self.ended(n, calling.result())

    async def _die(self, *calls: asyncio.Future[Any]) -> None:
        for _, flight in list(self.one.gateway._flights._flying.values()):
            flight.cancel()
        if calls:
            await asyncio.wait(calls)
        await self.process.aclose()
        await self.start()

    @rule()
    def crash(self) -> None:
        self.run(self._die())

    @rule(mode=st.sampled_from(["honest", "unsure", "broken"]))
    def change_the_probe(self, mode: str) -> None:
        self.world.probe = mode

    @rule(n=CALL)
    def lose_the_lease(self, n: int) -> None:
        """Another case has had the object in between."""

        def passed(tx: Transaction) -> None:
            self.one.leases.release_all(tx, "default", CASE, AT)
            self.one.leases.take(tx, tenant="default", resource=f"thing/{n}", case_id=OTHER, epoch=1, at=AT)
            self.one.leases.release_all(tx, "default", OTHER, AT)

        self.run(self.one.db.commit(passed))

    @precondition(lambda self: self.open_items())
    @rule(data=st.data())
    def a_person_says(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.open_items()))
        n = item.action["args"]["n"]
        no = [Decision.approve(), Decision.reject("leave it")]
        said = Decision.respond(f"did {n}") if self.world.done[n] else data.draw(st.sampled_from(no))
        self.run(self.one.inbox.decide(item.id, said, by="person:op"))

    def open_items(self) -> list[Any]:
        return list(self.run(self.one.inbox.list()).items)

    # what always holds

    @invariant()
    def nothing_happens_twice_and_nothing_without_a_row(self) -> None:
        rows = self.rows()
        for n, times in self.world.done.items():
            assert times <= 1, f"call {n} of kind {self.kinds[n]} happened {times} times"
            assert times == 0 or n in rows

    @invariant()
    def what_is_recorded_is_what_happened(self) -> None:
        for n, row in self.rows().items():
            assert row["status"] != "done" or self.world.done[n] == 1
            assert row["status"] != "failed" or self.world.done[n] == 0, f"call {n} happened and is called failed"

    @invariant()
    def an_unknown_outcome_has_one_question_and_nothing_else_has_an_open_one(self) -> None:
        unknown = {row["item_id"]: n for n, row in self.rows().items() if row["status"] == "unknown"}
        items = {item.id: item for item in self.run(self.one.inbox.list(status=None)).items}
        assert None not in unknown and unknown.keys() <= items.keys()
        assert {item.id for item in items.values() if item.open} <= unknown.keys()
        for item_id, n in unknown.items():
            assert items[item_id].open or items[item_id].decision is not None
            assert items[item_id].action["args"] == {"n": n}

    @invariant()
    def the_ledger_tells_each_try_and_one_outcome(self) -> None:
        intents, outcomes = (self.run(self.one.events(kind)) for kind in ("tool.intent", "tool.outcome"))
        for row in self.rows().values():
            tries = [e["data"]["attempt"] for e in intents if e["data"]["effect_key"] == row["effect_key"]]
            ends = [e["data"]["status"] for e in outcomes if e["data"]["effect_key"] == row["effect_key"]]
            assert tries == list(range(1, row["attempt"] + 1))
            assert ends == ([row["status"]] if row["status"] in ENDED else [])

    @invariant()
    def money_is_spent_where_it_happened_and_reserved_where_nobody_knows(self) -> None:
        sql = "SELECT COALESCE(sum(reserved), 0) AS reserved, COALESCE(sum(settled), 0) AS settled FROM limits"
        where = " WHERE bucket = 'requester/person:ana' AND period LIKE '____-__-__'"
        sums = dict(self.run(self.one.db.read(lambda tx: tx.row(sql + where))))
        found = Counter(row["status"] for row in self.rows().values())
        assert sums == {"reserved": found["intent"] + found["unknown"], "settled": found["done"]}


TestEffects = EffectMachine.TestCase
TestEffects.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
