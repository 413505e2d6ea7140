"""What the gateway writes down about a call, each as one unit: the decision, the intent, the outcome."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from interlock import errors
from interlock.clock import Clock, iso
from interlock.ids import Reason, digest
from interlock.observability.ledger import Event, Ledger
from interlock.oversight.inbox import Inbox, Item
from interlock.oversight.leases import LeaseHeld, Leases
from interlock.oversight.limits import Limits
from interlock.oversight.replay import recorded
from interlock.oversight.shadow import step_of
from interlock.oversight.waits import Deadlock
from interlock.storage.claim import CLAIM, Apply, Claim
from interlock.storage.database import Database, Reader
from interlock.storage.transaction import Transaction
from interlock.tools import effects
from interlock.tools.attempt import Attempt, Refused, refused
from interlock.tools.effects import Outcome
from interlock.tools.execution import Execution
from interlock.tools.judgement import Judge
from interlock.tools.site import CallSite

__all__ = ["Moved", "Records", "claim_at", "rests"]

_OVER = "SELECT 1 FROM cases WHERE tenant = ? AND case_id = ? AND (ended_at IS NOT NULL OR ending IS NOT NULL)"


class Moved(Exception):
    """Between decision and commit something changed (sums, an approval, a twin): the call has to be judged again."""


def claim_at(site: CallSite) -> Claim | None:
    """The claim under which a call site writes; None outside a drive, and for guests, whose rows stand alone."""
    claim = CLAIM.get()
    if claim is None or site.guest or (claim.tenant, claim.case_id) != (site.tenant, site.case_id):
        return None
    return claim


def rests(attempt: Attempt) -> bool:
    """Whether the call was made in a task of a case that the engine drives: it can be made again."""
    return bool(attempt.site.ns) and attempt.undoes is None and claim_at(attempt.site) is not None


class Records:
    """Every write of the gateway goes through here."""

    def __init__(
        self,
        *,
        db: Database,
        ledger: Ledger,
        inbox: Inbox,
        leases: Leases,
        limits: Limits,
        judge: Judge,
        execution: Execution,
        clock: Clock,
    ) -> None:
        self._db, self._ledger, self._inbox, self._leases, self._limits = db, ledger, inbox, leases, limits
        self._judge, self._execution, self._clock = judge, execution, clock

    async def denied(self, attempt: Attempt, reasons: list[Reason]) -> None:
        """Durable before the caller hears of it; the call waits for nothing any more."""
        events = self._decided(attempt, "denied", reasons)

        def unit(tx: Transaction) -> list[str]:
            for event in events:
                tx.append(event)
            return self._leave(tx, attempt)

        self._leases.notify(attempt.site.tenant, await self._db.commit(unit, claim=claim_at(attempt.site)))

    async def left(self, attempt: Attempt) -> None:
        """A call has stopped waiting for a lease."""
        handed = await self._db.commit(lambda tx: self._leave(tx, attempt))
        self._leases.notify(attempt.site.tenant, handed)

    def held(self, attempt: Attempt, reasons: list[Reason]) -> list[Event]:
        """The decision that a call is to wait, told once for each text; to be committed with the interrupt."""
        return self._decided(attempt, "denied", reasons, apart=digest([list(reason) for reason in reasons])[:16])

    def asked(self, attempt: Attempt, item: Item) -> list[Event]:
        """The decision that a person has to be asked; to be committed with the question."""
        return self._decided(attempt, "asked", item.reasons, item)

    async def intent(self, attempt: Attempt) -> errors.Denied | Moved | Refused | None:
        """Make the intent durable, with lease, limits and used approvals; or say why it has to wait or be judged again.

        A no must not fail the unit: a failed unit would end the whole drive. Who has to wait is in line from then on.
        """
        claim = claim_at(attempt.site)

        def unit(tx: Transaction) -> errors.Denied | Moved | Refused | None:
            if claim is None and _is_over(tx, attempt.site):
                return refused("scope", _said_over(attempt.site))
            try:
                with tx.savepoint():
                    self._intend(tx, attempt, claim.epoch if claim else 0)
            except LeaseHeld as held:
                return self._line_up(tx, attempt, held)
            except (errors.Denied, Moved) as stop:  # sums out of range
                return stop
            return None

        return await self._db.commit(unit, claim=claim)

    async def again(self, attempt: Attempt) -> LeaseHeld | errors.Stale | Moved | None:
        """Make a further try of an intent durable; or say that its outcome is known by now, or its lease is over."""
        at, claim = iso(self._now()), claim_at(attempt.site)
        event = self._intent_event(attempt, at)

        def unit(tx: Transaction) -> LeaseHeld | errors.Stale | Moved | None:
            if claim is None and _is_over(tx, attempt.site):
                return errors.Stale(_said_over(attempt.site), "look at the case")
            try:
                with tx.savepoint():
                    self._repeat(tx, attempt, at)
                    tx.append(event)
            except (LeaseHeld, errors.Stale, Moved) as stop:  # as in `intent`: a no must not fail the unit
                return stop
            return None

        return await self._db.commit(unit, claim=claim)

    async def put_off(self, attempt: Attempt, why: str) -> None:
        """Note that a call with an intent was stopped before it reached its tool."""
        await self._db.commit(lambda tx: effects.put_off(tx, attempt, why), claim=claim_at(attempt.site))

    async def outcome(self, attempt: Attempt, outcome: Outcome, item: Item | None = None) -> None:
        """Make an outcome durable, under any epoch: what happened outside has happened.

        `item` is the question that an unknown outcome puts to a person.
        """
        at = self._now()
        events = self._outcome_events(attempt, outcome, iso(at))
        opening = self._inbox.opening(item) if item is not None else None

        def unit(tx: Transaction) -> None:
            if not effects.settle(tx, attempt, outcome, iso(at)):
                return
            self._account(tx, attempt, outcome, at)
            if outcome.status == "done":
                self._judge.provenance.register(tx, attempt, iso(at))
            if opening is not None:
                opening(tx)
            for event in events:
                tx.append(event)

        await self._db.commit(unit)

    def read(self, attempt: Attempt, outcome: Outcome, at: str) -> Apply:
        """A read with its decision and outcome, as one unit that may wait for its task's."""
        decided = self._decided(attempt, "allowed", attempt.reasons)
        events = [*decided, *self._outcome_events(attempt, outcome, at)]

        def unit(tx: Transaction) -> None:
            if effects.read_once(tx, attempt, outcome, at):
                for event in events:
                    tx.append(event)

        return unit

    async def shadowed(self, attempt: Attempt) -> Any:
        """Record a write that is only imagined; gives what it gave in the case that this one is a fork of."""
        told = {**_decision(attempt, "allowed", attempt.reasons), **_aside(attempt), "need": {}, "live": None}
        event = self._event("policy.shadowed", attempt, "shadowed", told)
        await self._ledger.record(event, *self._differs(attempt, "allowed"))
        return await self._db.read(lambda tx: effects.twin(tx, attempt))

    def _intend(self, tx: Transaction, attempt: Attempt, epoch: int) -> None:
        at = self._now()
        # Sums, counts and policies may have moved since the decision: in the commit they are final.
        if self._judge.moved(tx, attempt) or not self._hold(attempt):
            raise Moved
        self._lease(tx, attempt, epoch, at)
        if not effects.intend(tx, attempt, iso(at)):
            raise Moved
        try:
            self._inbox.use(tx, attempt.used, iso(at))
        except errors.Denied as used:
            raise Moved from used
        self._inbox.withdraw(tx, attempt.site.tenant, attempt.effect_key)
        if attempt.money is not None and attempt.undoes is None:
            self._reserve(tx, attempt, at)
        for event in self._decided(attempt, "allowed", attempt.reasons):
            tx.append(event)
        tx.append(self._intent_event(attempt, iso(at)))

    def _hold(self, attempt: Attempt) -> bool:
        """Whether those who approved still may: a delegation or an authority may have been taken away."""
        return attempt.request is None or self._inbox.hold(attempt.used, attempt.request)

    def _line_up(self, tx: Transaction, attempt: Attempt, held: LeaseHeld) -> errors.Denied:
        site, resource = attempt.site, str(attempt.resource)
        where = {"tenant": site.tenant, "resource": resource, "case_id": site.case_id, "call": attempt.effect_key}
        try:
            self._leases.line_up(tx, **where, at=iso(self._now()))
        except Deadlock as closed:
            return closed
        return held

    def _leave(self, tx: Transaction, attempt: Attempt) -> list[str]:
        """Only calls for an object, that were not let through, can stand in a line."""
        if attempt.resource is None or attempt.row is not None:
            return []
        return self._leases.leave(tx, attempt.site.tenant, attempt.effect_key, iso(self._now()))

    def _repeat(self, tx: Transaction, attempt: Attempt, at: str) -> None:
        """Under the lease of the first try only: a new one would hide that others have written in between."""
        if not effects.intend(tx, attempt, at):
            raise Moved
        if attempt.token is not None:
            site, resource = attempt.site, str(attempt.resource)
            self._leases.check(tx, tenant=site.tenant, resource=resource, case_id=site.case_id, token=attempt.token)

    def _lease(self, tx: Transaction, attempt: Attempt, epoch: int, at: datetime) -> None:
        site = attempt.site
        if attempt.resource is not None and attempt.spec.writes:
            attempt.token = self._leases.take(
                tx, tenant=site.tenant, resource=attempt.resource, case_id=site.case_id, epoch=epoch,
                at=iso(at),
            )  # fmt: skip

    def _reserve(self, tx: Transaction, attempt: Attempt, at: datetime) -> None:
        site, money = attempt.site, attempt.money
        assert money is not None, "only money is reserved"
        self._limits.reserve(
            tx, tenant=site.tenant, effect_key=attempt.effect_key, case_id=site.case_id, requester=site.requester,
            actor=site.actor, counterparty=attempt.counterparty, money=money, at=at,
        )  # fmt: skip

    def _account(self, tx: Transaction, attempt: Attempt, outcome: Outcome, at: datetime) -> None:
        """Settle or give back what was reserved; while the outcome is unknown it stays reserved.

        What is undone was not spent: it is taken out of the sums into which it went.
        """
        if attempt.money is None or outcome.status == "unknown":
            return
        where = {"tenant": attempt.site.tenant, "case_id": attempt.site.case_id}
        if attempt.compensates is None:
            book = self._limits.settle if outcome.status == "done" else self._limits.release
            book(tx, **where, effect_key=attempt.effect_key, at=at)
        elif outcome.status == "done":
            self._limits.refund(tx, **where, effect_key=attempt.compensates, at=at)

    def _decided(
        self, attempt: Attempt, decision: str, reasons: list[Reason], item: Item | None = None, apart: str = ""
    ) -> list[Event]:
        """The decision, and how the shadow of the policies differs from it. It is told once for each `apart`."""
        data = {
            **_decision(attempt, decision, reasons), **_subject(attempt), "item": item.id if item else None,
            "request": _request(attempt, decision, reasons, item),
        }  # fmt: skip
        told = digest([decision, attempt.digest, attempt.approvals, [r.policy for r in reasons]])[:16]
        return [
            self._event("policy.decided", attempt, f"decided:{told}{apart}", data),
            *self._differs(attempt, decision),
        ]

    def _differs(self, attempt: Attempt, decision: str) -> list[Event]:
        told = attempt.shadowed
        if told is None or told["live"]["decision"] != decision:
            return []
        data = {**_decision(attempt, decision, attempt.reasons), **_aside(attempt), **told}
        return [self._event("policy.shadowed", attempt, step_of(told, attempt.digest, attempt.approvals), data)]

    def _intent_event(self, attempt: Attempt, at: str) -> Event:
        data = {
            "tool": attempt.name, "task": attempt.site.task, "args": attempt.args, "digest": attempt.digest,
            "effect": attempt.spec.effect, "effect_key": attempt.effect_key, "key": attempt.outside_key,
            "money": attempt.amount, "attempt": attempt.number, **_undone(attempt),
        }  # fmt: skip
        return self._event("tool.intent", attempt, f"intent:{attempt.number}", data, at)

    def _outcome_events(self, attempt: Attempt, outcome: Outcome, at: str) -> list[Event]:
        """One outcome, unless it is unknown still; and what changed with the system's breaker."""
        data = {
            "tool": attempt.name, "task": attempt.site.task, "system": attempt.spec.system, "args": attempt.args,
            "digest": attempt.digest, "effect": attempt.spec.effect, "effect_key": attempt.effect_key,
            "key": attempt.outside_key, "status": outcome.status, "money": attempt.amount, "by": outcome.by,
            "seconds": outcome.seconds, "error": outcome.error, "attempt": attempt.number, **_undone(attempt),
        }  # fmt: skip
        known = [] if outcome.status == "unknown" else [self._event("tool.outcome", attempt, "outcome", data, at)]
        return [*known, *self._execution.news()]

    def _event(self, kind: str, attempt: Attempt, step: str, data: dict[str, Any], at: str | None = None) -> Event:
        site = attempt.site
        return self._ledger.event(
            kind, tenant=site.tenant, case_id=site.case_id, actor=site.actor, data=self._execution.redact(data),
            identity=f"{attempt.effect_key}:{step}", at=at,
        )  # fmt: skip

    def _now(self) -> datetime:
        return self._clock.now()


def _decision(attempt: Attempt, decision: str, reasons: list[Reason]) -> dict[str, Any]:
    return {
        "tool": attempt.name, "task": attempt.site.task, "actor": attempt.site.actor,
        "effect_key": attempt.effect_key, "decision": decision, "reasons": [list(reason) for reason in reasons],
        "policy_version": attempt.version,
    }  # fmt: skip


def _aside(attempt: Attempt) -> dict[str, Any]:
    return {"workflow": attempt.site.workflow, "money": attempt.amount}


def _is_over(tx: Reader, site: CallSite) -> bool:
    """Whether a case is closed to calls from outside its drive; within a drive its epoch says so."""
    return tx.row(_OVER, (site.tenant, site.case_id)) is not None


def _said_over(site: CallSite) -> str:
    return f"case {site.case_id} has ended, or is being ended"


def _undone(attempt: Attempt) -> dict[str, Any]:
    return {} if attempt.compensates is None else {"compensates": attempt.compensates}


def _request(attempt: Attempt, decision: str, reasons: list[Reason], item: Item | None) -> dict[str, Any] | None:
    """What the policies were asked; None when the gateway itself said no. An intent or outcome brings its arguments."""
    if attempt.request is None or (decision == "denied" and reasons != attempt.reasons):
        return None
    site, origins = attempt.site, {arg: sorted(found) for arg, found in attempt.origins.items()}
    context = {
        "workflow": site.workflow, "requester": site.requester, "preparers": attempt.request.context["preparers"],
        "autonomy": site.autonomy, "origins": origins,
    }  # fmt: skip
    return recorded(
        context, roles=attempt.actor.all_roles, totals=attempt.totals, facts=attempt.facts, earlier=attempt.earlier,
        ages=attempt.ages, args=None if decision == "allowed" else attempt.args, need=item.need if item else None,
    )  # fmt: skip


def _subject(attempt: Attempt) -> dict[str, Any]:
    return {"digest": attempt.digest, "approvals": attempt.approvals, "money": attempt.amount}
