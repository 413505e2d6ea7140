"""Workflow: a StateGraph with a name, a version, an owner and five verbs (task, approval, flow, branch, compile)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal, cast, get_args, overload

from langgraph.graph import StateGraph
from pydantic import BaseModel

from interlock import errors, ids
from interlock.agents.guardrails import Budget
from interlock.agents.retries import mend
from interlock.graphs.assembly import assemble
from interlock.graphs.compiled import GovernedGraph, govern
from interlock.graphs.safety import check_safe
from interlock.graphs.state import channels, extended
from interlock.graphs.task import ApprovalSpec, Code, TaskSpec, names_of, stages_of
from interlock.oversight.calendars import Calendar
from interlock.oversight.escalation import deadlines

__all__ = ["OnDuplicate", "Step", "Workflow"]

Step = Any  # a task handle, an approval handle, a function given to @task, a node name, START or END
OnDuplicate = Literal["allow", "join", "reject"]
Route = Callable[[Any], Any]
Link = str | tuple[str, timedelta]  # of a chain: a role or person:<name>, also with an SLA of its own


class Workflow(StateGraph[Any, Any, Any, Any]):
    """A governed state graph. `add_node`, `add_edge`, subgraphs and `Send` work as in LangGraph.

    `key`, `order` and `sequence` take a validated input: the business key, the sort key of a batch, and the name of
    the queue whose cases are driven one after another. `approval_sla` and `escalate` hold for the calls about which
    people are asked, and for gates that say nothing else; `calendar` for every deadline of people. `measures` takes
    the final state and gives numbers for the metrics; `figures` takes (input, result) pairs and gives the domain
    figures of a batch.

    `object` takes a validated input and names what a case is about, as "asset/7", or gives None. `on_duplicate` says
    what a start does while a case of the workflow on the same is open: "allow" it and record which, "join" that case,
    or "reject" the start.
    """

    def __init__(
        self,
        name: str,
        state: type[Any],
        *,
        input: type[Any] | None = None,
        output: type[Any] | None = None,
        context: type[Any] | None = None,
        version: str = "1",
        owner: str = "",
        sla: timedelta | None = None,
        approval_sla: timedelta | None = None,
        escalate: Iterable[Link] = (),
        calendar: Calendar | None = None,
        key: Callable[[Any], str] | None = None,
        order: Callable[[Any], Any] | None = None,
        sequence: Callable[[Any], str] | None = None,
        object: Callable[[Any], str | None] | None = None,
        on_duplicate: OnDuplicate = "allow",
        measures: Callable[[Any], dict[str, float]] | None = None,
        figures: Callable[[Sequence[tuple[Any, Any]]], dict[str, Any]] | None = None,
    ) -> None:
        self.name, self.version = ids.check_name(name), ids.check_name(version)
        self.schema, self.input_type, self.output_type = state, input, output
        self.owner, self.sla, self.calendar = owner, sla, calendar
        self.approval_sla, self.escalate = approval_sla, escalate if isinstance(escalate, str) else tuple(escalate)
        self.asking = deadlines(approval_sla, self.escalate, calendar)
        self.key, self.order, self.sequence = key, order, sequence
        if on_duplicate not in get_args(OnDuplicate):
            raise errors.ConfigurationError(f"on_duplicate is {on_duplicate!r}", f"say one of {get_args(OnDuplicate)}")
        self.object = object
        self.on_duplicate: OnDuplicate = on_duplicate
        self.measures, self.figures = measures, figures
        self.tasks: dict[str, TaskSpec] = {}
        self.approvals: dict[str, ApprovalSpec] = {}
        self.links: list[tuple[str | list[str], str | list[str]]] = []
        self.routes: dict[str, list[tuple[Route, list[str] | None]]] = {}
        self.rejected: dict[str, str] = {}
        self.parallel: set[str] = set()
        self._assembled = False
        super().__init__(extended(state), context, input_schema=input or state, output_schema=output or state)

    # the verbs

    @overload
    def task(self, name: Code, /) -> Code: ...
    @overload
    def task(self, name: str, /, **contract: Any) -> TaskSpec: ...
    @overload
    def task(self, /, **contract: Any) -> Callable[[Code], Code]: ...

    def task(self, name: Any = None, /, **contract: Any) -> Any:
        """Add a task: as a decorator of a code task, or by name for whoever the router picks.

        Keywords: skill, instructions, output, into, tools, scopes, roles, context, sla, rules, assignee, budget,
        min_confidence, and show: the keys of the state that people see who are asked about a call of the task.
        What a person has not done by the SLA passes to those in `escalate`, and at last to an operator.
        Raises ConfigurationError for anything else.
        """
        if isinstance(name, str):
            return self._add_task(self._contract(name, contract))
        if callable(name):
            return self._code_task(cast("Code", name), contract)
        return lambda run: self._code_task(run, contract)

    def approval(
        self,
        name: str,
        *,
        authority: str | Sequence[str],
        quorum: int = 1,
        amount: Callable[[Any], Any] | str | None = None,
        show: Iterable[str] = (),
        sla: timedelta | None = None,
        escalate: Iterable[Link] = (),
        calendar: Calendar | None = None,
        on_reject: Step | None = None,
        call: Callable[[Any], tuple[str, dict[str, Any]]] | None = None,
        for_task: str | None = None,
    ) -> ApprovalSpec:
        """Add a gate: the case waits here until somebody with the authority says yes; a no leads to `on_reject`.

        Several authorities are stages, in their order; `quorum` persons are asked in each, all of them different.
        `amount` is a field of the state, or takes the state; `show` are fields. At the SLA the question passes to the
        next in `escalate`, a role or person who holds the authority too; after the last it expires.
        Raises ConfigurationError.
        """
        self._check_free(ids.check_name(name))
        if (call is None) != (for_task is None):
            raise errors.ConfigurationError(
                f"{name!r} names a call or a task", "give both call= and for_task=, or none"
            )
        shown = names_of("show", show)
        self._check_fields([*shown, amount] if isinstance(amount, str) else shown)
        due = deadlines(self.approval_sla if sla is None else sla, escalate or self.escalate, calendar or self.calendar)
        spec = ApprovalSpec(name, self.name, stages_of(authority), quorum, amount, shown, due, call, for_task)
        self.approvals[name] = spec
        if on_reject is not None:
            self.rejected[name] = self.name_of(on_reject)
        return spec

    def flow(self, *steps: Step | list[Step]) -> Workflow:
        """Put steps in order; a list runs in parallel, each member as a branch of its own, joined by the next step."""
        named = [[self.name_of(s) for s in step] if isinstance(step, list) else self.name_of(step) for step in steps]
        for group in (step for step in named if isinstance(step, list)):
            self.parallel.update(self._checked_group(group))
        self.links.extend(pairwise(named))
        return self

    def branch(self, step: Step, route: Route, targets: Sequence[Step] | None = None) -> Workflow:
        """Choose the way after a step: `route(state)` gives a step, a list of steps, END, or None to keep the flow."""
        name = self.name_of(step)
        if name in self.parallel:
            raise errors.ConfigurationError(f"{name!r} runs in parallel", "branch after the step that joins the list")
        known = None if targets is None else [self.name_of(t) for t in targets]
        self.routes.setdefault(name, []).append((route, known))
        return self

    def compile(self, checkpointer: Any = None, **options: Any) -> GovernedGraph:
        """Build the graph. Options are those of `StateGraph.compile`."""
        if not self._assembled:
            assemble(self)  # pyright: ignore[reportArgumentType]  # it knows this file by two names
            check_safe(self, [*self.tasks, *self.approvals], writes=True)
            self._assembled = True
        options.setdefault("name", self.name)
        graph = govern(super().compile(checkpointer, **options))
        mend(graph, *(task.run for task in self.tasks.values()))
        return graph

    def plain_edge(self, start: str | list[str], end: str) -> None:
        """An edge between nodes, past the names of tasks."""
        super().add_edge(start, end)

    # LangGraph's own verbs, in which a task's name stands for its nodes

    def add_edge(self, start_key: Any, end_key: Any) -> Workflow:
        """As in LangGraph; the names of tasks and approvals may be used at either end."""
        start = [self.name_of(s) for s in start_key] if isinstance(start_key, list) else self.name_of(start_key)
        self.links.append((start, self.name_of(end_key)))
        return self

    # reading the description

    def _contract(self, name: str, contract: dict[str, Any]) -> TaskSpec:
        fields = dict(contract)
        fields["rules"] = tuple(fields.get("rules") or ())
        fields["bounded"] = fields.get("tools") is not None
        for field in ("tools", "context", "show"):
            fields[field] = names_of(field, fields.get(field) or ())
        for field in ("scopes", "roles"):
            fields[field] = frozenset(names_of(field, fields.get(field) or ()))
        fields["budget"] = fields.get("budget") or Budget()
        sla, chain, calendar = (fields.pop(field, None) for field in ("sla", "escalate", "calendar"))
        fields["deadlines"] = deadlines(sla, chain or (), calendar or self.calendar)
        try:
            return TaskSpec(name=ids.check_name(name), workflow=self.name, **{"skill": name, **fields})
        except TypeError as exc:
            raise errors.ConfigurationError(f"task {name!r}: {exc}", "see Workflow.task for the keywords") from exc

    def _code_task(self, run: Code, contract: dict[str, Any]) -> Code:
        if not inspect.iscoroutinefunction(run):
            raise errors.ConfigurationError(f"{run!r} is not async", "write `async def f(state, call)`")
        self._add_task(self._contract(run.__name__, {**contract, "run": run}))
        return run

    def _add_task(self, spec: TaskSpec) -> TaskSpec:
        self._check_free(spec.name)
        self.tasks[spec.name] = spec
        return spec

    def _check_free(self, name: str) -> None:
        if name in self.tasks or name in self.approvals or name in self.nodes:
            raise errors.ConfigurationError(f"{name!r} exists twice in {self.name!r}", "give each step its own name")

    def _check_fields(self, names: Iterable[str]) -> None:
        """A gate that asks for a field by a wrong name would ask for nothing, and its amount would be none."""
        if missing := sorted(set(names) - set(channels(self.schema))):
            known = f"its fields are {', '.join(channels(self.schema))}"
            raise errors.ConfigurationError(f"the state of {self.name!r} has no {', '.join(missing)}", known)

    def name_of(self, step: Step) -> str:
        """The name behind a handle, a function or a name."""
        name = step if isinstance(step, str) else getattr(step, "name", None) or getattr(step, "__name__", None)
        if not isinstance(name, str):
            raise errors.ConfigurationError(f"{step!r} is no step", "use a handle, a function or a name")
        return name

    def _checked_group(self, group: list[str]) -> list[str]:
        for name in group:
            if name not in self.tasks and name not in self.approvals:
                raise errors.ConfigurationError(f"{name!r} is no task or approval", "put other nodes in by add_edge")
        return group

    @property
    def result_type(self) -> type[BaseModel] | None:
        """The pydantic model of the output, if it is one."""
        typ = self.output_type
        return typ if isinstance(typ, type) and issubclass(typ, BaseModel) else None
