"""Merging: does an event open a maintenance request of its own, or does it belong to one that is open?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["Merged", "decide", "merge"]


class Merged(BaseModel):
    """`merged_into`: the open request of a duplicate, None for a new one; `outcome` is open until the order is made."""

    request: str
    outcome: Literal["open", "duplicate"]
    merged_into: str | None
    evidence: list[str]


def decide(evidence: list[str], answer: Mapping[str, Any]) -> Merged:
    """Read the answer of the CMMS, which alone decides: it sees every request, and decides in one transaction."""
    request = str(answer["request"])
    if not answer["joined"]:
        return Merged(request=request, outcome="open", merged_into=None, evidence=evidence)
    why = f"joins {request}, open since {answer['first']}"
    return Merged(request=request, outcome="duplicate", merged_into=request, evidence=[*evidence, why])


async def merge(state: Mapping[str, Any], call: Call) -> Merged:
    """Report the event to the CMMS under its own key, so that a repeated report gets the same answer."""
    report = {"event": state["event"], "asset": state["asset"], "code": state["code"], "start": state["start_time"]}
    return decide(list(state["evidence"]), await call("cmms.report", report))
