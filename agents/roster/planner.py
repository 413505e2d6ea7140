"""Planner: what is to be done, how urgent it is, how long it takes and what it costs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from interlock import errors
from interlock.money import Money

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["Plan", "family", "make_plan", "plan"]

RATE = {"USD": Money.of("95.00", "USD"), "EUR": Money.of("85.00", "EUR")}  # one hour of a technician
_URGENT = {"M", "E", "L"}  # families; corrective work has priority 1 or 2, 5 is preventive


class Plan(BaseModel):
    """A work order to be; `parts` and `cost` in minor units of `currency`, `cost` with labour."""

    description: str
    priority: int = Field(ge=1, le=2)
    labour_minutes: int = Field(gt=0)
    parts: int = Field(ge=0)
    cost: int = Field(ge=0)
    currency: str


def family(code: str) -> str:
    """The letters of a failure code: CS005 is of the family CS."""
    letters = re.match(r"[A-Z]+", code)
    return letters.group() if letters else ""


def plan(state: Mapping[str, Any], job: Mapping[str, Any]) -> Plan:
    """The work order for the diagnosed code; labour as past work took, else as the job describes.

    Raises KeyError when there is no hourly rate in the currency of the job.
    """
    minutes, parts, currency = state.get("typical_minutes") or job["labour_minutes"], job["parts"], job["currency"]
    code = state["code"]
    return Plan(
        description=f"{state['code_name']} of {state['asset']} ({code}), seen by: {state['rule_name']}",
        priority=1 if family(code) in _URGENT else 2,
        labour_minutes=minutes,
        parts=parts,
        cost=parts + -(-RATE[currency].amount * minutes // 60),  # a begun minor unit counts
        currency=currency,
    )


async def make_plan(state: Mapping[str, Any], call: Call) -> Plan:
    """Price the job of the diagnosed code. Raises AgentFailed when the CMMS describes none, or in another currency."""
    code = state["code"]
    job = await call("cmms.job", {"code": code})
    if job is None or job["currency"] not in RATE:
        what = f"no job is described for {code}" if job is None else f"no hourly rate in {job['currency']}"
        raise errors.AgentFailed(what, "answer with the plan yourself, or complete the CMMS", found={"job": job})
    return plan(state, job)
