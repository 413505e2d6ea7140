"""Limits: what a requester has spent by day, week and month, counted before a call and settled after it.

An amount counts as reserved from the commit of the intent on, so that calls in flight see each other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from interlock import errors
from interlock.clock import iso, parse
from interlock.money import Money

if TYPE_CHECKING:
    from interlock.observability.ledger import Ledger
    from interlock.storage.database import Reader, Row, Transaction

__all__ = ["Limits", "forget"]

# Sums stay far from 2**63, where SQLite would turn integers into floats.
_MOST = 2**62
_TOTALS = (
    "SELECT bucket, period, reserved, settled FROM limits WHERE tenant = ? AND currency = ?"
    " AND bucket IN (?, ?, ?) AND period IN (?, ?, ?)"
)
_ADD = (
    "INSERT INTO limits (tenant, bucket, period, currency, reserved, settled) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (tenant, bucket, period, currency) DO UPDATE SET"
    " reserved = limits.reserved + excluded.reserved, settled = limits.settled + excluded.settled"
)
_OF_CASE = (
    "tenant = ? AND bucket LIKE 'counterparty/%' AND effect_key IN"
    " (SELECT effect_key FROM effects WHERE tenant = ? AND case_id = ?)"
)
_COUNTERPARTIES = f"SELECT DISTINCT bucket FROM reservations WHERE {_OF_CASE}"  # noqa: S608  # ours
_FORGET_CALLS = f"DELETE FROM reservations WHERE {_OF_CASE}"  # noqa: S608  # ours
_FORGET_SUMS = "DELETE FROM limits WHERE tenant = ? AND bucket = ? AND period NOT IN (?, ?, ?)"
_SUMS = "SELECT reserved, settled FROM limits WHERE tenant = ? AND bucket = ? AND period = ? AND currency = ?"
_COUNTED = (
    "SELECT bucket, period, currency, amount, status FROM reservations WHERE tenant = ? AND effect_key = ?"
    " ORDER BY bucket, period"
)
_RESERVE = (
    "INSERT INTO reservations (tenant, effect_key, bucket, period, currency, amount, status)"
    " VALUES (?, ?, ?, ?, ?, ?, 'reserved')"
)
_FORGET = "DELETE FROM reservations WHERE tenant = ? AND effect_key = ?"
_MARK = "UPDATE reservations SET status = ? WHERE tenant = ? AND effect_key = ?"
_NAMES = ("day", "week", "month")


class _Change(NamedTuple):
    """A step in the life of a reservation, and how often its amount is added to either sum."""

    event: str
    status: str
    reserved: int
    settled: int


_RESERVED = _Change("limit.reserved", "reserved", 1, 0)
_SETTLED = _Change("limit.settled", "settled", -1, 1)
_SETTLED_LATE = _Change("limit.settled", "settled", 0, 1)
_RELEASED = _Change("limit.released", "released", -1, 0)
_REFUNDED = _Change("limit.released", "refunded", 0, -1)


class Limits:
    """Reserved and settled sums per tenant, requester and currency; also with the actor, and with the counterparty."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def totals(
        self,
        reader: Reader,
        *,
        tenant: str,
        requester: str,
        actor: str,
        counterparty: str,
        currency: str,
        at: datetime,
    ) -> dict[str, Any]:
        """Reserved plus settled, in minor units, of the UTC day, ISO week and month of `at`.

        The shape is that of `context.totals`: day, week, month, by_actor, by_counterparty. No counterparty: zeros.
        """
        buckets, periods = _buckets(requester, actor, counterparty), _periods(at)
        rows = reader.rows(_TOTALS, (tenant, currency, *buckets, *periods))
        sums = {(row["bucket"], row["period"]): row["reserved"] + row["settled"] for row in rows}
        own, by_actor, by_counterparty = (
            {name: sums.get((bucket, period), 0) for name, period in zip(_NAMES, periods, strict=True)}
            for bucket in buckets
        )
        none = dict.fromkeys(_NAMES, 0)
        return {**own, "by_actor": by_actor, "by_counterparty": by_counterparty if counterparty else none}

    def reserve(
        self,
        tx: Transaction,
        *,
        tenant: str,
        effect_key: str,
        case_id: str,
        requester: str,
        actor: str,
        counterparty: str,
        money: Money,
        at: datetime,
    ) -> None:
        """Count an amount in the periods of `at`, once per effect. A released one may be reserved again.

        Raises Conflict when the effect is counted with other money, Denied when a sum gets out of range.
        """
        counted = tx.rows(_COUNTED, (tenant, effect_key))
        if counted and counted[0]["status"] != "released":
            _check_same(counted[0], money)
            return
        tx.execute(_FORGET, (tenant, effect_key))
        buckets = _buckets(requester, actor, counterparty)[: 3 if counterparty else 2]
        slots = [(bucket, period) for bucket in buckets for period in _periods(at)]
        tx.executemany(_RESERVE, [(tenant, effect_key, *slot, money.currency, money.amount) for slot in slots])
        self._apply(tx, _RESERVED, tenant=tenant, effect_key=effect_key, case_id=case_id, at=at)

    def settle(self, tx: Transaction, *, tenant: str, effect_key: str, case_id: str, at: datetime) -> None:
        """The effect happened: its amount is spent, also when it had been released. Nothing reserved, nothing done."""
        status = _status(tx, tenant, effect_key)
        if status in ("reserved", "released"):
            change = _SETTLED if status == "reserved" else _SETTLED_LATE
            self._apply(tx, change, tenant=tenant, effect_key=effect_key, case_id=case_id, at=at)

    def release(self, tx: Transaction, *, tenant: str, effect_key: str, case_id: str, at: datetime) -> None:
        """The effect did not happen: its amount no longer counts. What is settled stays."""
        if _status(tx, tenant, effect_key) == "reserved":
            self._apply(tx, _RELEASED, tenant=tenant, effect_key=effect_key, case_id=case_id, at=at)

    def refund(self, tx: Transaction, *, tenant: str, effect_key: str, case_id: str, at: datetime) -> None:
        """The effect was undone: its amount no longer counts in the periods in which it was spent; once."""
        if _status(tx, tenant, effect_key) == "settled":
            self._apply(tx, _REFUNDED, tenant=tenant, effect_key=effect_key, case_id=case_id, at=at)

    def _apply(
        self, tx: Transaction, change: _Change, *, tenant: str, effect_key: str, case_id: str, at: datetime
    ) -> None:
        """Move the amount in every bucket and period of the reservation, and tell the ledger once."""
        tx.execute(_MARK, (change.status, tenant, effect_key))
        rows = tx.rows(_COUNTED, (tenant, effect_key))
        for row in rows:
            _add(tx, tenant, row, change)
        data = {
            "bucket": list(dict.fromkeys(row["bucket"] for row in rows)),
            "period": list(dict.fromkeys(row["period"] for row in rows)),
            "amount": rows[0]["amount"],
            "currency": rows[0]["currency"],
            "effect": effect_key,
        }
        tx.append(self._ledger.event(change.event, tenant=tenant, case_id=case_id, data=data, at=iso(at)))


def _add(tx: Transaction, tenant: str, row: Row, change: _Change) -> None:
    slot, amount = (tenant, row["bucket"], row["period"], row["currency"]), row["amount"]
    # A credit makes room once it is settled: reserved it may still fail, when its room is spent.
    tx.execute(_ADD, (*slot, change.reserved * max(amount, 0), change.settled * amount))
    if change is _RESERVED:
        _check_range(tx, slot, amount)


def _check_range(tx: Transaction, slot: tuple[str, str, str, str], amount: int) -> None:
    """Checked when an amount is reserved, and for the time when it is settled: what happened has to be counted."""
    sums = tx.row(_SUMS, slot)
    assert sums is not None, "added before"
    settled, ahead = sums["settled"], sums["reserved"] + sums["settled"]
    if max(abs(ahead), abs(settled + amount)) > _MOST:
        raise errors.Denied(f"the sum of {slot[1]} in {slot[2]} gets out of range", "check the amount")


def _check_same(counted: Row, money: Money) -> None:
    if (counted["amount"], counted["currency"]) != (money.amount, money.currency):
        before = Money(counted["amount"], counted["currency"])
        raise errors.Conflict(f"this effect is counted with {before}, not with {money}", "an effect has one amount")


def _status(reader: Reader, tenant: str, effect_key: str) -> str | None:
    rows = reader.rows(_COUNTED, (tenant, effect_key))
    return rows[0]["status"] if rows else None


def forget(tx: Transaction, tenant: str, case_id: str, at: str) -> None:
    """Take out whom the calls of a case paid, and the sums of past periods that are kept under such a name.

    Sums of periods that are not over stay: they still limit.
    """
    current = _periods(parse(at))
    for row in tx.rows(_COUNTERPARTIES, (tenant, tenant, case_id)):
        tx.execute(_FORGET_SUMS, (tenant, row["bucket"], *current))
    tx.execute(_FORGET_CALLS, (tenant, tenant, case_id))


def _buckets(requester: str, actor: str, counterparty: str) -> tuple[str, str, str]:
    # No id of an actor holds a slash, so no two buckets meet, whatever a counterparty is called.
    return f"requester/{requester}", f"actor/{requester}/{actor}", f"counterparty/{requester}/{counterparty}"


def _periods(at: datetime) -> tuple[str, str, str]:
    """UTC day, ISO week and month: 2026-01-01, 2026-W01, 2026-01."""
    day = at.astimezone(UTC).date()
    year, week, _ = day.isocalendar()
    return day.isoformat(), f"{year:04d}-W{week:02d}", day.isoformat()[:7]
