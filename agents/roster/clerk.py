"""Clerk: writes the work order into the CMMS, and closes the matter when it is in a technician's hands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from interlock import errors

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["CREATE", "SHOWN", "Closed", "Ordered", "close_order", "create_order"]

CREATE = "cmms.create_work_order"
SHOWN = ("code_name", "confidence", "evidence", "past_orders", "guides")  # to the approver of an order
_FIELDS = ("request", "asset", "code", "description", "priority", "labour_minutes", "cost", "currency")


class Ordered(BaseModel):
    """The order, or the no of the person who was asked; an approver may have changed priority, labour and cost."""

    outcome: Literal["open", "rejected"]
    work_order: str | None
    priority: int
    labour_minutes: int
    cost: int
    evidence: list[str]


class Closed(BaseModel):
    """The work is handed over: the CMMS tells the technician."""

    outcome: Literal["work_order"]


async def create_order(state: Mapping[str, Any], call: Call) -> Ordered:
    """Create the work order; the call waits in place where an authority has to be asked first."""
    wanted = {name: state[name] for name in _FIELDS}
    evidence = list(state["evidence"])
    try:
        order = await call(CREATE, wanted)
    except errors.Rejected as no:
        return _ordered("rejected", wanted, [*evidence, f"{no.by or 'the approver'} refused it: {no.why}"])
    if not isinstance(order, Mapping):  # an approver may answer a question with words
        hint = "approve or reject the work order, or answer this item with the order"
        raise errors.AgentFailed(f"the approver answered: {order}", hint, found={"answer": order})
    return _ordered("open", order, evidence)


def _ordered(outcome: Literal["open", "rejected"], order: Mapping[str, Any], evidence: list[str]) -> Ordered:
    return Ordered(
        outcome=outcome,
        work_order=order.get("id"),
        priority=order["priority"],
        labour_minutes=order["labour_minutes"],
        cost=order["cost"],
        evidence=evidence,
    )


async def close_order(state: Mapping[str, Any], call: Call) -> Closed:
    """Release the order, with the technician whom a person named where the dispatcher found none.

    Nobody waits here for the repair.
    """
    if not state.get("assigned"):
        await call("cmms.assign", {"work_order": state["work_order"], "technician": state["technician"]})
    await call("cmms.close", {"work_order": state["work_order"]})
    return Closed(outcome="work_order")
