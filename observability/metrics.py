"""Metrics: read from the ledger, never counted on the side."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from math import nextafter
from typing import Any
from zoneinfo import ZoneInfo

from interlock import errors
from interlock.clock import Clock, iso
from interlock.observability.casebook import Casebook, CaseRecord, read
from interlock.observability.figures import Figures, compute
from interlock.observability.periods import KINDS, Moment, Window, period, seconds, zone
from interlock.storage.database import Database
from interlock.storage.transaction import Reader

__all__ = ["Figures", "Metrics"]

_WAITING = "SELECT count(*) AS n FROM cases WHERE tenant = ? AND status = 'waiting'"


class Metrics:
    """Throughput, cycle time, cost, money, approvals, exceptions and uptime of a plane."""

    def __init__(self, db: Database, clock: Clock, tenant: str = "default") -> None:
        self._db = db
        self._clock = clock
        self._tenant = tenant

    async def summary(
        self,
        workflow: str | None = None,
        since: Moment = None,
        until: Moment = None,
        by: str | None = None,
        tz: str = "UTC",
        *,
        tenant: str | None = None,
    ) -> Figures:
        """The figures of `since` (included) to `until` (excluded), times as datetime or ISO text.

        Durations are seconds, money is minor units by currency, shares are 0 to 1 and None where there is nothing
        to share. With `by` (day, week, month of `tz`), `periods` lists the same figures for each period in which
        something happened. Raises InputError for a bad time, period or zone.
        """
        if by is not None and by not in KINDS:
            raise errors.InputError(f"by={by!r} is no period", f"use one of {', '.join(KINDS)}")
        bounds = (seconds(since, "since"), seconds(until, "until"))
        whose, now = tenant or self._tenant, self._now()
        ask = partial(_summary, workflow=workflow, bounds=bounds, by=by, tz=zone(tz), tenant=whose, now=now)
        return await self._db.read(ask)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _summary(
    reader: Reader,
    *,
    workflow: str | None,
    bounds: tuple[float | None, float | None],
    by: str | None,
    tz: ZoneInfo,
    tenant: str,
    now: float,
) -> Figures:
    book = read(reader, tenant)
    records = [r for r in book.cases.values() if workflow is None or r.workflow == workflow]
    window = _window(book, bounds, now)
    current = bounds[1] is None or bounds[1] > now
    waiting = _waiting_now(reader, tenant, workflow) if current else _waiting_at(records, window.until)
    total = _shown(compute(book, records, window, waiting, tz))
    if by is not None:
        total["periods"] = _periods(book, records, window, by, tz)
    return total


def _window(book: Casebook, bounds: tuple[float | None, float | None], now: float) -> Window:
    """Open ends become the first event, and the last one; where only the start is given, now."""
    since, until = bounds
    first = (book.first if book.first is not None else now) if since is None else since
    if until is None:
        last = book.last if book.last is not None else now
        until = nextafter(max(now, last) if since is not None else last, float("inf"))
    return Window(first, max(until, first))


def _periods(book: Casebook, records: list[CaseRecord], window: Window, by: str, tz: ZoneInfo) -> list[Figures]:
    moments = {note.at for r in records for note in r.counted()}
    moments |= {at for r in records for at in (r.started, r.ended) if at is not None}
    found = {period(at, by, tz) for at in moments if at in window}
    shown = []
    for span in sorted(found, key=lambda p: p.since):
        part = span.within(window)
        waiting = _waiting_at(records, part.until)
        shown.append(Figures(period=span.label, **_shown(compute(book, records, part, waiting, tz))))
    return shown


def _waiting_now(reader: Reader, tenant: str, workflow: str | None) -> int:
    narrow, params = ("", ()) if workflow is None else (" AND workflow = ?", (workflow,))
    row = reader.row(_WAITING + narrow, (tenant, *params))
    return int(row["n"]) if row else 0


def _waiting_at(records: list[CaseRecord], at: float) -> int:
    return sum(r.waits_at(at) for r in records)


def _shown(figures: Figures) -> Figures:
    """Times as text, as everywhere else."""
    times: dict[str, Any] = {k: iso(datetime.fromtimestamp(figures[k], UTC)) for k in ("since", "until")}
    return Figures({**figures, **times})
