"""A suite file is read strictly: what is wrong in it is named, and what it says is what is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from interlock import errors
from interlock.evals.suite import SUITES, Answer, Bound, Bounds, Suite, load

SMALL: dict[str, Any] = {"workflow": "w", "requester": "person:ana", "cases": [{"name": "one", "input": {}}]}


def written(folder: Path, content: Any) -> Path:
    path = folder / "suite.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True), "utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cases": []}, "cases"),
        ({"workflow": None}, "workflow"),
        ({"requester": "ana"}, "requester"),
        ({"colour": "red"}, "colour"),
        ({"cases": [{"name": "a", "input": 1}, {"name": "a", "input": 2}]}, "twice: a"),
        ({"cases": [{"name": "a", "input": 1, "expect": {"status": "done"}}]}, "cases.0.expect.status"),
        ({"bounds": {"calls": {"min": 1, "most": 2}}}, "bounds.calls.most"),
        ({"bounds": {"calls": -1}}, "bounds.calls"),
        ({"bounds": {"calls": True}}, "bounds.calls"),
        ({"bounds": {"cost": {"max": 1, "currency": "euro"}}}, "bounds.cost.currency"),
        ({"people": [{"by": "agent:x", "decide": "approve"}]}, "people.0.by"),
        ({"people": [{"by": "person:x", "decide": "reject"}]}, "reject needs why"),
        ({"people": [{"by": "person:x", "decide": "edit"}]}, "edit needs args"),
        ({"people": [{"by": "person:x", "decide": "complete", "value": 1}]}, "a task is completed"),
        ({"people": [{"by": "person:x", "decide": "approve", "kind": "task"}]}, "a task is completed"),
        ({"people": [{"by": "person:x", "decide": "approve", "times": 0}]}, "people.0.times"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        load(written(tmp_path, SMALL | change))
    assert named in caught.value.message
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize("content", ["", "[1, 2]", "just text", "a: b: c", "\t- x", "{", "\x00"])
def test_a_file_that_is_no_suite_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        load(written(tmp_path, content))


def test_a_file_in_another_encoding_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_bytes("workflow: Prüfung".encode("latin-1"))
    with pytest.raises(errors.ConfigurationError):
        load(path)


@pytest.mark.parametrize("name", ["nothing", "../suite", "", "suites/maintenance"])
def test_an_unknown_suite_says_which_there_are(name: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        load(name)
    assert "maintenance" in caught.value.hint


def test_a_suite_is_named_after_its_file_and_its_reference_lies_beside_it(tmp_path: Path) -> None:
    suite = load(written(tmp_path, "\ufeff" + yaml.safe_dump(SMALL | {"reference": "plant"})))
    assert (suite.name, suite.reference) == ("suite", tmp_path / "plant")
    assert load(written(tmp_path, SMALL | {"name": "prüfung"})).name == "prüfung"


def test_people_and_bounds_of_a_case_go_before_those_of_the_suite() -> None:
    everyone, own = Answer(by="person:a", decide="approve"), Answer(by="person:b", decide="approve")
    bounds = Bounds(calls=Bound(max=5), approvals=Bound(max=0))
    case = {"name": "one", "input": {}, "people": [own], "bounds": {"approvals": 1}}
    suite = Suite.model_validate(SMALL | {"cases": [case], "people": [everyone], "bounds": bounds})
    assert suite.people_of(suite.cases[0]) == [own, everyone]
    assert suite.bounds_of(suite.cases[0]) == Bounds(calls=Bound(max=5), approvals=Bound(min=1, max=1))


def test_a_bound_that_a_case_lifts_is_lifted() -> None:
    case = {"name": "one", "input": {}, "bounds": {"calls": None}}
    suite = Suite.model_validate(SMALL | {"cases": [case], "bounds": {"calls": 3, "approvals": 0}})
    assert suite.bounds_of(suite.cases[0]) == Bounds(approvals=Bound(min=0, max=0))


@pytest.mark.parametrize(
    ("bound", "inside", "outside", "shown"),
    [(2, [2], [1, 3], "exactly 2"), ({"min": 1}, [1, 99], [0], "at least 1"), ({"max": 1}, [0, 1], [2], "0 to 1")],
)
def test_bounds(bound: Any, inside: list[int], outside: list[int], shown: str) -> None:
    checked = Bound.model_validate(bound)
    assert [n for n in [*inside, *outside] if checked.holds(n)] == inside
    assert str(checked) == shown


def test_every_shipped_suite_loads() -> None:
    assert [load(path.stem).name for path in sorted(SUITES.glob("*.yaml"))] == [
        path.stem for path in sorted(SUITES.glob("*.yaml"))
    ]


def test_times_in_a_suite_stay_text(tmp_path: Path) -> None:
    text = "workflow: w\nrequester: person:a\ncases: [{name: a, input: {at: 2026-03-02T05:10:00Z, day: 2026-03-02}}]"
    (case,) = load(written(tmp_path, text)).cases
    assert case.input == {"at": "2026-03-02T05:10:00Z", "day": "2026-03-02"}
