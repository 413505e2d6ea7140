"""Planner: what is to be done, how urgent it is, how long it takes and what it costs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from interlock.money import Money

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["Plan", "family", "make_plan", "plan"]

CURRENCY = "USD"
RATE = Money.of("95.00", CURRENCY)  # one hour of a technician

# By family of failure codes (its letters): default labour in minutes where no past work order tells, and usual parts.
_LABOUR = {"CS": 180, "E": 240, "L": 240, "M": 360, "OP": 120, "EX": 60, "H": 60}
_FAMILY_PARTS = {"CS": "180.00", "E": "950.00", "L": "420.00", "M": "1450.00", "OP": "90.00", "EX": "0.00", "H": "0.00"}
_PARTS = {"M007": "2650.00", "M010": "11800.00", "M011": "4300.00", "M014": "2100.00", "E006": "3600.00", "CS002": "310.00"}
_URGENT = {"M", "E", "L"}  # corrective work has priority 1 or 2; 5 is preventive


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


def plan(asset: str, code: str, code_name: str, rule_name: str, typical_minutes: int | None) -> Plan:
    """The work order for a code on an asset; labour from past work where there was any, else by family."""
    kind = family(code)
    minutes = typical_minutes or _LABOUR.get(kind, 180)
    parts = Money.of(_PARTS.get(code, _FAMILY_PARTS.get(kind, "250.00")), CURRENCY).amount
    return Plan(
        description=f"{code_name} of {asset} ({code}), seen by: {rule_name}",
        priority=1 if kind in _URGENT else 2,
        labour_minutes=minutes,
        parts=parts,
        cost=parts + -(-RATE.amount * minutes // 60),  # a begun minor unit counts
        currency=CURRENCY,
    )


async def make_plan(state: Mapping[str, Any], call: Call) -> Plan:
    """Plan from what diagnosis and history found; reads no system."""
    return plan(state["asset"], state["code"], state["code_name"], state["rule_name"], state.get("typical_minutes"))
