"""The gateway: the only door to outside systems.

validate -> digest -> known already? -> decide -> lease, limits, approvals and intent in one commit -> execute, in a
task that the plane owns -> outcome durable. A read goes the short way: it is recorded with the task that made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from interlock import errors
from interlock.clock import Clock, iso
from interlock.ids import Reason
from interlock.observability.ledger import Ledger
from interlock.oversight.actors import Actors
from interlock.oversight.holds import Hold
from interlock.oversight.inbox import Decision, Inbox, Item
from interlock.oversight.leases import LeaseHeld, Leases
from interlock.oversight.limits import Limits
from interlock.oversight.policy import Policies, Request
from interlock.oversight.switches import Switches
from interlock.oversight.waits import Deadlock
from interlock.settings import Settings
from interlock.storage.claim import Claim
from interlock.storage.database import Database, Row
from interlock.tools import edits, facts
from interlock.tools.attempt import Attempt, Held, Refused, admit, begin, begin_undoing, refused, resumed
from interlock.tools.contract import ToolResult
from interlock.tools.credentials import Credentials
from interlock.tools.execution import Execution
from interlock.tools.facts import Found
from interlock.tools.flights import Flights
from interlock.tools.fresh import Fresh
from interlock.tools.judgement import Judge
from interlock.tools.outcomes import Ended, Outcomes, ended
from interlock.tools.recall import Recall, result, stuck_of
from interlock.tools.records import Records, claim_at, rests
from interlock.tools.registry import Tools
from interlock.tools.site import CallSite

__all__ = ["DEV_USER", "Gateway", "passing"]

# A compensation that is denied for these can go on when the plane has what it lacks.
_LACKING = frozenset({"gateway.actor", "gateway.switch", "gateway.tool"})
# Who answers in guest mode: somebody else than the requester, so that duties stay apart there as well.
DEV_USER = "person:dev"


class Gateway:
    """One per plane. `call` never raises for what governance decides; see `ToolResult`."""

    def __init__(
        self,
        *,
        db: Database,
        ledger: Ledger,
        tools: Tools,
        policies: Policies,
        actors: Actors,
        inbox: Inbox,
        switches: Switches,
        leases: Leases,
        limits: Limits,
        credentials: Credentials,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.leases = leases
        self.credentials = credentials
        self.judge = Judge(
            db=db,
            tools=tools,
            policies=policies,
            actors=actors,
            inbox=inbox,
            switches=switches,
            limits=limits,
            clock=clock,
        )
        self._db, self._ledger, self._tools, self._actors, self._inbox = db, ledger, tools, actors, inbox
        self._policies, self._settings, self._clock = policies, settings, clock
        self._execution = Execution(ledger, credentials, settings, clock, self.judge.stopped)
        self._recall = Recall(db, inbox)
        self._records = Records(
            db=db, ledger=ledger, inbox=inbox, leases=leases, limits=limits, judge=self.judge,
            execution=self._execution, clock=clock,
        )  # fmt: skip
        self._flights: Flights[Ended] = Flights()
        self._outcomes = Outcomes(self._records, self._recall, self._execution, self._flights, self.judge)
        self._fresh = Fresh()

    # calling

    async def call(
        self,
        name: Any,
        args: Any,
        site: CallSite,
        *,
        key: str | None = None,
        slot: int | str = 0,
        approval: str | None = None,
    ) -> ToolResult:
        """Let a call through, or say why not. `slot` tells calls of one tool in a task apart; `key` does so by name.

        `approval` is the item that was decided about this call. Raises StorageError only.
        """
        return await self._let(begin(name, args, site, key=key, approval=approval, slot=slot))

    async def undo(self, done: Row, site: CallSite, turn: int, rest: Mapping[str, Any]) -> ToolResult:
        """Undo an effect that is done, governed like every call. Raises StorageError only.

        What is denied or fails is put to a person, with `rest`: what else is to be undone, or stays. After `approve`
        the next `turn` begins. A switch that is off, or a tool or actor that is missing, asks nobody: it passes.
        """
        attempt = begin_undoing(done, site, turn)
        undone = await self._let(attempt)
        if undone.status in ("denied", "failed") and not passing(undone):
            await self._db.commit(self._inbox.opening(stuck_of(attempt, undone, rest)), claim=claim_at(site))
        return undone

    async def conclude(self, row: Row, site: CallSite) -> ToolResult:
        """Find out what came of an effect whose case does not go on: it is not run again. Raises StorageError only."""
        attempt = resumed(row, site)
        try:
            admit(attempt, self._tools, self._actors)
            attempt.asked = row["digest"]
            return await self._outcomes.conclude(attempt)
        except Refused as no:
            return result(attempt, "denied", reasons=no.reasons)

    async def _let(self, attempt: Attempt) -> ToolResult:
        try:
            admit(attempt, self._tools, self._actors)
            if self.credentials.holds(attempt.args):
                raise refused("secret", "an argument holds a credential: tools get theirs from the plane alone")
            if not self._fresh.never_seen(attempt):
                await self._recall.load(attempt)
            if attempt.row is not None:
                return await self._outcomes.known(attempt)
            return self._repeated(attempt) or self._recall.answered(attempt) or await self._new(attempt)
        except Refused as no:
            if isinstance(no, Held) and rests(attempt):
                return self._held(attempt, no)
            # A registry that failed may quote what it sent.
            reasons = [Reason(policy, self._execution.redact(text)) for policy, text in no.reasons]
            await self._records.denied(attempt, reasons)
            return result(attempt, "denied", reasons=reasons)

    async def _new(self, attempt: Attempt) -> ToolResult:
        """Decide and run; whoever is cancelled meanwhile stands in no line for an object any more."""
        try:
            return await self._judged(attempt)
        except asyncio.CancelledError:
            if attempt.patience is not None:
                await asyncio.shield(self._records.left(attempt))
            raise
        finally:
            if attempt.turn is not None:
                attempt.turn.cancel()

    async def _judged(self, attempt: Attempt) -> ToolResult:
        """Decided again as often as something moved before the intent was durable."""
        while True:
            ctx = self._execution.context(attempt)
            item = await self.judge.decide(attempt, ctx, lambda: self._fresh.recent(attempt.site))
            if item is not None:
                if attempt.approval is not None:
                    await self._recall.load(attempt)  # another caller may have used it up meanwhile
                return await self._ask(attempt, item)
            if attempt.spec.writes and attempt.site.autonomy == "shadow":
                return result(attempt, "done", await self._records.shadowed(attempt))
            if not attempt.spec.writes and not attempt.used and not attempt.earlier:
                return await self._read(attempt)
            begun = await self._outcomes.begin(attempt)
            if isinstance(begun, ToolResult):
                return begun
            if isinstance(begun, Refused):
                raise begun
            if isinstance(begun, LeaseHeld):
                await self._wait_for(attempt, begun)
            elif isinstance(begun, errors.Denied):
                raise refused("lease" if isinstance(begun, Deadlock) else "limit", begun.message)
            await self._recall.load(attempt)
            if attempt.row is not None:
                return await self._outcomes.known(attempt)

    async def _ask(self, attempt: Attempt, item: Item) -> ToolResult:
        """In a task the question is committed with the interrupt; elsewhere at once."""
        events, site = self._records.asked(attempt, item), attempt.site
        items = tuple(known for known in attempt.items if known.id != item.id)
        if site.ns and claim_at(site) is not None:
            for event in events:
                self._ledger.defer(event, site.ns, site.attempt)
        else:
            await self._ledger.record(*events)
        if not site.ns:
            await self.open(item, site)
        return result(attempt, "asked", reasons=attempt.reasons, approval=item.id, items=(*items, item))

    async def _read(self, attempt: Attempt) -> ToolResult:
        outcome = await self._execution.run(attempt)
        if not attempt.begun and rests(attempt):
            self.judge.check_switches(attempt)
        at, claim = iso(self._clock.now()), claim_at(attempt.site)
        apply = self._records.read(attempt, outcome, at)
        if claim is None or not attempt.site.ns:
            await self._db.commit(apply, claim=claim)
        else:
            self._fresh.keep(claim, attempt, outcome, at)
            claim.later(attempt.site.ns, apply)
        return ended(attempt, outcome)

    def _repeated(self, attempt: Attempt) -> ToolResult | None:
        """What this drive has read under the same key, although it is not committed yet. Raises Refused."""
        outcome = self._fresh.repeated(attempt)
        return None if outcome is None else ended(attempt, outcome)

    async def _wait_for(self, attempt: Attempt, held: LeaseHeld) -> None:
        """Stay in line for a while, in place: a case that rests costs more than one that waits for a moment.

        Raises Refused when patience is over: Held where the case is to wait on.
        """
        now, site = asyncio.get_running_loop().time(), attempt.site
        if attempt.patience is None:
            attempt.patience = now + self._patience(attempt)
        if now >= attempt.patience:
            raise self._impatient(attempt, held)
        if attempt.turn is None:  # look once more: it may have come before it was listened for
            attempt.turn = self.leases.turn(site.tenant, site.case_id)
            return
        await asyncio.wait([attempt.turn], timeout=attempt.patience - now)
        attempt.turn.cancel()
        attempt.turn = None

    def _patience(self, attempt: Attempt) -> float:
        """Seconds: by default those that one call of the tool may take."""
        patience = self._settings.lease_patience_s
        return patience if patience is not None else attempt.spec.timeout or self._settings.tool_timeout_s

    def _impatient(self, attempt: Attempt, held: LeaseHeld) -> Refused:
        reason = Reason("gateway.lease", held.message)
        waits = (attempt.spec.when_held or self._settings.when_held) == "wait"
        return Held(reason, "lease", str(attempt.resource)) if waits else Refused(reason)

    def _held(self, attempt: Attempt, no: Held) -> ToolResult:
        """The call of a case that goes on by itself some day; why it waits is committed with the interrupt."""
        site = attempt.site
        for event in self._records.held(attempt, no.reasons):
            self._ledger.defer(event, site.ns, site.attempt)
        hold = Hold(site.tenant, attempt.effect_key, site.case_id, no.kind, no.target, no.reasons[0].text)
        return result(attempt, "denied", reasons=no.reasons, hold=hold)

    # what is known, and what is under way

    def learn(self, claim: Claim, ns: str, found: Sequence[Found]) -> None:
        """Keep what a task was given to read, in its commit; calls are traced to it from now on."""
        self._fresh.found(claim, found)
        claim.later(ns, facts.keeping(claim.tenant, claim.case_id, found))

    async def evidence(self, site: CallSite, args: Mapping[str, Any]) -> dict[str, Any]:
        """Where the values that people are shown come from, by name."""
        return await self.judge.provenance.evidence(site, args, self._fresh.recent(site))

    async def drain(self, case_id: str | None = None) -> None:
        """Wait for effects in flight, of one case or all. Each is bounded by its tool's time-out."""
        await self._flights.drain(case_id)

    # questions

    async def open(self, item: Item, site: CallSite, unless: Callable[[], bool] | None = None) -> None:
        """Put a question into the inbox: with the task's commit inside a case, else at once. Opening twice is once."""
        opening = self._inbox.opening(item)
        claim = claim_at(site)
        if claim is not None and site.ns:
            claim.later(site.ns, lambda tx: None if unless is not None and unless() else opening(tx))
        else:
            await self._db.commit(opening)

    def hold(self, hold: Hold, site: CallSite, unless: Callable[[], bool]) -> None:
        """Let a call of a case wait for a switch, with the task's commit. For a lease it stands in line already."""
        claim, at = claim_at(site), iso(self._clock.now())
        assert claim is not None, "only calls in a drive are held"
        if hold.kind == "switch":
            claim.later(site.ns, lambda tx: None if unless() else Switches.hold(tx, hold, at))

    async def answer(self, item: Item, decision: Decision, by: str = DEV_USER) -> Item:
        """Answer an item on behalf of whoever did so in guest mode; checked as every answer."""
        if item.kind == "task":
            return await self._inbox.complete(item.id, decision.value, by=by, tenant=item.tenant)
        return await self._inbox.decide(item.id, decision, by=by, tenant=item.tenant)

    async def item(self, item_id: str, site: CallSite) -> Item:
        return await self._inbox.get(item_id, tenant=site.tenant)

    def schema_of(self, item: Item) -> Mapping[str, Any] | None:
        """The JSON schema of the arguments of an item's action, for reading an edit of them."""
        name = item.action.get("tool")
        return self._tools.get(str(name)).arguments.schema if name in self._tools else None

    def digest_of(self, item: Item, args: Mapping[str, Any]) -> str:
        """The digest of an item's action with other arguments. Raises InputError on those that do not fit."""
        return edits.edited(item, args, self._tools).digest

    def request_of(self, item: Item, args: Mapping[str, Any]) -> Request | None:
        """What the policies are asked about an item's action with other arguments. Raises InputError."""
        return edits.request_of(item, args, self._tools, self._policies)


def passing(undone: ToolResult) -> bool:
    """Whether a compensation was denied by what the plane lacks for now: it waits for that, and asks nobody."""
    return bool(undone.reasons) and all(reason.policy in _LACKING for reason in undone.reasons)
