"""The gateway: the only door to outside systems.

validate -> digest -> known already? -> decide -> lease, limits, approvals and intent in one commit -> execute, in a
task that the plane owns -> outcome durable. A read goes the short way: it is recorded with the task that made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from interlock.tools import edits, effects, facts
from interlock.tools.attempt import Attempt, Held, Refused, admit, begin, begin_undoing, refused, resumed
from interlock.tools.contract import ToolResult
from interlock.tools.credentials import Credentials
from interlock.tools.effects import Outcome
from interlock.tools.execution import Execution
from interlock.tools.facts import Found
from interlock.tools.flights import Flights
from interlock.tools.fresh import Fresh
from interlock.tools.judgement import Judge
from interlock.tools.recall import Recall, question_of, result, stuck_of
from interlock.tools.records import Moved, Records, claim_at
from interlock.tools.registry import Tools
from interlock.tools.site import CallSite

__all__ = ["DEV_USER", "Gateway", "passing"]

# How a flight ends: with the call's result, or because the call has to wait or be judged again.
Ended = ToolResult | errors.Denied | Moved | Refused
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
        ended = await self._let(attempt)
        if ended.status in ("denied", "failed") and not passing(ended):
            await self._db.commit(self._inbox.opening(stuck_of(attempt, ended, rest)), claim=claim_at(site))
        return ended

    async def conclude(self, row: Row, site: CallSite) -> ToolResult:
        """Find out what came of an effect whose case does not go on: it is not run again. Raises StorageError only."""
        attempt = resumed(row, site)
        try:
            admit(attempt, self._tools, self._actors)
            attempt.asked = row["digest"]
            return await self._left(attempt, await self._flights.own(attempt, self._concluded(attempt)))
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
                return await self._recorded(attempt)
            return self._repeated(attempt) or self._recall.answered(attempt) or await self._new(attempt)
        except Refused as no:
            if isinstance(no, Held) and _rests(attempt):
                return self._held(attempt, no)
            await self._records.denied(attempt, no.reasons)
            return result(attempt, "denied", reasons=no.reasons)

    async def _new(self, attempt: Attempt) -> ToolResult:
        """Decide and run; decided again as often as something moved before the intent was durable."""
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
            ended = await self._flights.own(attempt, self._effect(attempt)) or Moved()
            if isinstance(ended, ToolResult):
                return ended
            if isinstance(ended, Refused):
                raise ended
            if isinstance(ended, LeaseHeld):
                await self._wait_for(attempt, ended)
            elif isinstance(ended, errors.Denied):
                raise refused("lease" if isinstance(ended, Deadlock) else "limit", ended.message)
            await self._recall.load(attempt)
            if attempt.row is not None:
                return await self._recorded(attempt)

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
        if not attempt.begun and _rests(attempt):
            self.judge.check_switches(attempt)
        at, claim = iso(self._clock.now()), claim_at(attempt.site)
        apply = self._records.read(attempt, outcome, at)
        if claim is None or not attempt.site.ns:
            await self._db.commit(apply, claim=claim)
        else:
            self._fresh.keep(claim, attempt, outcome, at)
            claim.later(attempt.site.ns, apply)
        return _ended(attempt, outcome)

    def _repeated(self, attempt: Attempt) -> ToolResult | None:
        """What this drive has read under the same key, although it is not committed yet. Raises Refused."""
        outcome = self._fresh.repeated(attempt)
        return None if outcome is None else _ended(attempt, outcome)

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
        try:
            await asyncio.wait([attempt.turn], timeout=attempt.patience - now)
        except asyncio.CancelledError:
            await asyncio.shield(self._records.left(attempt))
            raise
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

    # effects

    async def _effect(self, attempt: Attempt) -> Ended:
        """From the intent on: between it and the execution nobody else may take the call for a lost one."""
        stop = await self._records.intent(attempt)
        return await self._execute(attempt) if stop is None else stop

    async def _execute(self, attempt: Attempt) -> ToolResult | Moved:
        outcome = await self._execution.run(attempt)
        if attempt.untried and not attempt.begun and _rests(attempt) and (off := self.judge.stopped(attempt)):
            await self._records.put_off(attempt, f"not begun: {off}")
            return Moved()
        if outcome.status == "unknown" and attempt.spec.reconcile is not None:
            probed = await self._execution.reconcile(attempt)
            outcome = replace(outcome, status="failed", by="reconciled") if probed is None else probed
        return await self._settle(attempt, outcome)

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> ToolResult:
        if outcome.status != "unknown":
            await self._records.outcome(attempt, outcome)
            return _ended(attempt, outcome)
        item = question_of(attempt, outcome.error)
        await self._records.outcome(attempt, replace(outcome, item_id=item.id), item)
        attempt.items = [*attempt.items, item]
        return _unknown(attempt, item)

    async def _recorded(self, attempt: Attempt) -> ToolResult:
        """A call with a row: its outcome, whatever is still in flight, or what can be found out."""
        row = attempt.row
        assert row is not None, "only recorded calls come here"
        attempt.number, attempt.version, attempt.token = row["attempt"], row["policy_version"] or "", row["fence"]
        attempt.untried = effects.is_put_off(row)
        flying = self._flights.of(attempt)
        if flying is not None:
            return await self._left(attempt, await asyncio.shield(flying))
        if row["status"] in ("done", "failed"):
            return _ended(attempt, _outcome_of(row))
        if row["status"] == "unknown":
            return await self._answered(attempt)
        return await self._recover(attempt)

    async def _left(self, attempt: Attempt, ended: Ended | None) -> ToolResult:
        """The result of a flight, or what it left in the database."""
        if isinstance(ended, ToolResult):
            return ended
        await self._recall.load(attempt)
        return await self._recorded(attempt)

    async def _recover(self, attempt: Attempt) -> ToolResult:
        """An intent without outcome: run again what may be repeated, ask the probe, or else a person."""
        self.judge.check_switches(attempt)
        return await self._left(attempt, await self._flights.own(attempt, self._found_out(attempt)))

    async def _found_out(self, attempt: Attempt) -> Ended:
        await self._recall.load(attempt)  # a flight may have landed since: from here on nobody else has this one
        if attempt.row is not None and attempt.row["status"] != "intent":
            return Moved()
        if attempt.row is not None and effects.is_put_off(attempt.row):
            return await self._again(attempt)
        if attempt.idempotent:
            attempt.doubtful = True  # a clear no to the repetition says nothing of the try before
            return await self._again(attempt)
        outcome = await self._execution.reconcile(attempt)
        return await self._again(attempt) if outcome is None else await self._settle(attempt, outcome)

    async def _concluded(self, attempt: Attempt) -> Ended:
        await self._recall.load(attempt)
        row = attempt.row
        assert row is not None, "an intent does not go away"
        attempt.number, attempt.version = row["attempt"], row["policy_version"] or ""
        if row["status"] == "unknown":
            item = self._question(attempt)
            decision = item.decision
            if decision is None:
                return _unknown(attempt, item)
            if decision.kind == "respond":
                return await self._settle(attempt, Outcome("done", decision.value, by="person"))
            said = f"{item.decided_by} said that it did not happen, and the case does not go on"
            return await self._settle(attempt, Outcome("failed", error=said, by="person"))
        if row["status"] != "intent":
            return _ended(attempt, _outcome_of(row))
        if effects.is_put_off(row):
            return await self._settle(attempt, Outcome("failed", error=effects.error_of(row)))
        found = await self._execution.reconcile(attempt)
        return await self._settle(attempt, found or Outcome("failed", error="it did not happen", by="reconciled"))

    def _question(self, attempt: Attempt) -> Item:
        """What a person is asked about an unknown outcome."""
        assert attempt.row is not None, "only recorded calls are unknown"
        return next(known for known in attempt.items if known.id == attempt.row["item_id"])

    async def _again(self, attempt: Attempt) -> ToolResult | Moved:
        attempt.number += 1
        stop = await self._records.again(attempt)
        if stop is None:
            return await self._execute(attempt)
        if isinstance(stop, errors.InterlockError):
            return await self._fenced(attempt, stop)
        await self._recall.load(attempt)
        assert attempt.row is not None, "an intent does not go away"
        return _ended(attempt, _outcome_of(attempt.row))

    async def _fenced(self, attempt: Attempt, over: errors.InterlockError) -> ToolResult:
        """Without its lease nothing runs again; what came of the tries before is found out, or a person is asked."""
        assert attempt.row is not None, "only recorded calls are run again"
        attempt.number -= 1
        by_person = attempt.row["status"] == "unknown"  # who said that it did not happen
        outcome = None if by_person else await self._execution.reconcile(attempt)
        said = f"not run again: {over.message}"
        by = "person" if by_person else "reconciled"
        return await self._settle(attempt, outcome or Outcome("failed", error=said, by=by))

    async def _answered(self, attempt: Attempt) -> ToolResult:
        """An unknown outcome: what a person said of it, if anybody has."""
        item = self._question(attempt)
        decision = item.decision
        if decision is None:
            return _unknown(attempt, item)
        if decision.kind == "approve":
            self.judge.check_switches(attempt)
            return await self._left(attempt, await self._flights.own(attempt, self._again(attempt)))
        if decision.kind == "respond":
            return await self._settle(attempt, Outcome("done", decision.value, by="person"))
        said = f"{item.decided_by} gave it up: {decision.why}"
        return await self._settle(attempt, Outcome("failed", error=said, by="person"))

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


def passing(ended: ToolResult) -> bool:
    """Whether a compensation was denied by what the plane lacks for now: it waits for that, and asks nobody."""
    return bool(ended.reasons) and all(reason.policy in _LACKING for reason in ended.reasons)


def _rests(attempt: Attempt) -> bool:
    """Whether the call was made in a task of a case that the engine drives: it can be made again."""
    return bool(attempt.site.ns) and attempt.undoes is None and claim_at(attempt.site) is not None


def _outcome_of(row: Any) -> Outcome:
    error = effects.error_of(row)
    return Outcome(row["status"], effects.value_of(row), error, row["by"] or "executed", item_id=row["item_id"])


def _ended(attempt: Attempt, outcome: Outcome) -> ToolResult:
    if outcome.status == "failed":
        return result(attempt, "failed", error=outcome.error)
    return result(attempt, "done", outcome.value)


def _unknown(attempt: Attempt, item: Item) -> ToolResult:
    error = item.reasons[0].text if item.reasons else "the outcome is unknown"
    return result(attempt, "unknown", error=error, approval=item.id, reasons=[Reason("gateway.unknown", error)])
