"""Dispatcher: which technician does the work, by skill, site, shift and load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from interlock import errors
from interlock.agents.roster.planner import family
from interlock.clock import parse

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["Dispatched", "assign", "choose", "on_shift"]

# The skill that a family of failure codes asks for.
SKILLS = {"CS": "controls", "E": "electrical", "L": "piping", "M": "mechanical"}


class Dispatched(BaseModel):
    """The technician's id in the CMMS (a record there, no actor of the plane), and whether the CMMS knows it."""

    technician: str
    assigned: bool = False


def on_shift(hour: int, start: int, end: int) -> bool:
    """Whether an hour of the day lies in a shift, also one that passes midnight."""
    return start <= hour < end if start < end else hour >= start or hour < end


def objection(technician: Mapping[str, Any], skill: str, hour: int) -> str | None:
    """Why this technician cannot do it, or None."""
    if skill not in technician["skills"]:
        return f"lacks the skill {skill}"
    if not on_shift(hour, technician["shift_start"], technician["shift_end"]):
        return f"is not on shift at {hour}:00"
    return None


def choose(technicians: Sequence[Mapping[str, Any]], skill: str, hour: int) -> tuple[str | None, list[str]]:
    """The least loaded technician who can do it, ties by id, and what was said against the others."""
    judged = [(technician, objection(technician, skill, hour)) for technician in technicians]
    able = [technician for technician, why in judged if why is None]
    against = [f"{technician['id']} {why}" for technician, why in judged if why is not None]
    best = min(able, key=lambda technician: (technician["load"], technician["id"]), default=None)
    return (None if best is None else str(best["id"])), against


async def assign(state: Mapping[str, Any], call: Call) -> Dispatched:
    """Assign the order. Raises AgentFailed, with everyone considered, when nobody of the site can do it."""
    asset, order = state["asset"], state["work_order"]
    skill = SKILLS.get(family(state["code"]), "operations")
    query = {"asset": asset, "start": state["start_time"], "request": state["request"]}
    technicians = await call("cmms.technicians", query)
    technician, against = choose(technicians, skill, parse(state["starts"]).hour)
    if technician is None:
        what = f"no technician for {asset}: {skill} needed at {state['starts']}"
        hint = "answer with the id of a technician of the CMMS"
        raise errors.AgentFailed(what, hint, found={"work_order": order, "skill": skill, "considered": against})
    await call("cmms.assign", {"work_order": order, "technician": technician})
    return Dispatched(technician=technician, assigned=True)
