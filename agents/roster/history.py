"""Asset history: what was done on this asset before, how long such work takes, and which guide describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["AssetHistory", "look_back"]

GUIDES = "failure-codes"
RECENT = 3


class AssetHistory(BaseModel):
    """Before the event: finished work orders of the asset, minutes such work takes anywhere, ids of guides."""

    past_orders: int
    past_corrective: int
    recent_orders: list[str]
    typical_minutes: int | None
    guides: list[str]


async def look_back(state: Mapping[str, Any], call: Call) -> AssetHistory:
    """Read the asset's work orders, the usual duration of the diagnosed work, and the guide of its code."""
    before, code = state["start_time"], state["code"]
    own = await call("cmms.history", {"before": before, "asset": state["asset"], "limit": RECENT})
    alike = await call("cmms.history", {"before": before, "codes": [code], "limit": 0})
    facts = await call.context(f"{code} {state['code_name']}", k=1, where={"source": GUIDES, "code": code})
    return AssetHistory(
        past_orders=own["finished"],
        past_corrective=own["corrective"],
        recent_orders=own["newest"],
        typical_minutes=alike["median_minutes"][code],
        guides=[fact.document_id for fact in facts],
    )
