"""What came before a call, for policies: what its case has done, how often a tool was called, what is repeated.

Read from the rows of `effects`, and only what the policies of the tool name. Counted are calls in flight, done and
unknown; never failed ones, and never the call itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from interlock.clock import iso
from interlock.ids import canonical
from interlock.oversight.participants import acts
from interlock.tools.attempt import Attempt

if TYPE_CHECKING:
    from interlock.storage.database import Reader

__all__ = ["earlier"]

_BEGUN = "status IN ('intent', 'done', 'unknown') AND effect_key <> ?"
# What tells the calls of each record apart, and whether nothing matches a call that has no such thing.
_ALIKE: dict[str, tuple[str, tuple[str, ...]]] = {
    "counts": ("tool = ?", ("tool",)),
    "counts.by_actor": ("tool = ? AND actor = ?", ("tool", "actor")),
    "counts.by_counterparty": ("tool = ? AND counterparty = ?", ("tool", "counterparty")),
    "counts.by_system": ("system = ?", ("system",)),
    "repeats": ("tool = ? AND args = ?", ("tool", "args")),
    "repeats.by_counterparty": ("tool = ? AND counterparty = ?", ("tool", "counterparty")),
    "totals.by_system": ("system = ? AND currency = ?", ("system", "currency")),
    "totals.tenant": ("currency = ?", ("currency",)),
    "totals.tenant.by_counterparty": ("currency = ? AND counterparty = ?", ("currency", "counterparty")),
}
# A credit makes room once it is done: in flight it may still fail, when its room is spent.
_SUM = "COALESCE(SUM(CASE WHEN status = 'done' OR amount > 0 THEN amount ELSE 0 END), 0)"
_CASE = f"SELECT DISTINCT tool, status FROM effects WHERE tenant = ? AND case_id = ? AND {_BEGUN}"  # noqa: S608  # ours
_OWN = {
    leaf: f"SELECT DISTINCT tool FROM effects WHERE tenant = ? AND {column} = ? AND actor = ? AND {_BEGUN}"  # noqa: S608  # ours
    for leaf, column in {"own": "case_id", "own_with": "counterparty"}.items()
}
_SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


def earlier(
    reader: Reader, attempt: Attempt, paths: Iterable[str], at: datetime, read: Iterable[str]
) -> dict[str, Any]:
    """The values at some paths of the context, as nested records; `read` are tools of this drive without a row yet."""
    found: dict[str, Any] = {}
    for path in paths:
        name, _, leaf = path.rpartition(".")
        value = _done(reader, attempt, leaf, read) if name == "history" else _sum(reader, attempt, name, leaf, at)
        record = found
        for part in name.split("."):
            record = record.setdefault(part, {})
        record[leaf] = value
    return found


def _done(reader: Reader, attempt: Attempt, leaf: str, read: Iterable[str]) -> list[str]:
    if leaf in _OWN:
        return _own(reader, attempt, leaf, read)
    rows = reader.rows(_CASE, (attempt.site.tenant, attempt.site.case_id, attempt.effect_key))
    return sorted({row["tool"] for row in rows if leaf == "begun" or row["status"] == "done"}.union(read))


def _own(reader: Reader, attempt: Attempt, leaf: str, read: Iterable[str]) -> list[str]:
    """What the same actor has called before, in the case or with the counterparty."""
    where = attempt.site.case_id if leaf == "own" else attempt.counterparty
    rows = reader.rows(_OWN[leaf], (attempt.site.tenant, where, attempt.site.actor, attempt.effect_key))
    found = {row["tool"] for row in rows if where}
    return sorted(found.union(read, _acted(reader, attempt)) if leaf == "own" else found)


def _acted(reader: Reader, attempt: Attempt) -> Iterable[str]:
    """What a person has called before, or decided as a gate, also in related cases."""
    site = attempt.site
    person = site.actor.startswith("person:")
    return acts(reader, site.tenant, site.case_id).get(site.actor, ()) if person else ()


def _sum(reader: Reader, attempt: Attempt, name: str, period: str, at: datetime) -> int:
    """How many calls, or how much money, since the period began. No counterparty or system: nothing is like it."""
    alike, fields = _ALIKE[name]
    values = [_value(attempt, field) for field in fields]
    if "" in values:
        return 0
    what = _SUM if name.startswith("totals") else "COUNT(*)"
    sql = f"SELECT {what} AS n FROM effects WHERE tenant = ? AND {alike} AND intent_at >= ? AND {_BEGUN}"  # noqa: S608  # ours
    since = at - _SPANS[period] if name.startswith("repeats") else _begin(at, period)
    row = reader.row(sql, (attempt.site.tenant, *values, iso(since), attempt.effect_key))
    assert row is not None, "an aggregate has a row"
    return int(row["n"])


def _value(attempt: Attempt, field: str) -> str | bytes:
    match field:
        case "tool":
            return attempt.name
        case "actor":
            return attempt.site.actor
        case "counterparty":
            return attempt.counterparty
        case "system":
            return attempt.spec.system
        case "args":
            return canonical(attempt.args)
    return attempt.money.currency if attempt.money else ""


def _begin(at: datetime, period: str) -> datetime:
    """The begin of the UTC hour, day, ISO week or month that a time is in, as of `totals`."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    begins = {"hour": hour, "day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}
    return begins[period]
