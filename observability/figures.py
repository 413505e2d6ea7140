"""Figures of one window of time, computed from a case book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from interlock.observability.casebook import MICROS, Call, Casebook, CaseRecord, union
from interlock.observability.periods import Window, month

__all__ = ["Figures", "compute", "quantile", "spread"]

_OUTCOMES = ("completed", "failed", "cancelled")
_MONEY = ("requested", "approved", "executed", "rejected")
_APPROVALS = ("requested", "approved", "edited", "rejected", "expired")


class Figures(dict[str, Any]):
    """A JSON object whose keys can be read as attributes too: `m.cycle_s.p90` is `m["cycle_s"]["p90"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no figure {name!r}; there are {', '.join(self)}") from None


def quantile(values: Sequence[float], q: float) -> float | None:
    """The q-quantile (0 to 1) with linear interpolation between neighbours; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values: Sequence[float]) -> Figures:
    """mean, p50 and p90; all None of nothing."""
    mean = sum(values) / len(values) if values else None
    return Figures(mean=mean, p50=quantile(values, 0.5), p90=quantile(values, 0.9))


def compute(book: Casebook, records: Sequence[CaseRecord], window: Window, waiting: int, tz: ZoneInfo) -> Figures:
    """All figures of a window. A case counts where it ends; what happened in a case still open, where it happened."""
    ended = [r for r in records if r.ended is not None and r.ended in window]
    done = [r for r in ended if r.outcome == "completed"]
    totals = _totals(records, window)
    calls = [c for r in records for c in r.calls if c.at in window]
    return Figures(
        since=window.since,
        until=window.until,
        cases=_cases(records, ended, window, waiting),
        throughput=_throughput(done, window, tz),
        cycle_s=spread([r.cycle_s for r in done]),
        work_s=_mean([r.work_s for r in done]),
        wait_s=_mean([r.cycle_s - r.work_s for r in done]),
        cost=_cost(totals, len(done)),
        money=_money(totals),
        automation_rate=_share(sum(not r.by_person for r in done), len(done)),
        first_pass_yield=_share(sum(not r.rework for r in done), sum(r.outcome != "cancelled" for r in ended)),
        exceptions=totals[("exceptions",)],
        sla_met=_sla(done),
        approvals=Figures({name: totals[("approvals", name)] for name in _APPROVALS}),
        handovers=totals[("handovers",)],
        measures=_measures(done),
        tools=_tools(calls),
        systems=_systems(book, calls, window),
    )


def _totals(records: Iterable[CaseRecord], window: Window) -> Counter[tuple[str, ...]]:
    totals: Counter[tuple[str, ...]] = Counter()
    for record in records:
        for note in record.counted():
            if (note.at if record.ended is None else record.ended) in window:
                totals[note.key] += note.amount
    return totals


def _cases(records: Sequence[CaseRecord], ended: Sequence[CaseRecord], window: Window, waiting: int) -> Figures:
    outcomes = Counter(r.outcome for r in ended)
    started = sum(r.started is not None and r.started in window for r in records)
    return Figures(started=started, **{name: outcomes[name] for name in _OUTCOMES}, waiting=waiting)


def _throughput(done: Sequence[CaseRecord], window: Window, tz: ZoneInfo) -> Figures:
    months = Counter(month(r.ended, tz) for r in done if r.ended is not None)
    per_hour = len(done) / (window.length / 3600) if window.length else None
    return Figures(per_hour=per_hour, per_month=dict(sorted(months.items())))


def _cost(totals: Counter[tuple[str, ...]], completed: int) -> Figures:
    cost = Figures(total={}, by_agent={}, by_tool={}, by_task={}, per_case={})
    for key, micros in sorted(totals.items()):
        if key[0] != "cost":
            continue
        _, by, name, currency = key
        if by == "total":
            cost["total"][currency] = _minor(micros)
            cost["per_case"][currency] = _minor(micros / completed) if completed else None
        else:
            cost[f"by_{by}"].setdefault(name, {})[currency] = _minor(micros)
    return cost


def _minor(micros: float) -> float:
    """Minor units, exact to a millionth; whole amounts are integers."""
    value = round(micros) / MICROS
    return int(value) if value == int(value) else value


def _money(totals: Counter[tuple[str, ...]]) -> Figures:
    currencies = sorted({key[1] for key in totals if key[0] == "money"})
    return Figures({c: Figures({kind: totals[("money", c, kind)] for kind in _MONEY}) for c in currencies})


def _sla(done: Sequence[CaseRecord]) -> float | None:
    known = [r.sla_met for r in done if r.sla_met is not None]
    return _share(sum(known), len(known))


def _measures(done: Sequence[CaseRecord]) -> Figures:
    names = sorted({name for r in done for name in r.measures})
    shown = Figures()
    for name in names:
        values = [r.measures[name] for r in done if name in r.measures]
        shown[name] = Figures(count=len(values), sum=sum(values), **spread(values))
    return shown


def _tools(calls: Sequence[Call]) -> Figures:
    shown = Figures()
    for name in sorted({c.tool for c in calls}):
        mine = [c for c in calls if c.tool == name]
        status = Counter(c.status for c in mine)
        counts = {s: status[s] for s in ("done", "failed", "unknown")}
        shown[name] = Figures(calls=len(mine), **counts, seconds=spread([c.seconds for c in mine]))
    return shown


def _systems(book: Casebook, calls: Sequence[Call], window: Window) -> Figures:
    """uptime: the share of calls that were answered, times the share of the window in which the breaker was closed."""
    shown = Figures()
    for name in sorted({c.system for c in calls if c.system} | set(book.breakers)):
        mine = [c for c in calls if c.system == name]
        failed = sum(c.status != "done" for c in mine)
        spans = [(max(a, window.since), min(b, window.until)) for a, b in book.open_spans(name, window.until)]
        open_s = union(spans)
        closed = 1 - min(open_s / window.length, 1.0) if window.length else 1.0
        answered = 1 - failed / len(mine) if mine else 1.0
        shown[name] = Figures(calls=len(mine), failed=failed, open_s=open_s, uptime=answered * closed)
    return shown


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
