"""The rows of `inbox` and `decisions`: every statement that reads or changes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from interlock import errors
from interlock.ids import canonical
from interlock.oversight.items import AGAIN, COLUMNS, YES, Decision, Item, chain_json, from_row, to_row
from interlock.storage.database import Reader, Transaction

__all__ = [
    "Answer", "Filter", "answered", "approvals", "claim", "delegate", "escalate", "expire", "insert", "load",
    "of_effect", "release", "scan", "settle", "take", "use", "withdraw",
]  # fmt: skip

_NAMES = ", ".join(COLUMNS)
_INSERT = (
    f"INSERT INTO inbox (seq, {_NAMES}) VALUES ((SELECT COALESCE(MAX(seq), 0) + 1 FROM inbox), "  # noqa: S608  # our names
    f"{', '.join('?' for _ in COLUMNS)}) ON CONFLICT (tenant, id) DO NOTHING"
)
_SELECT = f"SELECT seq, {_NAMES} FROM inbox WHERE tenant = ? AND "  # noqa: S608  # our names
_CLAIM = "UPDATE inbox SET claimed_by = ?, claimed_at = ? WHERE tenant = ? AND id = ? AND status = 'open'"
_RELEASE = "UPDATE inbox SET claimed_by = NULL, claimed_at = NULL WHERE tenant = ? AND id = ? AND status = 'open'"
_DELEGATE = (
    "UPDATE inbox SET delegated_to = ?, claimed_by = NULL, claimed_at = NULL"
    " WHERE tenant = ? AND id = ? AND status = 'open'"
)
_ESCALATE = (
    "UPDATE inbox SET due = ?, chain = ?, claimed_by = NULL, claimed_at = NULL"
    " WHERE tenant = ? AND id = ? AND status = 'open'"
)
_SETTLE = (
    "UPDATE inbox SET status = ?, decision = ?, decided_by = ?, decided_at = ?, comment = ?, policy_version = ?"
    " WHERE tenant = ? AND id = ? AND status = 'open'"
)
_DECISION = (
    "INSERT INTO decisions (tenant, item_id, by, at, decision, digest, comment, policy_version, evidence_hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_QUEUE = "UPDATE cases SET status = 'queued', updated_at = ? WHERE tenant = ? AND case_id = ? AND status = 'waiting'"
_EXPIRE = "UPDATE inbox SET status = 'expired' WHERE tenant = ? AND id = ? AND status = 'open'"
_USE = "UPDATE inbox SET used_at = ? WHERE tenant = ? AND id = ? AND status = 'decided' AND used_at IS NULL"
_WITHDRAW = "UPDATE inbox SET status = 'cancelled' WHERE tenant = ? AND effect_key = ? AND status = 'open'"


@dataclass(frozen=True)
class Filter:
    """Which items a list shows; None means any. `after` is the seq of the last item of the page before."""

    tenant: str
    kind: str | None
    status: str | None
    case_id: str | None
    after: int


@dataclass(frozen=True)
class Answer:
    """An answer on its way into the database. A claim of `over` does not stand in its way."""

    decision: Decision
    by: str
    at: str
    comment: str
    policy_version: str
    status: str
    over: str | None = None


def insert(tx: Transaction, item: Item) -> bool:
    """Write an item; False when it is there already."""
    return tx.execute(_INSERT, to_row(item)) == 1


def load(tx: Reader, tenant: str, item_id: str) -> Item:
    """The item of an id. Raises NotFound."""
    row = tx.row(_SELECT + "id = ?", (tenant, item_id)) if isinstance(item_id, str) else None
    if row is None:
        raise errors.NotFound(f"no inbox item {item_id!r}", "list the inbox for its items")
    return from_row(row)


def of_effect(tx: Reader, tenant: str, effect_key: str) -> list[Item]:
    return [from_row(row) for row in tx.rows(_SELECT + "effect_key = ? ORDER BY seq", (tenant, effect_key))]


def approvals(tx: Reader, tenant: str, case_id: str, effect_key: str, digest: str) -> list[Item]:
    """Unused approvals of one action: asked for this call, or by a gate of the flow that named the action."""
    wanted = "case_id = ? AND status = 'decided' AND authority <> '' AND used_at IS NULL ORDER BY seq"
    found = [from_row(row) for row in tx.rows(_SELECT + wanted, (tenant, case_id))]
    ours = [item for item in found if item.gate or item.effect_key == effect_key]
    return [i for i in ours if i.decision and i.decision.kind in YES and i.decided_digest == digest]


def scan(tx: Reader, wanted: Filter) -> Iterator[Item]:
    """Items behind a position, in the order in which they were opened."""
    columns = {"kind": wanted.kind, "status": wanted.status, "case_id": wanted.case_id}
    given = {name: value for name, value in columns.items() if value is not None}
    sql = _SELECT + " AND ".join([*(f"{name} = ?" for name in given), "seq > ?"]) + " ORDER BY seq"
    return (from_row(row) for row in tx.scan(sql, (wanted.tenant, *given.values(), wanted.after)))


def take(items: Iterable[Item], count: int) -> list[Item]:
    return list(islice(items, count))


def claim(tx: Transaction, item: Item, by: str, at: str, over: str | None) -> bool:
    """Take an item, also from `over`; False when this person has it already. Raises AlreadyDecided, Conflict."""
    now = _held(tx, item, by, over)
    return now.claimed_by != by and tx.execute(_CLAIM, (by, at, item.tenant, item.id)) == 1


def release(tx: Transaction, item: Item, by: str | None) -> bool:
    """Give an item back; False when nobody has it. `by` None: whoever has it. Raises AlreadyDecided, Conflict."""
    now = _open(tx, item) if by is None else _held(tx, item, by, None)
    return now.claimed_by is not None and tx.execute(_RELEASE, (item.tenant, item.id)) == 1


def delegate(tx: Transaction, item: Item, to: str, by: str | None) -> bool:
    """Hand an item to one person; False when it is theirs. `by` None: whoever has it. Raises as `release`."""
    now = _open(tx, item) if by is None else _held(tx, item, by, None)
    theirs = now.delegated_to == to and now.claimed_by in (None, to)
    return not theirs and tx.execute(_DELEGATE, (to, item.tenant, item.id)) == 1


def _open(tx: Transaction, item: Item) -> Item:
    now = load(tx, item.tenant, item.id)
    if not now.open:
        raise errors.AlreadyDecided(f"{item.id} is {now.status}", "nothing is left to do")
    return now


def _held(tx: Transaction, item: Item, by: str, over: str | None) -> Item:
    """The open item, unless somebody else has it. Raises AlreadyDecided, Conflict."""
    now = _open(tx, item)
    _check_claim(now, by, over)
    return now


def _check_claim(now: Item, by: str, over: str | None) -> None:
    if now.claimed_by not in (None, by, over):
        hint = "they, or an operator, can release it"
        raise errors.Conflict(f"{now.id} is claimed by {now.claimed_by}", hint)


def escalate(tx: Transaction, item: Item) -> None:
    """Store where an item stands in its chain, and end the claim of those who let it come to that."""
    tx.execute(_ESCALATE, (item.due, chain_json(item), item.tenant, item.id))


def answered(item: Item, decision: Decision, by: str) -> Item | None:
    """The item if this person gave this answer already, None if it is open. Raises AlreadyDecided, Expired."""
    if item.open:
        return None
    if item.decision is not None and item.decided_by == by and item.decision.same(decision):
        return item
    if item.status == "expired":
        raise errors.Expired(f"{item.id} expired, it was due {item.due}", "ask again")
    how = f"{item.decision.kind} by {item.decided_by}" if item.decision else item.status
    raise errors.AlreadyDecided(f"{item.id} has its answer: {how}", "the first answer stands")


def settle(tx: Transaction, item: Item, answer: Answer) -> tuple[Item, bool]:
    """Store an answer and queue the case; gives the item and whether this was the first time.

    Raises AlreadyDecided, Expired, Conflict (somebody else claimed it), and NotAuthorized when this person already
    approved another stage of the same action.
    """
    now = load(tx, item.tenant, item.id)
    if (first := answered(now, answer.decision, answer.by)) is not None:
        return first, False
    _check_stages(tx, now, answer)
    _check_claim(now, answer.by, answer.over)
    _store(tx, now, answer)
    tx.execute(_QUEUE, (answer.at, item.tenant, item.case_id))
    done = replace(now, status=answer.status, decision=answer.decision, decided_by=answer.by, decided_at=answer.at)
    return replace(done, comment=answer.comment, policy_version=answer.policy_version), True


def _check_stages(tx: Transaction, item: Item, answer: Answer) -> None:
    """Whoever decided a stage of an action decides no other; after an edit it is another action."""
    asked = item.grants and item.effect_key and answer.decision.digest != AGAIN
    others = of_effect(tx, item.tenant, item.effect_key) if asked else []
    same = [one for one in others if one.grants and one.decided_digest == answer.decision.digest]
    if any({answer.by, answer.decision.acting_for} & one.deciders and one.id != item.id for one in same):
        hint = "each stage needs another person"
        raise errors.NotAuthorized(f"{answer.by} decided another stage of this action", hint)


def _store(tx: Transaction, item: Item, answer: Answer) -> None:
    said = canonical(answer.decision.as_json())
    tail: tuple[Any, ...] = (answer.comment, answer.policy_version)
    tx.execute(_SETTLE, (answer.status, said, answer.by, answer.at, *tail, item.tenant, item.id))
    head = (item.tenant, item.id, answer.by, answer.at, said, answer.decision.digest)
    tx.execute(_DECISION, (*head, *tail, item.evidence_hash))


def expire(tx: Transaction, item: Item, at: str) -> bool:
    """Close an open item whose time is over, and queue its case."""
    if tx.execute(_EXPIRE, (item.tenant, item.id)) != 1:
        return False
    tx.execute(_QUEUE, (at, item.tenant, item.case_id))
    return True


def use(tx: Transaction, item: Item, at: str) -> bool:
    """Mark an approval as used; False when it was."""
    return tx.execute(_USE, (at, item.tenant, item.id)) == 1


def withdraw(tx: Transaction, tenant: str, effect_key: str) -> None:
    """Close what is still asked about a call that needs no answer any more."""
    tx.execute(_WITHDRAW, (tenant, effect_key))
