"""A batch of inputs of one workflow: checked as a whole, started in order, driven until nothing moves, and counted."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from interlock import errors
from interlock.cli.inputs import Input
from interlock.cli.output import say
from interlock.cli.progress import progress
from interlock.graphs.cases import Case
from interlock.graphs.registry import Registered
from interlock.plane import ControlPlane

__all__ = ["Outcome", "run_batch"]

_SHOWN = 5


@dataclass(frozen=True)
class Outcome:
    """The cases of a batch, found or started, each once; `refused` are inputs of which no case could be made."""

    workflow: str
    cases: list[Case]
    refused: list[errors.InterlockError]
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return bool(self.refused) or any(case.status == "failed" for case in self.cases)

    @property
    def waits(self) -> bool:
        """One case was asked for, and it waits for a person."""
        return [case.status for case in self.cases] == ["waiting"]


async def run_batch(
    plane: ControlPlane,
    workflow: str,
    inputs: Sequence[Input],
    *,
    requester: str,
    wait: float | None = None,
    limit: int | None = None,
) -> Outcome:
    """Start a case per input and wait until all have settled; with `wait`, up to that many seconds for their end.

    Raises InputError before anything is started when an input does not fit, and Denied when all are refused.
    """
    await plane.ready()
    values = check_inputs(plane.registry.get(workflow), inputs)[:limit]
    began = time.perf_counter()
    started = await plane.start_many(workflow, values, requester=requester)
    refused = [entry for entry in started if isinstance(entry, errors.InterlockError)]
    if len(refused) == len(started):
        raise refused[0]
    for error in refused[:_SHOWN]:
        say(f"refused: {error.message}")
    ids = list(dict.fromkeys(entry.id for entry in started if isinstance(entry, Case)))
    cases = await _settle(plane, ids, wait)
    return await _counted(plane, Outcome(workflow, cases, refused, time.perf_counter() - began))


def check_inputs(entry: Registered, inputs: Sequence[Input]) -> list[Any]:
    """The validated inputs in the workflow's order. Raises InputError that names the places that are wrong."""
    _check_columns(entry, inputs)
    values, wrong = [], []
    for one in inputs:
        try:
            values.append(entry.checked(one.value))
        except errors.InputError as exc:
            wrong.append(f"{one.place}: {exc.message.partition(': ')[2]}")
    if wrong:
        more = f" (and {len(wrong) - _SHOWN} more)" if len(wrong) > _SHOWN else ""
        raise errors.InputError("; ".join(wrong[:_SHOWN]) + more, "correct them; nothing was started")
    order = entry.workflow.order
    return sorted(values, key=order) if order else values


def _check_columns(entry: Registered, inputs: Sequence[Input]) -> None:
    """A field that is needed and that no input has is a missing column, said once."""
    given = {name for one in inputs for name in one.value}
    for names in _needed(entry.workflow.input_type or entry.workflow.schema):
        if not given.intersection(names):
            source = inputs[0].place.rpartition(", ")[0] or inputs[0].place
            raise errors.InputError(f"{source}: no column {' or '.join(names)}", f"it has {', '.join(sorted(given))}")


def _needed(model: type[Any]) -> Iterable[list[str]]:
    if issubclass(model, BaseModel):
        return [_spellings(name, info) for name, info in model.model_fields.items() if info.is_required()]
    return [[name] for name in sorted(getattr(model, "__required_keys__", ()))]


def _spellings(name: str, info: FieldInfo) -> list[str]:
    alias = info.validation_alias
    choices = getattr(alias, "choices", [alias] if isinstance(alias, str) else [])
    return [choice for choice in choices if isinstance(choice, str)] or [name]


async def _settle(plane: ControlPlane, ids: list[str], wait: float | None) -> list[Case]:
    with progress("driving cases", len(ids)) as done:

        async def one(case_id: str) -> Case:
            case = await plane.wait(case_id)
            done()
            return case

        cases = await asyncio.gather(*(one(case_id) for case_id in ids))
    if wait is None or all(case.ended_at for case in cases):
        return cases
    say(f"{sum(case.status == 'waiting' for case in cases)} cases wait for people; holding up to {wait:g} s")
    return await plane.wait_all(ids, until="ended", timeout=wait)


async def _counted(plane: ControlPlane, outcome: Outcome) -> Outcome:
    figures = await figures_of(plane, outcome)
    return Outcome(outcome.workflow, outcome.cases, outcome.refused, outcome.seconds, figures)


async def figures_of(plane: ControlPlane, outcome: Outcome) -> dict[str, Any]:
    """Counts by outcome and wait, the workflow's own figures, and what the ledger says; of these cases only."""
    cases, total = outcome.cases, len(outcome.cases) + len(outcome.refused)
    by_status = {status: sum(c.status == status for c in cases) for status in ("completed", "waiting", "cancelled")}
    waits = [_waits_for(case) for case in cases if case.status == "waiting"]
    domain = plane.workflow(outcome.workflow).figures
    pairs = [(case.input, case.values) for case in cases if case.status == "completed"]
    verified = await plane.ledger.verify()
    return {
        "workflow": outcome.workflow,
        "cases": total,
        **by_status,
        "failed": sum(c.status == "failed" for c in cases) + len(outcome.refused),
        "exceptions": waits.count("exception"),
        "approvals_waiting": waits.count("approval"),
        "tasks_waiting": waits.count("task"),
        **(domain(pairs) if domain else {}),
        "ledger_events": await plane.ledger.count(plane.tenant, [case.id for case in cases]),
        "ledger_verified": verified.ok,
        "seconds": round(outcome.seconds, 3),
        "cases_per_s": round(total / max(outcome.seconds, 1e-6), 2),
        "peak_mb": round(peak_mb(), 1),
    }


def _waits_for(case: Case) -> str:
    """What a waiting case waits for, counted once: an exception, else an approval, else a task."""
    kinds = {waiting.kind for waiting in case.waiting_for}
    if kinds == {"task"}:
        return "task"
    return "approval" if kinds and kinds <= {"approval", "task"} else "exception"


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10
