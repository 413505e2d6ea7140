"""Maintenance: an alert or anomaly becomes a work order in a technician's hands, or joins one that is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from langgraph.graph import END, START
from pydantic import BaseModel

from interlock.agents.roster import clerk, diagnosis, dispatcher, history, merging, planner, scheduler, triage
from interlock.graphs.state import state_of
from interlock.graphs.workflow import Workflow

State = state_of(
    "Maintenance",
    *(triage.Event, triage.Triaged, diagnosis.Diagnosis, merging.Merged, history.AssetHistory, planner.Plan),
    *(clerk.Ordered, scheduler.Scheduled, dispatcher.Dispatched, clerk.Closed),
)


class Result(BaseModel):
    """What became of an event. A rejected one has a request but no work order; `cost` is in minor units."""

    outcome: Literal["open", "duplicate", "rejected", "work_order"] | None = None
    asset: str | None = None
    rule: str | None = None
    codes: list[str] = []
    code: str | None = None
    confidence: float | None = None
    basis: str | None = None
    evidence: list[str] = []
    request: str | None = None
    merged_into: str | None = None
    work_order: str | None = None
    priority: int | None = None
    cost: int | None = None
    currency: str | None = None
    starts: str | None = None
    technician: str | None = None
    chosen_because: str | None = None


def figures(pairs: Sequence[tuple[Any, Any]]) -> dict[str, int]:
    """Of completed cases: work_orders + duplicates_merged + rejected is how many there are."""
    results = [Result.model_validate(result) for _, result in pairs]
    ended = Counter(result.outcome for result in results)
    fits = sum(result.outcome == "work_order" and result.code in result.codes for result in results)
    counts = {"work_orders": ended["work_order"], "duplicates_merged": ended["duplicate"]}
    return {**counts, "rejected": ended["rejected"], "code_in_rule_mapping": fits}


wf = Workflow(
    "maintenance",
    State,
    input=triage.Event,
    output=Result,
    owner="maintenance",
    sla=timedelta(days=1),
    key=lambda event: event.key,
    order=lambda event: event.place,
    sequence=lambda event: event.queue,  # events of an asset are decided one after another, in their order
    measures=triage.downtime,
    figures=figures,
)
wf.task("triage", skill="triage", output=triage.Triaged, tools=["cmms.asset", "cmms.rule"])
wf.task(
    "diagnose",
    skill="diagnosis",
    output=diagnosis.Diagnosis,
    tools=["cmms.history"],
    min_confidence=diagnosis.THRESHOLD,
)
wf.task("merge", skill="merging", output=merging.Merged, tools=["cmms.report"])
wf.task("history", skill="asset-history", output=history.AssetHistory, tools=["cmms.history"], context=[history.GUIDES])
wf.task("plan", skill="planning", output=planner.Plan, tools=["cmms.job"])
wf.task("order", skill="ordering", output=clerk.Ordered, tools=[clerk.CREATE], show=clerk.SHOWN, sla=timedelta(hours=4))
wf.task("schedule", skill="scheduling", output=scheduler.Scheduled, tools=["cmms.schedule"])
wf.task("assign", skill="dispatching", output=dispatcher.Dispatched, tools=["cmms.technicians", "cmms.assign"])
wf.task("close", skill="closing", output=clerk.Closed, tools=["cmms.assign", "cmms.close"])
wf.flow(START, "triage", "diagnose", "merge", "history", "plan", "order", "schedule", "assign", "close", END)
wf.branch("merge", lambda state: END if state["outcome"] == "duplicate" else None, [END])
wf.branch("order", lambda state: END if state["outcome"] == "rejected" else None, [END])
graph = wf.compile()
