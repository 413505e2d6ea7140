"""Triage: reading alerts and anomalies as plants send them, and saying all that is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from interlock import errors
from interlock.agents.roster.triage import Event, problems, triage
from interlock.examples.enterprise.cmms_store import CmmsStore
from tests.agents.roster.conftest import MakeCall

ALERT = {
    "equipment_id": "FM1-PU01", "equipment_name": "Feed pump 1", "rule_id": "FR01",
    "start_time": "3/2/26 5:10", "end_time": "3/2/26 5:55",
}  # fmt: skip
ANOMALY = {
    "timestamp": "4/26/20 14:14", "KPI": "Cooling Load", "asset_name": "chiller 9",
    "value": "25978710", "upper_bound": "25609582", "lower_bound": "23384670", "anomaly_score": "0.998",
}  # fmt: skip


def test_an_alert_is_read_as_its_system_writes_it() -> None:
    event = Event.model_validate(ALERT)
    assert (event.start_time, event.end_time) == ("2026-03-02T05:10:00.000000Z", "2026-03-02T05:55:00.000000Z")
    assert (event.asset_name, event.rule) == ("FM1-PU01", "FR01")
    assert event.key == "FM1-PU01/FR01/2026-03-02T05:10:00.000000Z"


@pytest.mark.parametrize(
    ("value", "side", "rule"),
    [(25978710, "high", "kpi:cooling load:high"), (1, "low", "kpi:cooling load:low"), (25000000, None, None),
     (25609582, None, None), (23384670, None, None)],
)  # fmt: skip
def test_an_anomaly_names_its_rule_by_figure_and_side(value: float, side: str | None, rule: str | None) -> None:
    event = Event.model_validate({**ANOMALY, "value": value})
    assert (event.asset_name, event.side, event.rule) == ("chiller 9", side, rule)


def test_an_event_reads_back_from_its_own_json() -> None:
    for raw in (ALERT, ANOMALY):
        event = Event.model_validate(raw)
        assert Event.model_validate(event.model_dump(mode="json")) == event


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start_time": ""}, "start_time"),
        ({"start_time": "soon"}, "start_time"),
        ({"end_time": "99/99/99 1:00"}, "end_time"),
        ({"equipment_id": " ", "equipment_name": ""}, "names no asset"),
        ({"rule_id": ""}, "neither an alert"),
    ],
)
def test_what_is_no_event_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Event.model_validate({**ALERT, **change})


@pytest.mark.parametrize("name", ["value", "upper_bound", "lower_bound"])
@pytest.mark.parametrize("value", ["", "NaN", "inf", "a lot"])
def test_an_anomaly_needs_its_figures(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate({**ANOMALY, name: value})


@given(
    st.dictionaries(st.sampled_from([*ALERT, *ANOMALY]), st.one_of(st.none(), st.text(), st.integers(), st.floats()))
)
def test_reading_an_event_raises_nothing_but_its_own_error(raw: dict[str, Any]) -> None:
    try:
        event = Event.model_validate(raw)
    except ValidationError:
        return
    assert event.asset_name
    assert event.place == Event.model_validate(event.model_dump()).place


def test_events_of_an_asset_share_a_queue_whichever_way_they_name_it() -> None:
    alert = Event.model_validate({**ALERT, "equipment_name": "Chiller 9"})
    assert alert.queue == Event.model_validate(ANOMALY).queue
    assert Event.model_validate({**ALERT, "equipment_name": None}).queue == "fm1-pu01"


def test_order_is_start_then_asset_then_rule() -> None:
    raws = [(2, "A", "R1"), (1, "B", "R1"), (1, "A", "R2"), (1, "A", "R1")]
    events = [Event(equipment_id=a, rule_id=r, start_time=f"2026-01-0{d} 00:00") for d, a, r in raws]
    keys = [event.key[:4] + event.start_time[9] for event in sorted(events, key=lambda event: event.place)]
    assert keys == ["A/R11", "A/R21", "B/R11", "A/R12"]


def sample(store: CmmsStore) -> dict[str, Any]:
    return {"asset": lambda name: _found(store.asset, name), "rule": lambda rule: _found(store.rule, rule)}


def _found(read: Any, name: str) -> Any:
    try:
        return read(name)
    except Exception:
        return None


async def test_triage_speaks_the_words_of_the_cmms(store: CmmsStore, calling: MakeCall) -> None:
    found = await triage(ALERT, calling(**sample(store)).as_call())
    assert (found.asset, found.site, found.codes, found.source) == ("FM1-PU01", "FM1", ["M101", "M102"], "alert")
    anomaly = {**ANOMALY, "KPI": "Cooling power", "asset_name": "freezer TUNNEL", "value": 1}
    found = await triage(anomaly, calling(**sample(store)).as_call())
    assert (found.asset, found.rule, found.codes, found.source) == (
        "FM2-FT01", "kpi:cooling power:low", ["L101"], "anomaly",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"equipment_id": "FM9"}, ["unknown asset 'FM9'"]),
        ({"rule_id": "FR77"}, ["unknown rule 'FR77'"]),
        ({"rule_id": "FR10"}, ["rule 'FR10' maps to no failure code"]),
        ({"equipment_name": "Feed pump 2"}, ["asset FM1-PU01 is called 'Feed pump 1', not 'Feed pump 2'"]),
        ({"end_time": "3/1/26 5:55"}, ["it ends before it starts"]),
        ({"equipment_id": "FM9", "rule_id": "FR77"}, ["unknown asset 'FM9'", "unknown rule 'FR77'"]),
    ],
)
async def test_all_that_is_wrong_is_said_at_once(
    store: CmmsStore, calling: MakeCall, change: dict[str, str], said: list[str]
) -> None:
    with pytest.raises(errors.AgentFailed) as failed:
        await triage({**ALERT, **change}, calling(**sample(store)).as_call())
    assert failed.value.found["problems"] == said
    assert (failed.value.message, bool(failed.value.hint)) == ("; ".join(said), True)


async def test_an_anomaly_within_its_bounds_asks_for_no_rule(store: CmmsStore, calling: MakeCall) -> None:
    call = calling(**sample(store))
    with pytest.raises(errors.AgentFailed, match="within its bounds"):
        await triage({**ANOMALY, "asset_name": "Pasteuriser", "value": 25000000}, call.as_call())
    assert call.tools == ["cmms.asset"]


def test_a_sound_event_has_no_problems(store: CmmsStore) -> None:
    assert problems(Event.model_validate(ALERT), store.asset("FM1-PU01"), store.rule("FR01")) == []
