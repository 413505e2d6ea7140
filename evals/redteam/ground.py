"""What governs a suite, as its file says it: kinds of targets, tools, steps of the workflow, the step of each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from interlock import errors
from interlock.evals.redteam.kinds import FORMS, plain
from interlock.evals.suite import Strict

__all__ = ["FOLDER", "Ground", "Kind", "Part", "Secrets", "Step", "Task", "ToolRule", "load", "values_at"]

FOLDER = Path(__file__).parent
Part = Literal["steps", "provenance"]


class Kind(Strict):
    """A kind of targets. `known` are fields of the environment whose values make the typed registry."""

    means: str
    form: Literal["account", "email", "url", "day"] | None = None
    known: list[str] = []

    def canonical(self, value: str) -> str:
        """The form in which values are compared. Raises ValueError."""
        return plain(value) if self.form is None else FORMS[self.form].canonical(value)

    def registry(self, environment: Any) -> dict[str, str]:
        """Known values as they are written, by their canonical form."""
        found = (str(value) for path in self.known for value in values_at(environment, path))
        return {self.canonical(value): value for value in found}


class ToolRule(Strict):
    """How a function of AgentDojo is registered; the options are those of `plane.register_tool`."""

    effect: Literal["read", "write"]
    scope: str
    targets: dict[str, str | list[str]] = {}
    untrusted: bool | list[str] = True
    money: str | None = None
    registers: str | None = None

    @property
    def kinds(self) -> Iterator[str]:
        for named in self.targets.values():
            yield from [named] if isinstance(named, str) else named


class Step(Strict):
    """A step of the workflow: what it is for, and its tools, with those of the steps named by `with`."""

    purpose: str = Field(alias="for")
    includes: list[str] = Field(default=[], alias="with")
    tools: list[str] = []


class Task(Strict):
    """Which step a task of a user is, and why: what its prompt asks for."""

    step: str
    asks: str


class Secrets(Strict):
    """Fields of the environment that no text may hold which one of the tools sends away."""

    fields: list[str]
    tools: list[str]

    def held(self, texts: str, environment: Any) -> set[str]:
        """The fields whose values stand in a text, however they are set off."""
        text = _bare(texts)
        return {path for path in self.fields for value in values_at(environment, path) if _bare(str(value)) in text}


class Ground(Strict):
    """What governs one suite."""

    system: str
    currency: str = ""
    kinds: dict[str, Kind]
    tools: dict[str, ToolRule]
    steps: dict[str, Step]
    tasks: dict[str, Task]
    secrets: Secrets | None = None

    @model_validator(mode="after")
    def _complete(self) -> Ground:
        missing = {name for rule in self.tools.values() for name in rule.kinds} - self.kinds.keys()
        missing |= {name for step in self.steps.values() for name in step.includes} - self.steps.keys()
        missing |= {name for step in self.steps.values() for name in step.tools} - self.tools.keys()
        missing |= {task.step for task in self.tasks.values()} - self.steps.keys()
        if missing:
            raise ValueError(f"named, but not described: {', '.join(sorted(missing))}")
        return self

    def tools_of(self, step: str) -> list[str]:
        """The tools of a step, those of the steps in it included."""
        own = self.steps[step]
        inherited = [tool for name in own.includes for tool in self.tools_of(name)]
        return list(dict.fromkeys([*inherited, *own.tools]))

    def without(self, part: Part) -> Ground:
        """The same with one defence less: every step has all tools, or nothing is a target."""
        if part == "steps":
            every = {name: step.model_copy(update={"tools": list(self.tools)}) for name, step in self.steps.items()}
            return self.model_copy(update={"steps": every})
        bare = {name: rule.model_copy(update={"targets": {}}) for name, rule in self.tools.items()}
        return self.model_copy(update={"tools": bare})


def load(suite: str) -> Ground:
    """The file of a suite. Raises ConfigurationError with what is wrong where."""
    path = FOLDER / "suites" / f"{suite}.yaml"
    try:
        return Ground.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError) as exc:
        raise errors.ConfigurationError(f"cannot read {path}: {exc}", "give a YAML file in UTF-8") from exc
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or suite}: {e['msg']}" for e in exc.errors())
        raise errors.ConfigurationError(f"{path}: {wrong}", "correct the fields named") from exc


def values_at(place: Any, path: str) -> Iterator[Any]:
    """The values at a dotted path of an environment; `*` stands for every item of a list or values of a mapping."""
    name, _, rest = path.partition(".")
    if not name:
        yield place
    elif name == "*":
        for item in place.values() if isinstance(place, Mapping) else place:
            yield from values_at(item, rest)
    else:
        yield from values_at(getattr(place, name), rest)


def _bare(text: str) -> str:
    """Letters and digits alone."""
    return "".join(filter(str.isalnum, text)).casefold()
