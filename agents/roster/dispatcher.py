"""Dispatcher: which technician does the work, by skill, site, shift and load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from interlock import errors
from interlock.agents.roster.planner import family
from interlock.clock import parse
from interlock.ids import digest

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["Dispatched", "assign", "choose", "on_shift"]

# The skill that a family of failure codes asks for.
SKILLS = {"C": "mechanical", "CS": "controls", "E": "electrical", "L": "piping", "M": "mechanical", "MT": "mechanical"}
ANY_OTHER = "operations"


class Dispatched(BaseModel):
    """The technician's id in the CMMS (a record there, no actor of the plane), and whether the CMMS knows it."""

    technician: str
    assigned: bool = False
    chosen_because: str = "named by a person"


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


def choose(
    technicians: Sequence[Mapping[str, Any]], skill: str, hour: int, draw: str = ""
) -> tuple[Mapping[str, Any] | None, list[str]]:
    """The least loaded technician who can do it, and what was said against the others.

    Between equals the lot decides; it is drawn from `draw` and the id, so it falls the same way in every run.
    """
    judged = [(technician, objection(technician, skill, hour)) for technician in technicians]
    able = [technician for technician, why in judged if why is None]
    against = [f"{technician['id']} {why}" for technician, why in judged if why is not None]
    return min(able, key=lambda one: (one["load"], digest([draw, one["id"]])), default=None), against


async def assign(state: Mapping[str, Any], call: Call) -> Dispatched:
    """Assign the order. Raises AgentFailed, with everyone considered, when nobody of the site can do it."""
    asset, order = state["asset"], state["work_order"]
    skill, hour = SKILLS.get(family(state["code"]), ANY_OTHER), parse(state["starts"]).hour
    query = {"asset": asset, "start": state["start_time"], "request": state["request"]}
    chosen, against = choose(await call("cmms.technicians", query), skill, hour, order)
    if chosen is None:
        what = f"no technician for {asset}: {skill} needed at {state['starts']}"
        hint = "answer with the id of a technician of the CMMS"
        raise errors.AgentFailed(what, hint, found={"work_order": order, "skill": skill, "considered": against})
    await call("cmms.assign", {"work_order": order, "technician": chosen["id"]})
    why = f"has the skill {skill}, is on shift at {hour}:00, {chosen['load']} open orders on {asset}"
    return Dispatched(technician=str(chosen["id"]), assigned=True, chosen_because=why)
