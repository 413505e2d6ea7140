"""Runs a suite: opens planes in memory with the project's setup, lets scripted people answer, and scores the cases."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlock import errors
from interlock.evals.people import People
from interlock.evals.report import CaseResult, SuiteResult
from interlock.evals.scorers import Problem, score
from interlock.evals.suite import EvalCase, Suite, load
from interlock.evals.trajectory import read
from interlock.graphs.cases import Case
from interlock.plane import ControlPlane
from interlock.settings import Settings

__all__ = ["run_suite"]

TIMEOUT_S = 60.0
ROUNDS = 50

Setup = Callable[..., AbstractAsyncContextManager[Any]]
Progress = Callable[[CaseResult], None]


async def run_suite(
    name_or_path: str | Path,
    *,
    settings: Settings | None = None,
    policies: Any = None,
    progress: Progress | None = None,
) -> SuiteResult:
    """Run a shipped suite by name, or any by path. `progress` is told of each case as it is scored.

    Raises NotFound or ConfigurationError for the suite, the project or the policies; what a case does wrong is in
    the result and raises nothing.
    """
    suite, chosen = load(name_or_path), settings or Settings.load()
    session = _Session(suite, chosen, chosen.resolve("project"), policies)
    results: list[CaseResult] = []
    for group in _groups(suite.cases):
        async for result in session.run(group):
            results.append(result)
            if progress is not None:
                progress(result)
    return SuiteResult(suite.name, suite.workflow, results)


def _groups(cases: list[EvalCase]) -> list[list[EvalCase]]:
    """Which cases share a plane: all without faults; each one with faults stands alone."""
    shared = [case for case in cases if not case.faults]
    return [group for group in [shared, *([case] for case in cases if case.faults)] if group]


@dataclass(frozen=True)
class _Session:
    suite: Suite
    settings: Settings
    setup: Setup
    policies: Any

    async def run(self, group: list[EvalCase]) -> AsyncIterator[CaseResult]:
        """Run cases in one plane, one after another: later ones may build on what earlier ones left."""
        async with self._plane(group[0].faults) as plane:
            for asked in group:
                yield await self._run_case(plane, asked)

    @asynccontextmanager
    async def _plane(self, faults: list[dict[str, Any]]) -> AsyncIterator[ControlPlane]:
        options: dict[str, Any] = {"reference": self.suite.reference} | ({"faults": faults} if faults else {})
        async with (
            ControlPlane.open(":memory:", policies=self.policies, settings=self.settings) as plane,
            self.setup(plane, **options),
        ):
            await plane.ready()
            yield plane

    async def _run_case(self, plane: ControlPlane, asked: EvalCase) -> CaseResult:
        begin, people = time.perf_counter(), People(self.suite.people_of(asked))
        try:
            case = await self._drive(plane, asked, people)
        except errors.InterlockError as exc:  # it could not even start, or its database broke
            return CaseResult(asked.name, problems=[Problem("run", f"{exc.code}: {exc}")])
        way = read([event async for event in plane.ledger.export(case_id=case.id)])
        problems = [*people.problems, *score(asked, self.suite.bounds_of(asked), case, way)]
        return CaseResult.of(asked.name, case, way, problems, time.perf_counter() - begin)

    async def _drive(self, plane: ControlPlane, asked: EvalCase, people: People) -> Case:
        """Drive a case until it has ended, or until nobody answers what it waits for."""
        requester = asked.requester or self.suite.requester
        case = await plane.start(self.suite.workflow, asked.input, requester=requester)
        for _ in range(ROUNDS):
            case = await plane.wait(case.id, timeout=TIMEOUT_S)
            if case.status != "waiting":
                return case
            page = await plane.inbox.list(case_id=case.id)
            if not await people.answer(plane, page.items):
                return case
        return case
