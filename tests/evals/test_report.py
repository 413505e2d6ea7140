"""The same findings as text, JSON and JUnit XML, whatever stands in them."""

from __future__ import annotations

from xml.etree import ElementTree as xml

import orjson
import pytest

from interlock.evals.report import CaseResult, SuiteResult
from interlock.evals.scorers import Problem

GOOD = CaseResult("sound", "c1", "completed", calls=3, approvals=1, cost={"EUR": 1.5}, seconds=0.25)
BAD = CaseResult("wrong <&> 'ünïcode'", "c2", "failed", problems=[Problem("outcome", "status\x00 is\x1b failed\ud800")])


@pytest.mark.parametrize(("cases", "passed"), [([GOOD], True), ([GOOD, BAD], False), ([BAD], False)])
def test_a_suite_passes_when_every_case_does(cases: list[CaseResult], passed: bool) -> None:
    result = SuiteResult("s", "w", cases)
    assert result.passed is passed
    assert result.as_json()["passed"] is passed


def test_text_shows_every_case_every_problem_and_the_verdict() -> None:
    text = SuiteResult("s", "w", [GOOD, BAD]).as_text()
    rows = text.splitlines()
    assert rows[0].split() == ["case", "status", "calls", "approvals", "exceptions", "cost", "result"]
    assert rows[1].split() == ["sound", "completed", "3", "1", "0", "1.5", "EUR", "passed"]
    assert rows[2].endswith("FAILED")
    assert rows[-1] == "s: 1 of 2 cases passed"
    assert f"{BAD.name}: {BAD.problems[0].text} (outcome)" in rows


def test_json_holds_everything_and_is_json() -> None:
    found = SuiteResult("s", "w", [GOOD]).as_json()
    assert orjson.loads(orjson.dumps(found)) == found
    assert (found["cases"], found["failed"]) == (1, 0)
    assert found["results"][0] == {
        "name": "sound", "case_id": "c1", "status": "completed", "calls": 3, "approvals": 1, "exceptions": 0,
        "cost": {"EUR": 1.5}, "seconds": 0.25, "problems": [], "passed": True,
    }  # fmt: skip


def test_junit_is_well_formed_whatever_a_problem_says() -> None:
    top = xml.fromstring(SuiteResult("s", "w", [GOOD, BAD]).as_junit())
    assert (top.get("tests"), top.get("failures")) == ("2", "1")
    sound, wrong = top.findall("testcase")
    assert (sound.get("time"), sound.find("failure")) == ("0.250", None)
    assert wrong.get("name") == BAD.name
    failure = wrong.find("failure")
    assert failure is not None and failure.get("type") == "outcome"
    assert failure.get("message") == "status? is? failed?"
