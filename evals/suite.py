"""What a suite says: cases with their input, who answers what, which faults happen, and what has to come of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interlock import errors
from interlock.oversight.items import Decision, Item

__all__ = ["SUITES", "Answer", "Bound", "Bounds", "CostBound", "EvalCase", "Expected", "Suite", "load"]

SUITES = Path(__file__).parent / "suites"

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_REASONED = {"reject": "why", "edit": "args", "respond": "value", "complete": "value"}


class _Loader(yaml.SafeLoader):
    """YAML as JSON knows it: times stay the text that a system would send."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(Strict):
    """What a scripted person does with an item of a kind, of any task or of one; `times` answers at most."""

    by: str = Field(pattern="^person:")
    decide: Literal["approve", "reject", "edit", "respond", "complete"]
    kind: Literal["approval", "task", "exception"] = "approval"
    task: str | None = None
    why: str = ""
    args: dict[str, Any] | None = None
    value: Any = None
    times: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Answer:
        needed = _REASONED.get(self.decide)
        if needed and needed not in self.model_fields_set:
            raise ValueError(f"{self.decide} needs {needed}")
        if (self.decide == "complete") != (self.kind == "task"):
            raise ValueError("a task is completed, and nothing else is")
        return self

    def about(self, item: Item) -> Decision:
        """The answer as the inbox takes it; `args` of an edit are those that change."""
        args = None if self.args is None else {**item.action.get("args", {}), **self.args}
        return Decision(self.decide, why=self.why, args=args, value=self.value)


class Bound(Strict):
    """How many are allowed; a plain number means exactly so many."""

    min: int = Field(default=0, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _exactly(cls, value: Any) -> Any:
        return {"min": value, "max": value} if isinstance(value, int) and not isinstance(value, bool) else value

    def holds(self, count: int) -> bool:
        return self.min <= count and (self.max is None or count <= self.max)

    def __str__(self) -> str:
        if self.min == self.max:
            return f"exactly {self.min}"
        return f"at least {self.min}" if self.max is None else f"{self.min} to {self.max}"


class CostBound(Strict):
    """What running a case may cost, in minor units of one currency."""

    max: float = Field(ge=0)
    currency: str = Field(pattern="^[A-Z]{3}$")


class Bounds(Strict):
    """Counts per case: tool calls let through, approvals asked for, exceptions opened; and cost."""

    calls: Bound | None = None
    approvals: Bound | None = None
    exceptions: Bound | None = None
    cost: CostBound | None = None


class Expected(Strict):
    """How a case has to stand when nobody answers any more.

    `values` has to be contained in the result; `called` are tools in this order, others may lie between.
    """

    status: Literal["completed", "waiting", "failed", "cancelled"] = "completed"
    values: dict[str, Any] = {}
    waiting_for: Literal["approval", "task", "exception"] | None = None
    error: str | None = None
    called: list[str] = []
    never_called: list[str] = []


class EvalCase(Strict):
    """One case. Its people are asked before those of the suite, its bounds replace those of the suite.

    A case with `faults` runs in a plane of its own; the other ones share one, in the order of the suite.
    """

    name: str = Field(min_length=1)
    input: Any
    expect: Expected = Expected()
    people: list[Answer] = []
    bounds: Bounds = Bounds()
    faults: list[dict[str, Any]] = []
    requester: str | None = None


class Suite(Strict):
    """A suite. `reference` is a folder of reference data, as seen from the suite's file; None takes the project's."""

    workflow: str
    requester: str = Field(pattern="^(person|agent):")
    cases: list[EvalCase] = Field(min_length=1)
    name: str = ""
    description: str = ""
    reference: Path | None = None
    people: list[Answer] = []
    bounds: Bounds = Bounds()

    @model_validator(mode="after")
    def _different(self) -> Suite:
        names = [case.name for case in self.cases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"case names are used twice: {', '.join(twice)}")
        return self

    def people_of(self, case: EvalCase) -> list[Answer]:
        return [*case.people, *self.people]

    def bounds_of(self, case: EvalCase) -> Bounds:
        return self.bounds.model_copy(update=dict(_set(case.bounds)))


def load(name_or_path: str | Path) -> Suite:
    """A shipped suite by name, or any by path. Raises NotFound, or ConfigurationError with what is wrong where."""
    path = _path(name_or_path)
    try:
        suite = Suite.model_validate(yaml.load(path.read_text("utf-8-sig"), _Loader))  # noqa: S506  # a safe loader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise errors.ConfigurationError(f"cannot read {path}: {exc}", "give a YAML file in UTF-8") from exc
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'suite'}: {e['msg']}" for e in exc.errors())
        raise errors.ConfigurationError(f"{path}: {wrong}", "correct the fields named") from exc
    reference = suite.reference and path.parent / suite.reference
    return suite.model_copy(update={"name": suite.name or path.stem, "reference": reference})


def _path(name_or_path: str | Path) -> Path:
    shipped = SUITES / f"{name_or_path}.yaml"
    if shipped.is_file() and shipped.parent == SUITES:
        return shipped
    if not Path(name_or_path).is_file():
        known = ", ".join(sorted(path.stem for path in SUITES.glob("*.yaml")))
        raise errors.NotFound(f"no suite {str(name_or_path)!r}", f"give the path of a YAML file, or one of: {known}")
    return Path(name_or_path)


def _set(bounds: Bounds) -> Mapping[str, Any]:
    return {name: getattr(bounds, name) for name in bounds.model_fields_set}
