"""A suite is run as it says: in shared planes and own ones, by scripted people; and a regression fails it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from interlock import errors
from interlock.evals.report import CaseResult, SuiteResult
from interlock.evals.runner import run_suite
from interlock.settings import Settings
from tests.evals import shop

SETTINGS = Settings(project="tests.evals.shop:setup")
CUP = {"item": "cup", "total": 500}
CAR = {"item": "car", "total": 300_000}
YES = {"by": "person:bo", "decide": "approve"}


@pytest.fixture(autouse=True)
def _no_planes_yet() -> None:
    shop.OPENED.clear()


async def run(folder: Path, *cases: dict[str, Any], policy: str = shop.POLICY, **suite: Any) -> SuiteResult:
    path = folder / "shop.yaml"
    named = [{"name": f"case {number}", **case} for number, case in enumerate(cases)]
    path.write_text(yaml.safe_dump({"workflow": "buying", "requester": "person:ana", "cases": named, **suite}))
    return await run_suite(path, settings=SETTINGS, policies={"shop.cedar": policy})


def only_problem(result: SuiteResult) -> str:
    assert not result.passed
    ((problem,),) = ([p.text for p in case.problems] for case in result.failures)
    return problem


async def test_cases_pass_when_all_is_as_the_suite_says(tmp_path: Path) -> None:
    result = await run(
        tmp_path,
        {"input": CUP, "expect": {"values": {"receipt": "cup 1"}, "called": ["shop.buy"]}},
        {"input": CAR, "people": [YES], "bounds": {"approvals": 1}, "expect": {"values": {"receipt": "car 1"}}},
        {
            "input": CAR,
            "bounds": {"approvals": 1, "calls": 0},
            "expect": {"status": "waiting", "waiting_for": "approval"},
        },
        bounds={"calls": 1, "approvals": 0, "exceptions": 0},
    )
    assert result.passed, result.as_text()
    assert [(c.status, c.calls, c.approvals) for c in result.cases] == [
        ("completed", 1, 0),
        ("completed", 1, 1),
        ("waiting", 0, 1),
    ]


async def test_cases_without_faults_share_a_plane_and_others_have_their_own(tmp_path: Path) -> None:
    gone = {"input": CUP, "faults": [{"sold_out": "cup"}], "expect": {"status": "waiting", "waiting_for": "exception"}}
    result = await run(
        tmp_path, {"input": CUP}, gone, {"input": CUP, "expect": {"values": {"receipt": "cup 0"}}}, reference="plant"
    )
    assert result.passed, result.as_text()
    assert list(shop.OPENED) == [
        {"reference": tmp_path / "plant", "missing": set()},
        {"reference": tmp_path / "plant", "missing": {"cup"}},
    ]


@pytest.mark.parametrize(
    ("answer", "status", "values"),
    [
        ({"decide": "reject", "why": "too dear"}, "waiting", {}),
        ({"decide": "edit", "args": {"total": 200_000}}, "completed", {"receipt": "car 1"}),
        ({"decide": "respond", "value": "bought by hand"}, "completed", {"receipt": "bought by hand"}),
    ],
)
async def test_people_answer_in_every_way(
    tmp_path: Path, answer: dict[str, Any], status: str, values: dict[str, Any]
) -> None:
    asked = {"input": CAR, "people": [{"by": "person:bo", **answer}], "expect": {"status": status, "values": values}}
    result = await run(tmp_path, asked)
    assert result.passed, result.as_text()


async def test_an_exception_goes_to_its_person(tmp_path: Path) -> None:
    operator = {"by": "person:op", "kind": "exception", "task": "buy", "decide": "reject", "why": "no such thing"}
    unanswered = {**operator, "task": "another"}
    lost = {"item": "moon", "total": 1}
    result = await run(
        tmp_path,
        {"input": lost, "people": [operator], "expect": {"status": "failed"}, "bounds": {"exceptions": 1}},
        {"input": lost, "people": [unanswered], "expect": {"status": "waiting", "waiting_for": "exception"}},
    )
    assert result.passed, result.as_text()


@pytest.mark.parametrize("by", ["person:cy", "person:ana", "person:nobody"])
async def test_an_answer_that_is_refused_is_a_problem(tmp_path: Path, by: str) -> None:
    asked = {"input": CAR, "people": [{**YES, "by": by}], "expect": {"status": "waiting"}}
    assert by in only_problem(await run(tmp_path, asked))


async def test_an_answer_is_given_as_often_as_it_says(tmp_path: Path) -> None:
    two = shop.POLICY.replace("purchasing >= 1", "purchasing >= 2")
    other = {"by": "person:cy", "kind": "exception", "decide": "approve"}
    result = await run(
        tmp_path,
        {"input": CAR, "people": [YES], "expect": {"status": "waiting"}, "bounds": {"approvals": 1, "exceptions": 1}},
        policy=two,
    )
    assert result.passed, result.as_text()
    refused = await run(tmp_path, {"input": CAR, "people": [YES, other], "expect": {"status": "waiting"}}, policy=two)
    assert "person:cy" in only_problem(refused)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (shop.POLICY.replace("10000", "1000000"), "0 approvals, expected exactly 1"),
        (shop.POLICY.replace("10000", "100"), "status is waiting"),
        (shop.POLICY.replace("permit (principal, action", "forbid (principal, action"), "status is waiting"),
    ],
)
async def test_a_changed_policy_fails_the_suite(tmp_path: Path, policy: str, said: str) -> None:
    """The regression that suites are for: nobody changed the suite, and it says what changed."""
    result = await run(
        tmp_path,
        {"input": CUP},
        {"input": CAR, "people": [YES], "bounds": {"approvals": 1}},
        policy=policy,
    )
    assert not result.passed
    assert said in result.as_text()


async def test_a_case_that_cannot_start_fails_and_the_others_run(tmp_path: Path) -> None:
    result = await run(
        tmp_path, {"input": {"total": "much"}}, {"input": CUP, "requester": "person:zoe"}, {"input": CUP}
    )
    assert [(case.status, case.passed) for case in result.cases] == [
        ("not started", False),
        ("not started", False),
        ("completed", True),
    ]


async def test_progress_is_told_case_by_case(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    cases = [{"name": "one", "input": CUP}, {"name": "two", "input": CUP}]
    path.write_text(yaml.safe_dump({"workflow": "buying", "requester": "person:ana", "cases": cases}))
    told: list[CaseResult] = []
    result = await run_suite(path, settings=SETTINGS, policies={"shop.cedar": shop.POLICY}, progress=told.append)
    assert told == result.cases


@pytest.mark.parametrize(
    "project", ["", "tests.evals.shop", "tests.evals.shop:", "tests.evals.shop:nothing", "no.such:x"]
)
async def test_a_project_that_is_not_there_is_said(tmp_path: Path, project: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="project"):
        await run_suite("maintenance", settings=Settings(project=project))
