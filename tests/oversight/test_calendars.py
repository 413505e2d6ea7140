"""Business time: never outside the hours, never backwards, the same there and back, over every change of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import errors
from interlock.oversight.calendars import Calendar

BERLIN = ZoneInfo("Europe/Berlin")
EASTER = {date(2026, 4, 3), date(2026, 4, 6)}


def local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=BERLIN)  # type: ignore[arg-type, misc]  # year to minute


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        (local(2026, 3, 6, 10), 4, local(2026, 3, 6, 14)),  # within a Friday
        (local(2026, 3, 6, 15), 4, local(2026, 3, 9, 11)),  # over the weekend
        (local(2026, 3, 7, 12), 1, local(2026, 3, 9, 10)),  # from a Saturday
        (local(2026, 3, 6, 3), 8, local(2026, 3, 6, 17)),  # a whole day, from before it opens
        (local(2026, 3, 6, 20), 0, local(2026, 3, 9, 9)),  # nothing, from after it closed
        (local(2026, 4, 2, 16), 2, local(2026, 4, 7, 10)),  # over Easter
        (local(2026, 3, 27, 16), 2, local(2026, 3, 30, 10)),  # the clock is put forward
        (local(2026, 10, 23, 16), 2, local(2026, 10, 26, 10)),  # and back
    ],
)
def test_working_hours_are_counted(start: datetime, hours: int, end: datetime) -> None:
    calendar = Calendar(tz="Europe/Berlin", holidays=EASTER)
    found = calendar.add(start, timedelta(hours=hours))
    assert found == end
    assert found.tzinfo is UTC
    assert calendar.between(start, end) == timedelta(hours=hours)


def test_a_day_on_which_the_clock_changes_is_as_long_as_it_is() -> None:
    always = Calendar(tz="Europe/Berlin", hours=("00:00", "24:00"), weekdays=range(7))
    for day, hours in ((local(2026, 3, 29), 23), (local(2026, 10, 25), 25), (local(2026, 7, 1), 24)):
        midnight = datetime.combine(day.date() + timedelta(days=1), day.timetz())
        assert always.between(day, midnight) == timedelta(hours=hours)
        assert always.add(day, timedelta(hours=hours)) == midnight


CALENDARS = st.builds(
    Calendar,
    tz=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    hours=st.sampled_from([("09:00", "17:00"), ("00:00", "24:00"), ("01:30", "02:45"), ("23:00", "23:59")]),
    weekdays=st.sets(st.integers(0, 6), min_size=1),
    holidays=st.frozensets(st.dates(date(2026, 1, 1), date(2027, 12, 31)), max_size=20),
)
STARTS = st.integers(0, 546 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
WORK = st.timedeltas(timedelta(0), timedelta(hours=30))


@given(CALENDARS, STARTS, WORK, WORK)
def test_it_is_monotone_additive_and_the_same_back(
    calendar: Calendar, start: datetime, work: timedelta, more: timedelta
) -> None:
    end = calendar.add(start, work)
    assert end >= start
    assert calendar.between(start, end) == work
    assert calendar.add(start, work + more) >= end
    assert calendar.between(start, calendar.add(end, more)) == work + more


@given(CALENDARS, STARTS, WORK)
def test_it_never_lands_outside_the_hours(calendar: Calendar, start: datetime, work: timedelta) -> None:
    at = calendar.add(start, work).astimezone(ZoneInfo(calendar.tz))
    opens, closes = (datetime.strptime(hour.replace("24:00", "23:59"), "%H:%M").time() for hour in calendar.hours)  # noqa: DTZ007
    ends_at_midnight = calendar.hours[1] == "24:00" and at.time() == datetime.min.time()
    day = (at - timedelta(hours=3)).date() if ends_at_midnight and not _works(calendar, at.date()) else at.date()
    assert _works(calendar, day)
    # On two days of a year a place may have no such hour; what is counted there is the hour after it.
    gap = at.utcoffset() != (at - timedelta(hours=3)).utcoffset()
    assert gap or calendar.hours[1] == "24:00" or opens <= at.time() <= closes


def _works(calendar: Calendar, day: date) -> bool:
    return day.weekday() in calendar.weekdays and day not in calendar.holidays


@pytest.mark.parametrize(
    "wrong",
    [
        {"tz": "Mars/Olympus"}, {"tz": ""}, {"tz": "../etc/passwd"}, {"tz": None}, {"hours": ("17:00", "09:00")},
        {"hours": ("09:00", "09:00")}, {"hours": ("9", "17")}, {"hours": "09:00-17:00"}, {"hours": ("09:00",)},
        {"hours": ("09:00+02:00", "17:00")}, {"hours": (9, 17)}, {"weekdays": ()}, {"weekdays": (7,)},
        {"weekdays": "12345"}, {"holidays": "2026-01-01"}, {"holidays": 5},
    ],
)  # fmt: skip
def test_what_is_no_calendar_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        Calendar(**wrong)
    assert caught.value.hint


def test_what_never_comes_is_refused() -> None:
    class Everyday:
        def __contains__(self, day: object) -> bool:
            return True

    with pytest.raises(errors.InputError, match="ten years"):
        Calendar(holidays=Everyday()).add(datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1))
    with pytest.raises(errors.InputError, match="negative"):
        Calendar().add(datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=-1))
    assert Calendar().between(datetime(2026, 1, 9, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)) == timedelta(0)
