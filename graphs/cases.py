"""The rows of `cases`: one place for every change of a case's status, and what callers see of a case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from interlock import errors
from interlock.oversight import holds
from interlock.oversight.holds import CHILD, HOLD
from interlock.oversight.leases import Held, held
from interlock.storage.database import Database, Reader, Row
from interlock.storage.transaction import Transaction

__all__ = ["CHILD", "ENDED", "HOLD", "OUTSIDE", "PAUSED", "SETTLED", "STATUSES", "Case", "Freed", "NewCase", "Waiting"]

# Values of `paused`: the engine leaves the case alone. OUTSIDE: a guest's LangGraph drives it, or a caller of tools.
PAUSED, OUTSIDE = 1, 2
ENDED = frozenset({"completed", "failed", "cancelled"})
SETTLED = ENDED | {"waiting"}
STATUSES = SETTLED | {"queued", "running"}

_INSERT = (
    "INSERT INTO cases (tenant, case_id, seq, workflow, version, graph_digest, key, input_digest, input, parent_id,"
    " requester, trusted, status, paused, priority, sequence, epoch, assign, snapshot, autonomy, started_at,"
    " updated_at, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)"
)
_CASES = "SELECT * FROM cases WHERE tenant = ? AND case_id IN ({ids})"
_STATUSES = "SELECT case_id, status FROM cases WHERE tenant = ? AND case_id IN ({ids})"
_QUEUE_PARENT = (
    "UPDATE cases SET status = 'queued', updated_at = ? WHERE tenant = ? AND case_id = ? AND status = 'waiting'"
    " AND instr(reason, ?) > 0"
)
_PARKED = (
    "SELECT tenant, case_id FROM cases WHERE status = 'waiting' AND reason IS NOT NULL"
    " AND reason NOT LIKE 'child:%' AND reason NOT LIKE 'hold:%'"
)
_UNPARK = "UPDATE cases SET status = 'queued', reason = NULL WHERE tenant = ? AND case_id = ?"
# Paused or not: what was to end ends. The first word on how a case ends is the last.
_SET_ENDING = (
    "UPDATE cases SET ending = ?, paused = 0, epoch = epoch + 1 WHERE tenant = ? AND case_id = ? AND ending IS NULL"
)
_CLOSE_ITEMS = (
    "UPDATE inbox SET status = 'cancelled' WHERE tenant = ? AND case_id = ? AND status IN ('open', 'claimed')"
)
_BUT_UNKNOWN = (
    " AND NOT EXISTS (SELECT 1 FROM effects e WHERE e.tenant = inbox.tenant AND e.item_id = inbox.id"
    " AND e.status = 'unknown')"
)
_CHILDREN = (
    "SELECT case_id FROM cases WHERE tenant = ? AND parent_id = ? AND substr(key, 1, length(parent_id) + 1) ="
    " parent_id || '/' AND status NOT IN ('completed', 'failed', 'cancelled')"
)
_WORKED_ON = (
    "SELECT actor AS who FROM tasks WHERE tenant = ? AND case_id = ? AND actor IS NOT NULL"
    " UNION SELECT decided_by FROM inbox WHERE tenant = ? AND case_id = ? AND decided_by IS NOT NULL"
    " AND kind IN ('task', 'exception') AND effect_key = ''"
)
_AT_ONCE = 500
_WAITING_ITEMS = (
    "SELECT id, kind, case_id, task, action, authority, opened_at FROM inbox"
    " WHERE tenant = ? AND case_id = ? AND status IN ('open', 'claimed') ORDER BY seq"
)


@dataclass(frozen=True)
class Waiting:
    """What a case waits for: an open inbox item; a child case (kind "case", `item` its id); or the plane (`item` None).

    The plane lacks a workflow, version or tool, the case is paused, something is switched off, or another case has the
    object of a call; `action` says which, and who.
    """

    kind: str
    item: str | None
    action: str
    authority: str
    since: str


@dataclass(frozen=True)
class Case:
    """One case as callers see it. `values` is the output, of a waiting case so far; `error` is {code, message}.

    `holds` are the objects it has a lease on.
    `ending` is how it will end while that is being wound up: what it did outside is found out, and undone, first.
    `effects` says of one that fails or is cancelled what became of what it did: {compensated, by_person, remaining,
    stays}, each a list of {tool, effect_key}; kept whenever it waits, and at its end.
    """

    id: str
    tenant: str
    workflow: str
    version: str
    key: str | None
    status: str
    requester: str
    input: Any
    values: Any
    error: dict[str, Any] | None
    started_at: str
    ended_at: str | None
    due: str | None
    parent: str | None = None
    ending: str | None = None
    waiting_for: list[Waiting] = field(default_factory=list)
    holds: list[Held] = field(default_factory=list)
    effects: dict[str, Any] = field(default_factory=dict)


class Freed(NamedTuple):
    """Who goes on after the end of a case: cases that have its objects now, and a parent case that waited for it."""

    handed: list[str]
    parent: str | None


@dataclass(frozen=True)
class NewCase:
    """What `insert` needs; `input` is JSON, times are text from `clock.iso`."""

    tenant: str
    case_id: str
    workflow: str
    version: str
    graph_digest: str
    key: str | None
    input_digest: str
    input: Any
    requester: str
    trusted: bool
    at: str
    parent_id: str | None = None
    priority: int = 0
    sequence: str | None = None
    assign: Mapping[str, str] = field(default_factory=dict)
    snapshot: int = 0
    autonomy: str = "autonomous"
    due: str | None = None
    paused: int = 0


def known(tx: Reader, new: NewCase) -> Row | None:
    """The case that has the business key of a new one, or had it until it was erased; or None."""
    sql = "SELECT * FROM cases WHERE tenant = ? AND workflow = ? AND key = ?"
    return tx.row(sql, (new.tenant, new.workflow, new.key)) or get(tx, new.tenant, new.case_id)


def insert(tx: Transaction, new: NewCase, seq: int) -> None:
    """Write a new case, queued; `seq` is the ledger's number of its case.started."""
    tx.execute(
        _INSERT,
        (
            new.tenant, new.case_id, seq, new.workflow, new.version, new.graph_digest, new.key, new.input_digest,
            orjson.dumps(new.input), new.parent_id, new.requester, int(new.trusted), new.paused, new.priority,
            new.sequence, orjson.dumps(dict(new.assign)), new.snapshot, new.autonomy, new.at, new.at, new.due,
        ),
    )  # fmt: skip


def same_start(row: Row, new: NewCase) -> str:
    """The id of the case that already has the key. Raises Conflict when it began with another input."""
    if row["input_digest"] != new.input_digest:
        raise errors.Conflict(
            f"a case of {new.workflow!r} with the key {new.key!r} began with another input",
            "use another key, or start it with the same input",
        )
    return str(row["case_id"])


def claim(tx: Transaction, tenant: str, case_id: str, at: str) -> tuple[Row | None, bool]:
    """Take a queued case for driving, with a new epoch: its row, and whether there is something to drive now."""
    changed = tx.execute(
        "UPDATE cases SET epoch = epoch + 1, status = 'running', reason = NULL, updated_at = ?"
        " WHERE tenant = ? AND case_id = ? AND status IN ('queued', 'running') AND paused = 0",
        (at, tenant, case_id),
    )
    return get(tx, tenant, case_id), changed == 1


def get(tx: Reader, tenant: str, case_id: str) -> Row | None:
    return tx.row("SELECT * FROM cases WHERE tenant = ? AND case_id = ?", (tenant, case_id))


def set_status(tx: Transaction, tenant: str, case_id: str, status: str, *, at: str, reason: str | None = None) -> None:
    tx.execute(
        "UPDATE cases SET status = ?, reason = ?, updated_at = ? WHERE tenant = ? AND case_id = ?",
        (status, reason, at, tenant, case_id),
    )


def set_ending(tx: Transaction, tenant: str, case_id: str, ending: bytes, *, at: str) -> None:
    """Leave a case to be wound up: queued, with only those questions open that ask what an effect came to."""
    if tx.execute(_SET_ENDING, (ending, tenant, case_id)):
        tx.execute(_CLOSE_ITEMS + _BUT_UNKNOWN, (tenant, case_id))
        holds.forget_case(tx, tenant, case_id)
    set_status(tx, tenant, case_id, "queued", at=at)


def set_values(tx: Transaction, tenant: str, case_id: str, values: Any) -> None:
    """Keep the output so far of a case that waits."""
    tx.execute("UPDATE cases SET result = ? WHERE tenant = ? AND case_id = ?", (_json(values), tenant, case_id))


def _queue_parent(tx: Transaction, tenant: str, parent: str, child: str, at: str) -> bool:
    """Queue a case that waits for a child; false when it does not."""
    return tx.execute(_QUEUE_PARENT, (at, tenant, parent, CHILD + child)) > 0


def keep_ending(tx: Transaction, tenant: str, case_id: str, ending: bytes) -> None:
    """Keep how far a case is wound up."""
    tx.execute("UPDATE cases SET ending = ? WHERE tenant = ? AND case_id = ?", (ending, tenant, case_id))


def end(
    tx: Transaction,
    tenant: str,
    case_id: str,
    status: str,
    *,
    at: str,
    result: Any = None,
    error: Any = None,
    effects: Mapping[str, Any] | None = None,
) -> str | None:
    """Close a case and its open items; the epoch grows, so that no late write passes.

    `effects` is what became of what it did, see `Case`. Gives the parent if that waited for this one: it is queued.
    """
    left = {"effects": effects} if effects else None
    tx.execute(
        "UPDATE cases SET status = ?, epoch = epoch + 1, reason = NULL, updated_at = ?, ended_at = ?, result = ?,"
        " error = ?, ending = ? WHERE tenant = ? AND case_id = ?",
        (
            status,
            at,
            at,
            _json(result),
            _json(error),
            _json(left),
            tenant,
            case_id,
        ),
    )
    tx.execute(_CLOSE_ITEMS, (tenant, case_id))
    row = get(tx, tenant, case_id)
    parent = row["parent_id"] if row is not None else None
    return parent if parent is not None and _queue_parent(tx, tenant, parent, case_id, at) else None


def recoverable(tx: Reader) -> list[Row]:
    """Cases that were queued or being driven when the last engine ended, in start order."""
    return tx.rows(
        "SELECT tenant, case_id, seq, priority, sequence FROM cases"
        " WHERE status IN ('queued', 'running') AND paused = 0 ORDER BY seq"
    )


def unpark(tx: Transaction) -> list[str]:
    """Queue the cases that waited for something that the plane lacked; gives their ids."""
    parked = [(row["tenant"], row["case_id"]) for row in tx.rows(_PARKED)]
    tx.executemany(_UNPARK, parked)
    return [case_id for _, case_id in parked]


def family(tx: Reader, tenant: str, case_id: str) -> list[str]:
    """A case and its open children, and theirs; forks are no children."""
    children = [row["case_id"] for row in tx.rows(_CHILDREN, (tenant, case_id))]
    return [case_id, *(one for child in children for one in family(tx, tenant, child))]


def worked_on(tx: Reader, tenant: str, case_id: str) -> frozenset[str]:
    """The actors who have worked on a case so far."""
    return frozenset(row["who"] for row in tx.rows(_WORKED_ON, (tenant, case_id) * 2))


async def statuses(db: Database, tenant: str, ids: Sequence[str]) -> dict[str, str]:
    """The status of each of some cases, "gone" for those that are not there."""
    found = await db.read(lambda tx: _each(tx, _STATUSES, tenant, ids)) if ids else []
    return {**dict.fromkeys(ids, "gone"), **{row["case_id"]: row["status"] for row in found}}


async def read_all(db: Database, tenant: str, ids: Sequence[str]) -> list[Case]:
    """Cases in the order of their ids. Raises NotFound for one that is not there."""
    found = await db.read(lambda tx: {row["case_id"]: _case(tx, row) for row in _each(tx, _CASES, tenant, ids)})
    if missing := [case_id for case_id in ids if case_id not in found]:
        raise errors.NotFound(f"no case {missing[0]!r}", "see `interlock cases`")
    return [found[case_id] for case_id in ids]


def _each(tx: Reader, sql: str, tenant: str, ids: Sequence[str]) -> Iterator[Row]:
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        yield from tx.rows(sql.format(ids=", ".join("?" * len(some))), (tenant, *some))


def read(tx: Reader, tenant: str, case_id: str) -> Case | None:
    """A case with what it waits for."""
    row = get(tx, tenant, case_id)
    return None if row is None else _case(tx, row)


def page(
    tx: Reader, tenant: str, *, status: str | None, workflow: str | None, limit: int, after: int
) -> tuple[list[Case], int | None]:
    """Cases in start order behind `after`, and where the next page begins (None at the end)."""
    where, params = ["tenant = ?", "seq > ?"], [tenant, after]
    for column, value in (("status", status), ("workflow", workflow)):
        if value is not None:
            where.append(f"{column} = ?")
            params.append(value)
    sql = f"SELECT * FROM cases WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"  # noqa: S608  # columns are ours
    rows = tx.rows(sql, (*params, limit + 1))
    return [_case(tx, row) for row in rows[:limit]], (rows[limit - 1]["seq"] if len(rows) > limit else None)


def _case(tx: Reader, row: Row) -> Case:
    ending = _load(row["ending"]) or {}
    return Case(
        id=row["case_id"],
        tenant=row["tenant"],
        workflow=row["workflow"],
        version=row["version"],
        key=row["key"],
        status=row["status"],
        requester=row["requester"],
        input=_load(row["input"]),
        values=_load(row["result"]),
        error=_load(row["error"]) or ending.get("error"),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        due=row["due"],
        parent=row["parent_id"],
        ending=ending.get("status"),
        waiting_for=_waiting(tx, row) + _paused(row),
        holds=[] if row["status"] in ENDED else held(tx, row["tenant"], row["case_id"]),
        effects=ending.get("effects") or {},
    )


def _waiting(tx: Reader, row: Row) -> list[Waiting]:
    """The open questions of a waiting case, and what it waits for besides."""
    if row["status"] != "waiting":
        return []
    items, reason = tx.rows(_WAITING_ITEMS, (row["tenant"], row["case_id"])), row["reason"] or ""
    asked = [Waiting(i["kind"], i["id"], _action(i), i["authority"] or "", i["opened_at"]) for i in items]
    if reason.startswith((CHILD, HOLD)):
        children = [_child(tx, row, one.removeprefix(CHILD)) for one in reason.split() if one.startswith(CHILD)]
        held = holds.of_case(tx, row["tenant"], row["case_id"])
        return asked + children + [Waiting("plane", None, one["why"], "", one["since"]) for one in held]
    return [*asked, Waiting("plane", None, reason, "", row["updated_at"])] if reason else asked


def _child(tx: Reader, row: Row, child_id: str) -> Waiting:
    child = get(tx, row["tenant"], child_id)
    return Waiting("case", child_id, child["workflow"] if child is not None else "", "", row["updated_at"])


def _paused(row: Row) -> list[Waiting]:
    return [Waiting("plane", None, "paused", "", row["updated_at"])] if row["paused"] == PAUSED else []


def _action(item: Row) -> str:
    action = _load(item["action"]) or {}
    return str(action.get("tool") or item["task"] or "")


def _json(value: Any) -> bytes | None:
    return None if value is None else orjson.dumps(value)


def _load(value: Any) -> Any:
    return None if value is None else orjson.loads(value)
