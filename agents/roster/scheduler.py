"""Scheduler: when the work is done. The next shift for urgent work, else the next day shift."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from interlock.clock import iso, parse

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["Scheduled", "next_slot", "schedule"]

SHIFTS = (6, 14, 22)  # hours (UTC) at which a shift begins
DAY_SHIFT = 6


class Scheduled(BaseModel):
    """The slot, in UTC."""

    starts: str
    ends: str


def next_slot(after: datetime, priority: int, minutes: int) -> tuple[datetime, datetime]:
    """The first shift that begins after a time: any shift for priority 1, else a day shift."""
    begins = SHIFTS if priority == 1 else (DAY_SHIFT,)
    midnight = after.replace(hour=0, minute=0, second=0, microsecond=0)
    slots = (midnight + timedelta(days=day, hours=hour) for day in (0, 1) for hour in begins)
    start = next(slot for slot in slots if slot > after)
    return start, start + timedelta(minutes=minutes)


async def schedule(state: Mapping[str, Any], call: Call) -> Scheduled:
    """Give the order its slot in the CMMS, counted from the event, never from the wall clock."""
    start, end = next_slot(parse(state["start_time"]), state["priority"], state["labour_minutes"])
    slot = Scheduled(starts=iso(start), ends=iso(end))
    await call("cmms.schedule", {"work_order": state["work_order"], **slot.model_dump()})
    return slot
