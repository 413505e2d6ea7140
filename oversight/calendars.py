"""Business time: deadlines that count working hours of a place, through holidays and changes of the clock."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from interlock import errors

__all__ = ["Calendar"]

_DAY = timedelta(days=1)
# A calendar without an open day would be searched for ever.
_LONGEST_DAYS = 3660


@dataclass(frozen=True)
class Calendar:
    """Working hours: local times in `tz` on `weekdays` (0 is Monday), except on `holidays`.

    `holidays` is anything that holds dates, as a set, or an object of the package `holidays`. `hours` may end at
    "24:00". Raises ConfigurationError on what is no such calendar.
    """

    tz: str = "UTC"
    hours: tuple[str, str] = ("09:00", "17:00")
    weekdays: Collection[int] = (0, 1, 2, 3, 4)
    holidays: Container[date] = frozenset()
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _open: time = field(init=False, repr=False, compare=False)
    _close: time | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        opens, closes = _times(self.hours)
        if isinstance(self.weekdays, str) or not self.weekdays or not set(self.weekdays) <= set(range(7)):
            raise errors.ConfigurationError(f"weekdays are {self.weekdays!r}", "give numbers, 0 is Monday")
        if isinstance(self.holidays, str) or not hasattr(self.holidays, "__contains__"):
            raise errors.ConfigurationError(f"holidays are {self.holidays!r}", "give a set of dates")
        for name, value in (("_zone", _zone(self.tz)), ("_open", opens), ("_close", closes)):
            object.__setattr__(self, name, value)

    def add(self, start: datetime, work: timedelta) -> datetime:
        """When so much working time has passed since an aware `start`, in UTC; never outside the working hours.

        Raises InputError on a negative time, and when ten years do not hold that much.
        """
        if work < timedelta(0):
            raise errors.InputError(f"{work} is negative", "count forward")
        left = work
        for opens, closes in self._spans(start):
            if left <= closes - opens:
                return opens + left
            left -= closes - opens
        raise errors.InputError(f"{self} has no {work} of work within ten years", "open more hours, or ask for less")

    def between(self, start: datetime, end: datetime) -> timedelta:
        """How much working time lies between two aware datetimes; none when `end` comes first."""
        total = timedelta(0)
        for opens, closes in self._spans(start):
            if opens >= end:
                break
            total += min(closes, end.astimezone(UTC)) - opens
        return total

    def _spans(self, start: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The open stretches from a moment on, in UTC: arithmetic in local time would ignore changes of the clock."""
        first = start.astimezone(self._zone).date()
        for day in islice(_days(first), _LONGEST_DAYS):
            if day.weekday() not in self.weekdays or day in self.holidays:
                continue
            opens, closes = max(self._at(day, self._open), start.astimezone(UTC)), self._at(day, self._close)
            if opens <= closes:
                yield opens, closes

    def _at(self, day: date, at: time | None) -> datetime:
        """A local time of a day in UTC; None is the midnight at its end."""
        moment = datetime.combine(day + _DAY, time(0)) if at is None else datetime.combine(day, at)
        return moment.replace(tzinfo=self._zone).astimezone(UTC)


def _days(first: date) -> Iterator[date]:
    while True:
        yield first
        first += _DAY


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as exc:
        raise errors.ConfigurationError(f"{name!r} is no time zone", 'write "Europe/Berlin"') from exc


def _times(hours: tuple[str, str]) -> tuple[time, time | None]:
    try:
        start, end = hours
        opens, closes = time.fromisoformat(start), None if end == "24:00" else time.fromisoformat(end)
    except (TypeError, ValueError) as exc:
        raise errors.ConfigurationError(f"hours are {hours!r}", 'write ("09:00", "17:00")') from exc
    if opens.tzinfo or (closes is not None and (closes.tzinfo or opens >= closes)):
        raise errors.ConfigurationError(f"hours are {hours!r}", "open before you close, in local time, without a zone")
    return opens, closes
