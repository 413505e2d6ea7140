"""`interlock eval`: run a suite; ends with 1 on a regression."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies
from interlock.cli.output import emit, save, say
from interlock.cli.problems import FAILED


def evaluate(
    suite: Annotated[str, typer.Argument(help="Name of a shipped suite, or a YAML file.")],
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML here.")] = None,
    as_json: Json = False,
) -> None:
    """Run a suite of cases with known outcomes.

    On planes in memory, with the project; ends with 1 when a case regressed.
    """
    from interlock.cli.session import drive
    from interlock.evals.runner import run_suite
    from interlock.settings import Settings

    def scored(result: Any) -> None:
        say(f"{'passed' if result.passed else 'FAILED'}  {result.name}")

    outcome = drive(run_suite(suite, settings=Settings.load(home), policies=policies, progress=scored))
    if junit is not None:
        save(outcome.as_junit(), junit)
    emit(outcome.as_json()) if as_json else print(outcome.as_text())
    if not outcome.passed:
        raise typer.Exit(FAILED)
