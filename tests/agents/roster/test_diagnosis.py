"""Diagnosis: the mapping, then the asset's history, then that of all, then the first row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import errors
from interlock.agents.roster.diagnosis import THRESHOLD, conclude, diagnose
from tests.agents.roster.conftest import MakeCall

CODES = ["A1", "B2"]
STATE = {
    "asset": "X", "rule": "R", "codes": CODES, "code_names": ["Ay", "Bee"], "start_time": "2026-03-02T05:10:00.000000Z",
}  # fmt: skip


def history(a: int, b: int) -> dict[str, Any]:
    cited = {code: [f"WO{code}{n}" for n in range(min(count, 5))] for code, count in zip(CODES, (a, b), strict=True)}
    return {"counts": {"A1": a, "B2": b}, "cited": cited}


NOTHING = history(0, 0)


@pytest.mark.parametrize(
    ("asset", "fleet", "code", "basis", "cited"),
    [
        (history(3, 1), None, "A1", "asset", ["WOA10", "WOA11", "WOA12"]),
        (history(1, 3), None, "B2", "asset", ["WOB20", "WOB21", "WOB22"]),
        (history(0, 1), history(9, 0), "B2", "asset", ["WOB20"]),
        (history(2, 2), None, "A1", "asset", ["WOA10", "WOA11"]),
        (NOTHING, history(1, 2), "B2", "fleet", ["WOB20", "WOB21"]),
        (NOTHING, NOTHING, "A1", "none", []),
        (None, history(0, 5), "B2", "fleet", ["WOB20", "WOB21", "WOB22", "WOB23", "WOB24"]),
        (None, None, "A1", "withheld", []),
        (NOTHING, None, "A1", "withheld", []),
        (None, NOTHING, "A1", "withheld", []),
    ],
)
def test_what_decides_between_two_codes(asset: Any, fleet: Any, code: str, basis: str, cited: list[str]) -> None:
    found = conclude("X", "R", CODES, {"asset": asset, "fleet": fleet})
    assert (found[0], found[2], found[4]) == (code, basis, cited)
    assert found[3][0] == "rule R maps to A1, B2"
    assert all(work_order in found[3][1] for work_order in cited), "evidence names the work orders it rests on"


def test_the_first_row_is_said_to_be_taken_when_nothing_decides() -> None:
    evidence = conclude("X", "R", CODES, {"asset": NOTHING, "fleet": NOTHING})[3]
    assert evidence[1] == (
        "no past work order of X or of any other asset names one of them, so the mapping's first row is taken: A1"
    )


def test_confidence_falls_with_the_evidence_and_only_without_any_below_the_threshold() -> None:
    cases: list[Any] = [
        (["A1"], {}),
        (CODES, {"asset": history(9, 0)}),
        (CODES, {"asset": NOTHING, "fleet": history(9, 0)}),
        (CODES, {"asset": NOTHING, "fleet": NOTHING}),
        (CODES, {"asset": None, "fleet": None}),
    ]
    sure = [conclude("X", "R", codes, histories)[1] for codes, histories in cases]
    assert sure == sorted(sure, reverse=True)
    assert len(set(sure)) == len(sure)
    assert sure[3] >= THRESHOLD > sure[4]


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(["asset", "fleet"]))
def test_any_history_keeps_confidence_in_its_band(a: int, b: int, basis: str) -> None:
    histories: Any = {"asset": NOTHING, "fleet": NOTHING, basis: history(a, b)}
    code, confidence, decided, _, cited = conclude("X", "R", CODES, histories)
    if a == b == 0:
        assert (decided, code, cited) == ("none", "A1", [])
        return
    assert (decided, code) == (basis, "B2" if b > a else "A1")
    low, high = {"asset": (0.75, 0.95), "fleet": (0.65, 0.85)}[basis]
    assert low <= confidence <= high < conclude("X", "R", ["A1"], {})[1]
    assert len(cited) == min(max(a, b), 5)


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_clearer_majority_is_never_less_sure(a: int, b: int) -> None:
    def sure(more: int) -> float:
        return conclude("X", "R", CODES, {"asset": history(a + b + more + 1, b)})[1]

    assert sure(1) >= sure(0)


async def test_a_single_code_stands_without_history(calling: MakeCall) -> None:
    call = calling()
    found = await diagnose({**STATE, "codes": ["B2"], "code_names": ["Bee"]}, call.as_call())
    assert (found.code, found.code_name, found.basis, call.asked) == ("B2", "Bee", "mapping", [])


async def test_all_assets_are_asked_only_when_the_asset_itself_is_silent(calling: MakeCall) -> None:
    call = calling(history=history(0, 2))
    assert (await diagnose(STATE, call.as_call())).code_name == "Bee"
    assert [args.get("asset") for _, args in call.asked] == ["X"]
    call = calling(history=NOTHING)
    assert (await diagnose(STATE, call.as_call())).basis == "none"
    assert [args.get("asset") for _, args in call.asked] == ["X", None]
    assert {args["before"] for _, args in call.asked} == {STATE["start_time"]}, "nothing after the event may count"


async def test_a_withheld_history_lowers_confidence_below_the_threshold(calling: MakeCall) -> None:
    found = await diagnose(STATE, calling(history=errors.Denied("not for you")).as_call())
    assert (found.basis, found.code) == ("withheld", "A1")
    assert found.confidence < THRESHOLD
    assert "withheld" in found.evidence[-1]


async def test_a_cmms_that_is_down_is_no_evidence_of_anything(calling: MakeCall) -> None:
    with pytest.raises(errors.ToolFailed):
        await diagnose(STATE, calling(history=errors.Unreachable("down")).as_call())
