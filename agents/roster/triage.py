"""Triage: is the event about a known asset and a known rule, and is it one at all?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, field_validator, model_validator

from interlock import errors
from interlock.clock import iso, parse
from interlock.tools.systems.cmms import anomaly_rule, event_time

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["Event", "Triaged", "downtime", "triage"]


class Event(BaseModel):
    """An alert (asset, rule, start, end) or an anomaly (asset, time, figure, value and its bounds), as systems send it.

    Times are read as `11/24/20 19:00` (UTC) or ISO 8601, and kept as ISO 8601 in UTC.
    """

    equipment_id: str | None = None
    equipment_name: str | None = Field(default=None, validation_alias=AliasChoices("equipment_name", "asset_name"))
    rule_id: str | None = None
    start_time: str = Field(validation_alias=AliasChoices("start_time", "timestamp"))
    end_time: str | None = None
    kpi: str | None = Field(default=None, validation_alias=AliasChoices("kpi", "KPI"))
    value: float | None = Field(default=None, allow_inf_nan=False)
    upper_bound: float | None = Field(default=None, allow_inf_nan=False)
    lower_bound: float | None = Field(default=None, allow_inf_nan=False)
    anomaly_score: float | None = Field(default=None, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _absent_when_blank(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("start_time", "end_time", mode="after")
    @classmethod
    def _utc(cls, value: str | None) -> str | None:
        return None if value is None else iso(event_time(value))

    @model_validator(mode="after")
    def _whole(self) -> Event:
        if not (self.equipment_id or self.equipment_name):
            raise ValueError("names no asset: give equipment_id or asset_name")
        bounds = (self.value, self.upper_bound, self.lower_bound)
        if not self.rule_id and (self.kpi is None or None in bounds):
            raise ValueError("is neither an alert (rule_id) nor an anomaly (KPI, value, upper_bound, lower_bound)")
        return self

    @property
    def asset_name(self) -> str:
        return self.equipment_id or self.equipment_name or ""

    @property
    def side(self) -> str | None:
        """On which side an anomaly left its bounds, or None while it keeps them."""
        value, low, high = self.value or 0.0, self.lower_bound or 0.0, self.upper_bound or 0.0
        return "high" if value > high else "low" if value < low else None

    @property
    def rule(self) -> str | None:
        """The rule in the CMMS; None for an anomaly within its bounds."""
        if self.rule_id:
            return self.rule_id
        return anomaly_rule(self.kpi or "", self.side) if self.side else None

    @property
    def key(self) -> str:
        """What makes it this event: asset, rule (or figure) and start."""
        return f"{self.asset_name}/{self.rule_id or self.kpi}/{self.start_time}"

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands among others: start, then asset, then rule (or figure)."""
        return self.start_time, self.asset_name, self.rule_id or self.kpi or ""

    @property
    def queue(self) -> str:
        """Events of one asset have the same queue, whether they name it by number and name or by name alone."""
        return (self.equipment_name or self.equipment_id or "").casefold()


class Triaged(BaseModel):
    """The event in the words of the CMMS. `codes` in the order of the rule's mapping, `code_names` beside them."""

    event: str
    asset: str
    site: str
    rule: str
    rule_name: str
    codes: list[str] = Field(min_length=1)
    code_names: list[str]
    start_time: str
    source: Literal["alert", "anomaly"]


def problems(event: Event, asset: Any, rule: Any) -> list[str]:
    """Why nobody can diagnose this event; empty when it is sound."""
    found: list[str] = []
    name = event.equipment_name
    if asset is None:
        found.append(f"unknown asset {event.asset_name!r}")
    elif name and name.casefold() != asset["name"].casefold():
        found.append(f"asset {asset['id']} is called {asset['name']!r}, not {name!r}")
    if event.rule is None:
        found.append(f"{event.kpi} = {event.value} is within its bounds")
    elif rule is None:
        found.append(f"unknown rule {event.rule!r}")
    elif not rule["codes"]:
        found.append(f"rule {event.rule!r} maps to no failure code")
    if event.end_time and event.end_time < event.start_time:
        found.append("it ends before it starts")
    return found


async def triage(state: Mapping[str, Any], call: Call) -> Triaged:
    """Look the event up in the CMMS. Raises AgentFailed with all that is wrong and all that was found."""
    event = Event.model_validate(state)
    asset = await call("cmms.asset", {"name": event.asset_name})
    rule: Any = await call("cmms.rule", {"rule": event.rule}) if event.rule else None
    if wrong := problems(event, asset, rule):
        hint = "correct the event or the reference data of the CMMS, or answer with the triage yourself"
        raise errors.AgentFailed("; ".join(wrong), hint, found={"asset": asset, "rule": rule, "problems": wrong})
    return Triaged(
        event=event.key,
        asset=asset["id"],
        site=asset["site"],
        rule=rule["id"],
        rule_name=rule["name"],
        codes=[mapped["code"] for mapped in rule["codes"]],
        code_names=[mapped["description"] for mapped in rule["codes"]],
        start_time=event.start_time,
        source="alert" if event.rule_id else "anomaly",
    )


def downtime(state: Mapping[str, Any]) -> dict[str, float]:
    """How long the asset was in alarm; nothing for events without an end."""
    if not (end := state.get("end_time")):
        return {}
    return {"asset_downtime_s": (parse(end) - parse(state["start_time"])).total_seconds()}
