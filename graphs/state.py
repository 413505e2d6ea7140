"""The state of a governed graph: the user's channels, and beside them who does which task."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, cast, get_type_hints

from pydantic import BaseModel
from typing_extensions import TypedDict, is_typeddict

from interlock import errors

TASKS = "interlock_tasks"
UPDATES = "interlock_updates"


class TaskState(TypedDict):
    """How one task stands: `status` is routed, done, escalated, again, or, of a gate, rejected.

    `actor` None means nobody could be found; `problem` is empty when there is none.
    """

    visit: int
    actor: str | None
    kind: str
    why: list[str]
    status: str
    problem: NotRequired[dict[str, Any]]


def merge_tasks(left: Mapping[str, TaskState] | None, right: Mapping[str, TaskState] | None) -> dict[str, TaskState]:
    """Reducer: later news of a task replaces its keys, other tasks stay."""
    merged = dict(left or {})
    for task, news in (right or {}).items():
        merged[task] = cast("TaskState", {**merged.get(task, {}), **news})
    return merged


def channels(schema: type[Any]) -> dict[str, Any]:
    """Name to annotation (with reducers) of a TypedDict, dataclass or pydantic state class."""
    if not (is_typeddict(schema) or dataclasses.is_dataclass(schema) or issubclass(schema, BaseModel)):
        raise errors.ConfigurationError(
            f"{schema!r} is no state class", "use typing_extensions.TypedDict, a dataclass or a pydantic model"
        )
    hints = get_type_hints(schema, include_extras=True)
    return {name: hint for name, hint in hints.items() if not name.startswith("model_")}


def state_of(name: str, *models: type[BaseModel]) -> type[Any]:
    """A state class with the fields of all models: the input of a workflow and what its tasks give.

    A field that several models have takes the values of all of them.
    """
    fields: dict[str, Any] = {}
    for model in models:
        for field, info in model.model_fields.items():
            fields[field] = fields[field] | info.annotation if field in fields else info.annotation
    return cast("type[Any]", TypedDict(name, fields, total=False))  # type: ignore[operator]  # built from data


def extended(schema: type[Any], *, branch: bool = False) -> type[Any]:
    """A TypedDict of the user's channels plus ours; a branch also collects its updates for the parent graph."""
    fields: dict[str, Any] = {**channels(schema), TASKS: Annotated[dict[str, TaskState], merge_tasks]}
    if branch:
        fields[UPDATES] = Annotated[list[dict[str, Any]], operator.add]
    name = f"{schema.__name__}Branch" if branch else schema.__name__
    return cast("type[Any]", TypedDict(name, fields, total=False))  # type: ignore[operator]  # built from data


def own(state: Mapping[str, Any]) -> dict[str, Any]:
    """The user's channels of a state."""
    return {name: value for name, value in state.items() if name not in (TASKS, UPDATES)}


def view(schema: type[Any], state: Mapping[str, Any]) -> Any:
    """What user code sees: its own state class, without our channels."""
    return own(state) if is_typeddict(schema) else schema(**own(state))


def emitted(state: Mapping[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """An update of a governed node; inside a branch it is also collected for the parent graph."""
    return {**update, UPDATES: [update]} if UPDATES in state else update
