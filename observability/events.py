"""The closed list of ledger events: for each type its schema version and the keys its data must have.

A key may hold null. A change of meaning raises the version; old rows keep theirs.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EVENTS", "Kind"]


class Kind(NamedTuple):
    """One type of event."""

    schema_version: int
    keys: frozenset[str]


def _kind(keys: str, version: int = 1) -> Kind:
    return Kind(version, frozenset(keys.split()))


EVENTS: dict[str, Kind] = {
    "case.started": _kind(
        "workflow version graph_digest key input_digest requester parent priority trusted due sequence"
    ),
    "case.completed": _kind("cycle_s sla_met measures"),
    "case.failed": _kind("code message cycle_s"),
    "case.cancelled": _kind("by comment"),
    "case.paused": _kind("by comment"),
    "case.resumed": _kind("by comment"),
    "case.forked": _kind("by comment checkpoint fork"),
    "case.migrated": _kind("by comment version graph_digest"),
    "task.routed": _kind("task visit actor kind skill why considered"),
    "task.started": _kind("task visit actor"),
    "task.finished": _kind("task visit actor status work_s error"),
    "context.retrieved": _kind("task query facts snapshot"),
    "context.ingested": _kind("source ingested unchanged skipped snapshot"),
    "model.called": _kind("task agent model input_tokens output_tokens cost seconds status"),
    # Since version 2 with what the policies were asked, since 3 of gates as well; null when the gateway itself decided.
    "policy.decided": _kind(
        "tool task actor effect_key decision reasons policy_version digest approvals item money request", version=3
    ),
    # A write that was only imagined; since version 2 also what a shadow set would have decided, then beside `live`.
    "policy.shadowed": _kind(
        "tool task actor effect_key workflow decision reasons need policy_version money live", version=2
    ),
    "tool.intent": _kind("tool task args digest effect effect_key key money attempt"),
    "tool.outcome": _kind("tool task system args digest effect effect_key key status money by seconds error attempt"),
    "inbox.opened": _kind("item kind task authority need due tool digest money"),
    "inbox.claimed": _kind("item"),
    "inbox.delegated": _kind("item to"),
    "inbox.decided": _kind(
        "item kind task decision digest money comment opened_at claimed_at policy_version evidence_hash"
    ),
    "inbox.completed": _kind("item task opened_at claimed_at"),
    "inbox.expired": _kind("item"),
    "inbox.escalated": _kind("item to stage"),
    "lease.taken": _kind("resource token"),
    "lease.released": _kind("resource token"),
    "limit.reserved": _kind("bucket period amount currency effect"),
    "limit.settled": _kind("bucket period amount currency effect"),
    "limit.released": _kind("bucket period amount currency effect"),
    "system.opened": _kind("system why"),
    "system.closed": _kind("system why"),
    "switch.set": _kind("target state comment"),
    "policy.loaded": _kind("version files"),
    "actor.registered": _kind("id roles skills owner"),
    "autonomy.changed": _kind("target level comment"),
    "access.denied": _kind("what why"),
    "payload.erased": _kind("hashes why"),
    "ledger.archived": _kind("first last hash file"),
    # Since version 2 with the seal before it, and what of each tenant and case lies between: see `verify.py`.
    "seal.made": _kind("seq hash key_id since parts", version=2),
}
