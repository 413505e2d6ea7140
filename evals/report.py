"""What a run of a suite found: for people, as JSON, and as JUnit XML for continuous integration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.etree import ElementTree as xml  # it only writes here: nothing is parsed

from interlock.evals.scorers import Problem
from interlock.evals.trajectory import Trajectory
from interlock.graphs.cases import Case

__all__ = ["CaseResult", "SuiteResult"]

_COLUMNS = ("case", "status", "calls", "approvals", "exceptions", "cost", "result")
_ILLEGAL = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class CaseResult:
    """How one case went. `cost` is in minor units by currency, `seconds` are real ones."""

    name: str
    case_id: str | None = None
    status: str = "not started"
    calls: int = 0
    approvals: int = 0
    exceptions: int = 0
    cost: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    problems: Sequence[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, case: Case, way: Trajectory, problems: Sequence[Problem], seconds: float) -> CaseResult:
        asked, exceptions = way.opened["approval"], way.opened["exception"]
        return cls(name, case.id, case.status, len(way.calls), asked, exceptions, dict(way.cost), seconds, problems)

    @property
    def passed(self) -> bool:
        return not self.problems

    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        cost = ", ".join(f"{amount:g} {currency}" for currency, amount in self.cost.items()) or "-"
        counts = (str(self.calls), str(self.approvals), str(self.exceptions))
        return (self.name, self.status, *counts, cost, "passed" if self.passed else "FAILED")


@dataclass(frozen=True)
class SuiteResult:
    """How a suite went. It has passed when every case has."""

    suite: str
    workflow: str
    cases: Sequence[CaseResult]

    @property
    def passed(self) -> bool:
        return all(case.passed for case in self.cases)

    @property
    def failures(self) -> list[CaseResult]:
        return [case for case in self.cases if not case.passed]

    def as_json(self) -> dict[str, Any]:
        cases = [{**asdict(case), "passed": case.passed} for case in self.cases]
        count = {"cases": len(self.cases), "failed": len(self.failures)}
        return {"suite": self.suite, "workflow": self.workflow, "passed": self.passed, **count, "results": cases}

    def as_text(self) -> str:
        """A table of the cases, then every problem, then the verdict."""
        rows = [_COLUMNS, *(case.row() for case in self.cases)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        wrong = [f"{case.name}: {p.text} ({p.scorer})" for case in self.failures for p in case.problems]
        verdict = f"{self.suite}: {len(self.cases) - len(self.failures)} of {len(self.cases)} cases passed"
        return "\n".join([*table, "", *wrong, *([""] if wrong else []), verdict])

    def as_junit(self) -> str:
        """One test case per case, as continuous integration reads it."""
        top = xml.Element(
            "testsuite", name=_legal(self.suite), tests=str(len(self.cases)), failures=str(len(self.failures))
        )
        for case in self.cases:
            about = {"classname": _legal(self.suite), "name": _legal(case.name), "time": f"{case.seconds:.3f}"}
            shown = xml.SubElement(top, "testcase", about)
            for problem in case.problems:
                xml.SubElement(shown, "failure", type=problem.scorer, message=_legal(problem.text))
        return xml.tostring(top, encoding="unicode", xml_declaration=True)


def _legal(text: str) -> str:
    """Without what XML cannot hold, such as control characters that a tool put into its answer."""
    return _ILLEGAL.sub("?", text)
