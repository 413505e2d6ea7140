"""Specialists: one file each, shared by every workflow that needs their skill."""

from __future__ import annotations

from interlock.agents.agent import Agent
from interlock.agents.roster import clerk, diagnosis, dispatcher, history, merging, planner, scheduler, triage

__all__ = ["ROLE", "maintenance_team"]

ROLE = "maintenance-agent"
_READ, _WRITE = {"cmms:read"}, {"cmms:read", "cmms:write"}


def maintenance_team(owner: str = "maintenance") -> list[Agent]:
    """The specialists of maintenance; each may touch the CMMS no further than its task needs."""
    return [
        Agent("triage", skills={"triage"}, scopes=_READ, roles={ROLE}, run=triage.triage, owner=owner),
        Agent("diagnostician", skills={"diagnosis"}, scopes=_READ, roles={ROLE}, run=diagnosis.diagnose, owner=owner),
        Agent("coordinator", skills={"merging"}, scopes=_WRITE, roles={ROLE}, run=merging.merge, owner=owner),
        Agent("historian", skills={"asset-history"}, scopes=_READ, roles={ROLE}, run=history.look_back, owner=owner),
        Agent("planner", skills={"planning"}, scopes=_READ, roles={ROLE}, run=planner.make_plan, owner=owner),
        Agent("clerk", skills={"ordering"}, scopes=_WRITE, roles={ROLE}, run=clerk.create_order, owner=owner),
        Agent("scheduler", skills={"scheduling"}, scopes=_WRITE, roles={ROLE}, run=scheduler.schedule, owner=owner),
        Agent("dispatcher", skills={"dispatching"}, scopes=_WRITE, roles={ROLE}, run=dispatcher.assign, owner=owner),
        Agent("closer", skills={"closing"}, scopes=_WRITE, roles={ROLE}, run=clerk.close_order, owner=owner),
    ]
