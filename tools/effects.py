"""The rows of `effects`: what was intended, what came of it. One row per effect key; a status only goes forward.

(none) -> intent -> done | failed | unknown;  unknown -> intent (run again) | done | failed (a person said so)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from interlock.ids import canonical
from interlock.storage.database import Reader, Row
from interlock.storage.transaction import Transaction
from interlock.tools.attempt import Attempt

__all__ = [
    "Left", "Outcome", "begun", "error_of", "has_open", "intend", "is_put_off", "left_by", "load", "put_off",
    "read_once", "settle", "twin", "value_of",
]  # fmt: skip

_COLUMNS = (
    "tenant", "effect_key", "case_id", "checkpoint_ns", "task", "tool", "slot", "digest", "args", "actor", "effect",
    "status", "amount", "currency", "attempt", "policy_version", "business_key", "intent_at",
    "system", "counterparty", "fence", "compensates",
)  # fmt: skip
_INSERT = (
    f"INSERT INTO effects ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  # our names
    " ON CONFLICT (tenant, effect_key) DO NOTHING"
)
_AGAIN = (
    "UPDATE effects SET status = 'intent', attempt = ?, item_id = NULL, error = NULL, intent_at = ?"
    " WHERE tenant = ? AND effect_key = ? AND status IN ('intent', 'unknown')"
)
_SETTLE = (
    "UPDATE effects SET status = ?, result = ?, error = ?, by = ?, seconds = ?, item_id = ?, outcome_at = ?,"
    " attempt = ? WHERE tenant = ? AND effect_key = ? AND status IN ('intent', 'unknown')"
)
_PUT_OFF = "UPDATE effects SET error = ? WHERE tenant = ? AND effect_key = ? AND status = 'intent'"
_LOAD = "SELECT * FROM effects WHERE tenant = ? AND effect_key = ?"
_BEGUN = (
    "SELECT tool, args, status, result, intent_at, outcome_at FROM effects WHERE tenant = ? AND case_id = ?"
    " ORDER BY intent_at, rowid"
)
_OPEN = "SELECT 1 FROM effects WHERE tenant = ? AND case_id = ? AND status IN ('intent', 'unknown')"
_WRITTEN = (
    "SELECT e.* FROM effects e LEFT JOIN ledger l ON l.tenant = e.tenant AND l.identity = e.effect_key || ':outcome'"
    " WHERE e.tenant = ? AND e.case_id = ? AND e.effect <> 'read' AND e.status <> 'failed'"
    " ORDER BY e.outcome_at DESC, l.seq DESC"
)
_TWIN = (
    "SELECT e.result FROM effects e JOIN cases c ON c.tenant = e.tenant AND c.parent_id = e.case_id"
    " WHERE c.tenant = ? AND c.case_id = ? AND e.tool = ? AND e.args = ? AND e.status = 'done' ORDER BY e.outcome_at"
)


@dataclass(frozen=True)
class Outcome:
    """What came of a call: `status` is done, failed or unknown; `by` is executed, reconciled or person."""

    status: str
    value: Any = None
    error: str | None = None
    by: str = "executed"
    seconds: float = 0.0
    item_id: str | None = None


class Left(NamedTuple):
    """What a case has left outside: effects without outcome, those done (the last first), and their compensations.

    `undone` maps the key of an effect to the row of the compensation that is done.
    """

    open: list[Row]
    done: list[Row]
    undone: dict[str, Row]


def load(reader: Reader, tenant: str, effect_key: str) -> Row | None:
    return reader.row(_LOAD, (tenant, effect_key))


def value_of(row: Row) -> Any:
    """The recorded result of a finished call, as JSON values."""
    return None if row["result"] is None else orjson.loads(row["result"])


def error_of(row: Row) -> str | None:
    """Why a finished call failed."""
    return None if row["error"] is None else str(orjson.loads(row["error"]))


def intend(tx: Transaction, attempt: Attempt, at: str) -> bool:
    """Write the intent of a first try, or of a further one; False when somebody else has settled it meanwhile."""
    if attempt.number == 1:
        return tx.execute(_INSERT, _row(attempt, "intent", at)) == 1
    return tx.execute(_AGAIN, (attempt.number, at, attempt.site.tenant, attempt.effect_key)) == 1


def settle(tx: Transaction, attempt: Attempt, outcome: Outcome, at: str) -> bool:
    """Write what came of an intent; False when that is known already."""
    result = canonical(outcome.value) if outcome.status == "done" else None
    error = None if outcome.error is None else canonical(outcome.error)
    said = (outcome.status, result, error, outcome.by, outcome.seconds, outcome.item_id, at, attempt.number)
    return tx.execute(_SETTLE, (*said, attempt.site.tenant, attempt.effect_key)) == 1


def put_off(tx: Transaction, attempt: Attempt, why: str) -> None:
    """Note with an intent that its tool has not been reached: it can be run as if for the first time."""
    tx.execute(_PUT_OFF, (canonical(why), attempt.site.tenant, attempt.effect_key))


def is_put_off(row: Row) -> bool:
    return row["status"] == "intent" and row["error"] is not None


def read_once(tx: Transaction, attempt: Attempt, outcome: Outcome, at: str) -> bool:
    """Write a read and its outcome in one go; False when it is there already."""
    return tx.execute(_INSERT, _row(attempt, "intent", at)) == 1 and settle(tx, attempt, outcome, at)


def begun(reader: Reader, tenant: str, case_id: str) -> Iterator[tuple[str, Any, Any, str, str]]:
    """Every call of a case in the order in which they were made: tool, arguments, result, begin and end.

    A call that failed, or of which nobody knows, has sent its arguments out all the same; its result is None.
    """
    for row in reader.rows(_BEGUN, (tenant, case_id)):
        result = value_of(row) if row["status"] == "done" else None
        yield row["tool"], orjson.loads(row["args"]), result, row["intent_at"], row["outcome_at"] or row["intent_at"]


def has_open(reader: Reader, tenant: str, case_id: str) -> bool:
    """Whether a case has a call of which nobody knows what came of it."""
    return reader.row(_OPEN, (tenant, case_id)) is not None


def left_by(reader: Reader, tenant: str, case_id: str) -> Left:
    """What a case has left outside so far."""
    rows = reader.rows(_WRITTEN, (tenant, case_id))
    first = [row for row in rows if row["compensates"] is None]
    undone = {row["compensates"]: row for row in rows if row["compensates"] is not None and row["status"] == "done"}
    done = [row for row in first if row["status"] == "done"]
    return Left([row for row in first if row["status"] != "done"], done, undone)


def twin(reader: Reader, attempt: Attempt) -> Any:
    """What the same call gave in the case that this one is a fork of; None where there was none."""
    row = reader.row(_TWIN, (attempt.site.tenant, attempt.site.case_id, attempt.name, canonical(attempt.args)))
    return None if row is None else value_of(row)


def _row(attempt: Attempt, status: str, at: str) -> tuple[Any, ...]:
    site, money = attempt.site, attempt.money
    return (
        site.tenant, attempt.effect_key, site.case_id, site.ns, site.task, attempt.name, str(attempt.slot),
        attempt.asked, canonical(attempt.args), site.actor, attempt.spec.effect, status,
        money.amount if money else None, money.currency if money else None, attempt.number, attempt.version,
        attempt.business_key, at, attempt.spec.system, attempt.counterparty, attempt.token, attempt.compensates,
    )  # fmt: skip
