"""What is already known of a call: its effect's row, and what people answered when they were asked about it."""

from __future__ import annotations

from typing import Any

from interlock import errors
from interlock.ids import Reason, digest
from interlock.oversight.inbox import Inbox, Item
from interlock.oversight.need import owner_id, separated
from interlock.storage.database import Database, Reader
from interlock.tools import effects
from interlock.tools.attempt import Attempt, refused, rewrite
from interlock.tools.compensation import stuck_id
from interlock.tools.contract import ToolResult
from interlock.tools.edits import merged
from interlock.tools.effects import value_of

__all__ = ["Recall", "question_of", "result", "stuck_of"]


class Recall:
    """Reads, and never writes."""

    def __init__(self, db: Database, inbox: Inbox) -> None:
        self._db = db
        self._inbox = inbox

    async def load(self, attempt: Attempt) -> None:
        """Fill in row and items, and the edited action after an edit.

        Raises Refused for an approval that is not of this action, and when the same call asks for another action.
        """
        if attempt.approval is not None:
            await self._adopt(attempt)
        await self._db.read(lambda tx: self._load(tx, attempt))
        first = attempt.items[0].digest if attempt.items else attempt.asked
        recorded = attempt.row["digest"] if attempt.row is not None else first
        if recorded != attempt.asked or first != attempt.asked:
            raise refused("divergence", f"{attempt.name} was asked before with other arguments: a person has to look")
        for item in attempt.items:
            if item.decision is not None and item.decision.kind == "edit":
                rewrite(attempt, merged(item, item.decision.args or {}))

    def answered(self, attempt: Attempt) -> ToolResult | None:
        """The end of a call by the word of a person: a no, or an answer instead of the action."""
        for item in attempt.items:
            if not item.grants:
                continue
            if item.status == "expired":
                raise refused("approval", f"the approval {item.id} expired, it was due {item.due}")
            if item.decision is not None and item.decision.kind == "reject":
                return _rejected(attempt, item)
            if item.decision is not None and item.decision.kind == "respond":
                return result(attempt, "done", item.decision.value)
        return None

    def _load(self, tx: Reader, attempt: Attempt) -> None:
        tenant = attempt.site.tenant
        attempt.row = effects.load(tx, tenant, attempt.effect_key)
        attempt.items = self._inbox.items_of(tx, tenant, attempt.effect_key)

    async def _adopt(self, attempt: Attempt) -> None:
        """The call goes on that was asked about, if it is the same action."""
        site, asked = attempt.site, str(attempt.approval)
        try:
            item = await self._inbox.get(asked, tenant=site.tenant)
        except errors.NotFound:
            raise refused("approval", f"there is no approval {asked!r}") from None
        if not item.grants or not item.effect_key:
            raise refused("approval", f"{asked!r} is no approval of a call")
        if attempt.digest not in (item.digest, item.decided_digest):  # after an edit either may be repeated
            raise refused("approval", f"{asked!r} is an approval of another action")
        if item.used_at is not None:
            raise refused("approval", f"the approval {asked!r} was used already: it serves one call")
        attempt.effect_key = item.effect_key


def _rejected(attempt: Attempt, item: Item) -> ToolResult:
    assert item.decision is not None, "a rejection is a decision"
    said = result(attempt, "denied", reasons=[Reason("gateway.rejected", item.decision.why)])
    return ToolResult(**{**vars(said), "rejected_by": item.decided_by or ""})


def result(attempt: Attempt, status: Any, value: Any = None, **more: Any) -> ToolResult:
    """A result that carries the call's id, policy version and questions."""
    more.setdefault("items", tuple(attempt.items))
    return ToolResult(status, value, policy_version=attempt.version, call_id=attempt.effect_key, **more)


def question_of(attempt: Attempt, error: str | None) -> Item:
    """What a person is asked when nobody knows whether the effect happened."""
    reason = Reason("gateway.unknown", error or "the outcome is unknown")
    evidence = {"key": attempt.outside_key, "attempt": attempt.number, "error": error, **_undone(attempt)}
    return _exception(attempt, digest([attempt.effect_key, "unknown", attempt.number])[:32], [reason], evidence)


def stuck_of(attempt: Attempt, ended: ToolResult, rest: Any) -> Item:
    """What a person is asked when an effect could not be undone; `rest` is what else is to be undone, or stays."""
    reasons = ended.reasons or [Reason("gateway.compensation", ended.error or "the compensation failed")]
    evidence = {"status": ended.status, "error": ended.error, **_undone(attempt), **rest}
    return _exception(attempt, stuck_id(attempt.effect_key), reasons, evidence)


def _undone(attempt: Attempt) -> dict[str, Any]:
    """The effect that a compensation undoes, as people are shown it."""
    row = attempt.undoes
    return {} if row is None else {"undoes": {"tool": row["tool"], "key": attempt.undone_key, "result": value_of(row)}}


def _exception(attempt: Attempt, id_: str, reasons: list[Reason], evidence: Any) -> Item:
    site, args = attempt.site, attempt.args if attempt.digest else attempt.raw
    return Item(
        id=id_,
        tenant=site.tenant,
        kind="exception",
        case_id=site.case_id,
        workflow=site.workflow,
        task=site.task,
        checkpoint_ns=site.ns,
        effect_key=attempt.effect_key,
        action={"tool": attempt.name, "args": args, "money": attempt.amount, "digest": attempt.digest},
        digest=attempt.digest,
        requester=site.requester,
        excluded=separated(site.actor, site.preparers, owner_id(attempt.actor.owner)),
        reasons=reasons,
        evidence=evidence,
        policy_version=attempt.version,
    )
