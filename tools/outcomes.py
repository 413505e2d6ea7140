"""From the intent of a call to its outcome, and back from whatever an earlier try has left.

The effect runs in a task that the plane owns. An intent without outcome is run again where that may be, else the probe
is asked, else a person. See `effects.py` for the rows.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from interlock import errors
from interlock.ids import Reason
from interlock.oversight.inbox import Item
from interlock.storage.database import Row
from interlock.tools import effects
from interlock.tools.attempt import Attempt, Refused
from interlock.tools.contract import ToolResult
from interlock.tools.effects import Outcome
from interlock.tools.execution import Execution
from interlock.tools.flights import Flights
from interlock.tools.judgement import Judge
from interlock.tools.recall import Recall, question_of, result
from interlock.tools.records import Moved, Records, rests

__all__ = ["Ended", "Outcomes", "ended"]

# How a flight ends: with the call's result, or because the call has to wait or be judged again.
Ended = ToolResult | errors.Denied | Moved | Refused


class Outcomes:
    """One per gateway."""

    def __init__(
        self, records: Records, recall: Recall, execution: Execution, flights: Flights[Ended], judge: Judge
    ) -> None:
        self._records, self._recall, self._execution = records, recall, execution
        self._flights, self._judge = flights, judge

    async def begin(self, attempt: Attempt) -> Ended:
        """Make the intent durable and execute, in one flight; or say why the call has to wait or be judged again."""
        return await self._flights.own(attempt, self._effect(attempt)) or Moved()

    async def conclude(self, attempt: Attempt) -> ToolResult:
        """What came of a call whose case does not go on: it is not run again."""
        return await self._left(attempt, await self._flights.own(attempt, self._concluded(attempt)))

    async def _effect(self, attempt: Attempt) -> Ended:
        """From the intent on: between it and the execution nobody else may take the call for a lost one."""
        stop = await self._records.intent(attempt)
        return await self._execute(attempt) if stop is None else stop

    async def _execute(self, attempt: Attempt) -> ToolResult | Moved:
        outcome = await self._execution.run(attempt)
        if attempt.untried and not attempt.begun and rests(attempt) and (off := self._judge.stopped(attempt)):
            await self._records.put_off(attempt, f"not begun: {off}")
            return Moved()
        if outcome.status == "unknown" and attempt.spec.reconcile is not None:
            probed = await self._execution.reconcile(attempt)
            outcome = replace(outcome, status="failed", by="reconciled") if probed is None else probed
        return await self._settle(attempt, outcome)

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> ToolResult:
        if outcome.status != "unknown":
            await self._records.outcome(attempt, outcome)
            return ended(attempt, outcome)
        item = question_of(attempt, outcome.error)
        await self._records.outcome(attempt, replace(outcome, item_id=item.id), item)
        attempt.items = [*attempt.items, item]
        return _unknown(attempt, item)

    async def known(self, attempt: Attempt) -> ToolResult:
        """A call with a row: its outcome, whatever is still in flight, or what can be found out."""
        row = attempt.row
        assert row is not None, "only recorded calls come here"
        attempt.number, attempt.version, attempt.token = row["attempt"], row["policy_version"] or "", row["fence"]
        attempt.untried = effects.is_put_off(row)
        flying = self._flights.of(attempt)
        if flying is not None:
            return await self._left(attempt, await asyncio.shield(flying))
        if row["status"] in ("done", "failed"):
            return ended(attempt, _outcome_of(row))
        if row["status"] == "unknown":
            return await self._answered(attempt)
        return await self._recover(attempt)

    async def _left(self, attempt: Attempt, ended: Ended | None) -> ToolResult:
        """The result of a flight, or what it left in the database."""
        if isinstance(ended, ToolResult):
            return ended
        await self._recall.load(attempt)
        return await self.known(attempt)

    async def _recover(self, attempt: Attempt) -> ToolResult:
        """An intent without outcome: run again what may be repeated, ask the probe, or else a person."""
        self._judge.check_switches(attempt)
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
        attempt.number, attempt.version, attempt.token = row["attempt"], row["policy_version"] or "", row["fence"]
        if row["status"] == "unknown":
            return await self._told(attempt, self._question(attempt))
        if row["status"] != "intent":
            return ended(attempt, _outcome_of(row))
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
        return ended(attempt, _outcome_of(attempt.row))

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
        if item.decision is not None and item.decision.kind == "approve":
            self._judge.check_switches(attempt)
            return await self._left(attempt, await self._flights.own(attempt, self._again(attempt)))
        return await self._told(attempt, item)

    async def _told(self, attempt: Attempt, item: Item) -> ToolResult:
        """The outcome as a person told it: it happened, or it did not."""
        decision = item.decision
        if decision is None:
            return _unknown(attempt, item)
        if decision.kind == "respond":
            return await self._settle(attempt, Outcome("done", decision.value, by="person"))
        why = "it did not happen, and the case does not go on" if decision.kind == "approve" else decision.why
        said = f"{item.decided_by} gave it up: {why}"
        return await self._settle(attempt, Outcome("failed", error=said, by="person"))


def _outcome_of(row: Row) -> Outcome:
    error = effects.error_of(row)
    return Outcome(row["status"], effects.value_of(row), error, row["by"] or "executed", item_id=row["item_id"])


def ended(attempt: Attempt, outcome: Outcome) -> ToolResult:
    """The result of a call whose outcome is known."""
    if outcome.status == "failed":
        return result(attempt, "failed", error=outcome.error)
    return result(attempt, "done", outcome.value)


def _unknown(attempt: Attempt, item: Item) -> ToolResult:
    error = item.reasons[0].text if item.reasons else "the outcome is unknown"
    return result(attempt, "unknown", error=error, approval=item.id, reasons=[Reason("gateway.unknown", error)])
