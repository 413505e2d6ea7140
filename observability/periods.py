"""Windows of time, and the days, weeks and months of a time zone that they fall into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from interlock import clock, errors

__all__ = ["KINDS", "Moment", "Window", "month", "period", "seconds", "zone"]

KINDS = ("day", "week", "month")
Moment = datetime | str | None


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` (included) to `until` (excluded), as Unix seconds."""

    since: float
    until: float
    label: str = ""

    def __contains__(self, at: object) -> bool:
        return isinstance(at, float) and self.since <= at < self.until

    @property
    def length(self) -> float:
        """Seconds; less than a microsecond is nothing."""
        length = self.until - self.since
        return length if length >= 1e-6 else 0.0

    def within(self, other: Window) -> Window:
        """The part of this window that lies in another; its label stays."""
        return Window(max(self.since, other.since), min(self.until, other.until), self.label)


def seconds(moment: Moment, name: str = "time") -> float | None:
    """Unix seconds of a datetime or ISO 8601 text (without a zone: UTC). Raises InputError on anything else."""
    if moment is None:
        return None
    return clock.moment(moment, name).timestamp()


def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises InputError for unknown names."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError) as exc:
        raise errors.InputError(f"{name!r} is no time zone", "use a name such as Europe/Berlin or UTC") from exc


def period(at: float, kind: str, tz: ZoneInfo) -> Window:
    """The day, ISO week or month of `tz` in which a moment lies, labelled 2026-01-31, 2026-W05 or 2026-01."""
    midnight = _local(at, tz).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "day":
        return _window(midnight, midnight + timedelta(days=1), midnight.strftime("%Y-%m-%d"))
    if kind == "week":
        first = midnight - timedelta(days=midnight.weekday())
        return _window(first, first + timedelta(days=7), first.strftime("%G-W%V"))
    if kind == "month":
        first = midnight.replace(day=1)
        return _window(first, (first + timedelta(days=32)).replace(day=1), first.strftime("%Y-%m"))
    raise errors.InputError(f"by={kind!r} is no period", f"use one of {', '.join(KINDS)}")


def month(at: float, tz: ZoneInfo) -> str:
    """The calendar month of a moment, as 2026-01."""
    return _local(at, tz).strftime("%Y-%m")


def _local(at: float, tz: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(tz)


def _window(since: datetime, until: datetime, label: str) -> Window:
    return Window(since.timestamp(), until.timestamp(), label)
