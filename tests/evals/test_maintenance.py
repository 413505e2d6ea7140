"""The shipped suite passes on the sample plant, and each planted regression fails just the cases it concerns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock.agents.roster import diagnosis
from interlock.evals.runner import run_suite
from interlock.evals.suite import load
from interlock.oversight.sources import SHIPPED
from interlock.settings import Settings
from interlock.tools.systems import cmms

APPROVALS = {
    "an expensive order waits for the shift lead, who approves",
    "a refused order ends the case without one",
    "an approver makes it cheaper",
    "the largest orders need two authorities",
    "without an answer an order waits",
    "an order above every limit waits, whoever says yes",
}


HISTORY = {
    "history of all assets decides where the asset has none",
    "between equals the earlier row of the mapping stands",
}
LOST = {"the answer to an order is lost, and it is not ordered twice"}


def only(folder: Path, names: set[str]) -> Path:
    """The shipped suite with some of its cases."""
    suite = load("maintenance")
    chosen = [case for case in suite.cases if case.name in names]
    assert len(chosen) == len(names)
    path = folder / "part.yaml"
    path.write_text(suite.model_copy(update={"cases": chosen}).model_dump_json(exclude_unset=True), "utf-8")
    return path


async def failed(suite: str | Path, policies: Any = None) -> set[str]:
    result = await run_suite(suite, settings=Settings(), policies=policies)
    return {case.name for case in result.failures}


async def test_the_suite_passes_and_covers_what_it_promises() -> None:
    result = await run_suite("maintenance", settings=Settings())
    assert result.passed, result.as_text()
    assert len(result.cases) == 20
    assert {case.status for case in result.cases} == {"completed", "waiting", "failed"}
    assert sum(case.approvals for case in result.cases) >= len(APPROVALS)


async def test_a_higher_limit_fails_every_case_that_a_person_was_asked_about() -> None:
    shipped = {file.name: file.read_text("utf-8") for file in sorted(SHIPPED.glob("*.cedar"))}
    higher = {name: text.replace("amount <= 100000 ", "amount <= 100000000 ") for name, text in shipped.items()}
    assert await failed("maintenance", higher) == APPROVALS


async def test_a_diagnosis_that_forgets_history_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suite = only(tmp_path, HISTORY)
    assert await failed(suite) == set()
    monkeypatch.setattr(diagnosis, "settles", lambda history: False)
    assert await failed(suite) == HISTORY


async def test_an_order_with_a_new_key_on_each_try_fails_where_the_answer_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite = only(tmp_path, LOST)
    assert await failed(suite) == set()
    tries = iter(range(100))
    monkeypatch.setattr(cmms, "business_key", lambda request: f"{request}/{next(tries)}")
    assert await failed(suite) == LOST
