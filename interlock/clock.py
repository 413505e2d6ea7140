"""The plane's clock: every time and duration in cases, ledger, metrics and timers comes from it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Protocol

from interlock import errors


class Clock(Protocol):
    """What the plane needs of a clock. `now` is aware UTC and never runs backwards."""

    def now(self) -> datetime: ...

    async def sleep_until(self, t: datetime) -> None: ...


class SystemClock:
    """Wall-clock time that stands still, rather than jumps back, when the machine's clock is set back."""

    def __init__(self) -> None:
        self._last = datetime.now(UTC)

    def now(self) -> datetime:
        self._last = max(self._last, datetime.now(UTC))
        return self._last

    async def sleep_until(self, t: datetime) -> None:
        while (left := (t - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - the clock may stand still meanwhile
            await asyncio.sleep(min(left, 3600.0))


def iso(t: datetime) -> str:
    """UTC, microseconds, sortable as text: the only way times are stored."""
    return t.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str) -> datetime:
    """The reverse of `iso`; takes any ISO 8601 text, and reads one without a zone as UTC."""
    t = datetime.fromisoformat(text)
    return t.replace(tzinfo=UTC) if t.tzinfo is None else t.astimezone(UTC)


def moment(given: Any, name: str = "time") -> datetime:
    """A time that somebody gave: a datetime, or ISO 8601 text (UTC without a zone). Raises InputError."""
    try:
        return parse(given if isinstance(given, str) else given.isoformat())
    except (AttributeError, TypeError, ValueError, OverflowError) as exc:
        hint = "write 2026-01-31 or 2026-01-31T08:00:00Z"
        raise errors.InputError(f"{name} {given!r} is no time", hint) from exc
