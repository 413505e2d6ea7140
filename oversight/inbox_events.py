"""What the ledger is told of inbox items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interlock.oversight.items import AGAIN

if TYPE_CHECKING:
    from interlock.oversight.actions import Request
    from interlock.oversight.items import Item

__all__ = ["completed", "decided", "opened"]


def opened(item: Item) -> dict[str, Any]:
    return {
        "kind": item.kind, "task": item.task, "authority": item.authority, "need": dict(item.need), "due": item.due,
        "tool": item.action.get("tool"), "digest": item.digest, "money": item.money,
    }  # fmt: skip


def decided(item: Item, request: Request | None) -> dict[str, Any]:
    decision = item.decision
    assert decision is not None, "a settled item has its decision"
    return {
        "kind": item.kind, "task": item.task, "decision": decision.kind, "digest": decision.digest,
        "money": _money(item, request), "comment": item.comment, "opened_at": item.opened_at,
        "claimed_at": item.claimed_at, "policy_version": item.policy_version, "evidence_hash": item.evidence_hash,
        **({"acting_for": decision.acting_for} if decision.acting_for else {}),
        **({"authority": item.authority} if item.stuck and decision.digest != AGAIN else {}),
    }  # fmt: skip


def completed(item: Item) -> dict[str, Any]:
    for_whom = item.decision.acting_for if item.decision else ""
    return {
        "task": item.task, "opened_at": item.opened_at, "claimed_at": item.claimed_at, "comment": item.comment,
        **({"acting_for": for_whom} if for_whom else {}),
    }  # fmt: skip


def _money(item: Item, request: Request | None) -> Any:
    """What was decided on: after an edit the money of the edited action."""
    if item.decision is None or item.decision.kind != "edit" or request is None or not request.context.get("currency"):
        return item.money
    return {"amount": request.context["amount"], "currency": request.context["currency"]}
