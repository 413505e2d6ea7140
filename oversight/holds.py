"""Holds: the tool calls that wait for a switch, or for an object that another case has.

They are rows, in the order in which they came to wait, so that they outlive the process. A hold that is over stays
until its case ends, or its call waits again: whoever drives the case then knows that it may go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from interlock.storage.database import Reader, Row
    from interlock.storage.transaction import Transaction

__all__ = [
    "CHILD",
    "HOLD",
    "Hold",
    "end",
    "end_all",
    "explain",
    "forget",
    "forget_case",
    "line",
    "of_case",
    "over",
    "place",
]

# Before the id of a child case, or of a hold, in what a case waits for.
CHILD, HOLD = "child:", "hold:"

# A call that waits for the same thing already keeps its place.
_SAME = "holds.status = 'waiting' AND holds.kind = excluded.kind AND holds.target = excluded.target"
_PLACE = (
    "INSERT INTO holds (tenant, id, seq, case_id, kind, target, status, why, since)"  # noqa: S608  # our own words
    " VALUES (?, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM holds WHERE tenant = ?), ?, ?, ?, 'waiting', ?, ?)"
    " ON CONFLICT (tenant, id) DO UPDATE SET"
    f" seq = CASE WHEN {_SAME} THEN holds.seq ELSE excluded.seq END,"
    f" since = CASE WHEN {_SAME} THEN holds.since ELSE excluded.since END,"
    " kind = excluded.kind, target = excluded.target, status = 'waiting', why = excluded.why"
)
_LINE = (
    "SELECT h.id, h.tenant, h.case_id, c.epoch FROM holds h"
    " JOIN cases c ON c.tenant = h.tenant AND c.case_id = h.case_id"
    " WHERE h.tenant = ? AND h.kind = ? AND h.target = ? AND h.status = 'waiting'"
    " AND c.status IN ('queued', 'running', 'waiting') ORDER BY h.seq"
)
_ANYWHERE = "SELECT id, tenant, case_id FROM holds WHERE kind = ? AND target = ? AND status = 'waiting' ORDER BY seq"
_END = "UPDATE holds SET status = 'over' WHERE tenant = ? AND id = ?"
_EXPLAIN = "UPDATE holds SET why = ? WHERE tenant = ? AND kind = ? AND target = ? AND status = 'waiting'"
_QUEUE = (
    "UPDATE cases SET status = 'queued', updated_at = ? WHERE tenant = ? AND case_id = ? AND status = 'waiting'"
    " AND reason LIKE ?"
)
_ONE = "SELECT case_id, kind, target, status FROM holds WHERE tenant = ? AND id = ?"
_OF_CASE = (
    "SELECT id, kind, target, why, since FROM holds"
    " WHERE tenant = ? AND case_id = ? AND status = 'waiting' ORDER BY seq"
)
_FORGET = "DELETE FROM holds WHERE tenant = ? AND id = ?"
_FORGET_CASE = "DELETE FROM holds WHERE tenant = ? AND case_id = ?"


@dataclass(frozen=True)
class Hold:
    """A call that waits; `id` is its effect key. `target` is the switch, or the object."""

    tenant: str
    id: str
    case_id: str
    kind: Literal["lease", "switch"]
    target: str
    why: str


def place(tx: Transaction, hold: Hold, at: str) -> None:
    """Put a call at the end of the line for its target."""
    one = hold
    tx.execute(_PLACE, (one.tenant, one.id, one.tenant, one.case_id, one.kind, one.target, one.why, at))


def over(reader: Reader, tenant: str, case_id: str, id_: str) -> bool | None:
    """Whether a hold of the case is over; None when the case has no such hold."""
    row = reader.row(_ONE, (tenant, id_))
    return None if row is None or row["case_id"] != case_id else row["status"] == "over"


def line(reader: Reader, tenant: str, kind: str, target: str) -> list[Row]:
    """Who waits for a target, the first in line first: id, tenant, case_id and epoch, of cases that are open."""
    return reader.rows(_LINE, (tenant, kind, target))


def of_case(reader: Reader, tenant: str, case_id: str) -> list[Row]:
    """What a case waits for: id, kind, target, why and since."""
    return reader.rows(_OF_CASE, (tenant, case_id))


def end(tx: Transaction, rows: Iterable[Row], at: str) -> list[str]:
    """End some holds, and queue the cases that rest because of them; gives these."""
    queued = []
    for row in rows:
        tx.execute(_END, (row["tenant"], row["id"]))
        if tx.execute(_QUEUE, (at, row["tenant"], row["case_id"], f"%{HOLD}{row['id']}%")):
            queued.append(row["case_id"])
    return queued


def end_all(tx: Transaction, kind: str, target: str, at: str, tenant: str | None = None) -> list[str]:
    """End all holds for a target, of one tenant or of all; gives the cases that are queued by it."""
    rows = tx.rows(_ANYWHERE, (kind, target))
    return end(tx, [row for row in rows if tenant in (None, row["tenant"])], at)


def explain(tx: Transaction, tenant: str, kind: str, target: str, why: str) -> None:
    """Say anew why the calls wait that wait for a target."""
    tx.execute(_EXPLAIN, (why, tenant, kind, target))


def forget(tx: Transaction, tenant: str, id_: str) -> Row | None:
    """Take a call out of the line; gives what it was, if it was in one: case_id, kind, target and status."""
    row = tx.row(_ONE, (tenant, id_))
    if row is not None:
        tx.execute(_FORGET, (tenant, id_))
    return row


def forget_case(tx: Transaction, tenant: str, case_id: str) -> None:
    """An ended case waits for nothing."""
    tx.execute(_FORGET_CASE, (tenant, case_id))
