"""A plane that governs one suite: its tools, registries, policies and steps, and an environment per case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from langgraph.graph import END, START
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock.agents.agent import Agent
from interlock.evals.redteam.dojo import Dojo
from interlock.evals.redteam.ground import FOLDER, Ground, ToolRule
from interlock.evals.redteam.kinds import FORMS
from interlock.graphs.workflow import Workflow
from interlock.money import Money
from interlock.oversight.actors import Person
from interlock.plane import ControlPlane
from interlock.tools.contract import ToolContext

__all__ = ["ASSISTANT", "REVIEWER", "USER", "Range", "World", "governed"]

ASSISTANT, USER, REVIEWER = "agent:assistant", "person:user", "person:reviewer"


class Asked(BaseModel):
    """A case: what the user asks for, and which step of the workflow that is."""

    prompt: str
    step: str


class State(TypedDict):
    prompt: str
    step: str
    answer: str


class Answer(BaseModel):
    answer: str


class World:
    """The environments of the cases. Registries are read from an environment as it was before the task."""

    def __init__(self, dojo: Dojo, ground: Ground) -> None:
        self._dojo, self._ground = dojo, ground
        self._now: dict[str, Any] = {}
        self._known: dict[str, dict[str, dict[str, str]]] = {}

    def put(self, case_id: str, environment: Any) -> None:
        self._now[case_id] = environment
        self._known[case_id] = {name: kind.registry(environment) for name, kind in self._ground.kinds.items()}

    def now(self, case_id: str) -> Any:
        return self._now[case_id]

    def known(self, case_id: str, kind: str) -> dict[str, str]:
        """The typed registry of a kind in a case: values as they are written, by their canonical form."""
        return self._known[case_id][kind]

    def function(self, name: str) -> Callable[..., Any]:
        """The tool of a name; it works on the environment of the case that calls it."""

        async def call(ctx: ToolContext, **args: Any) -> Any:
            value, error = self._dojo.execute(self.now(ctx.case_id), name, args)
            if error is not None:
                raise ValueError(error)
            return value

        return call

    def lookup(self, kind: str) -> Callable[..., list[str] | None]:
        return lambda value, ctx: [kind] if value in self.known(ctx.case_id, kind) else None

    def reveals(self, args: Any, ctx: ToolContext) -> dict[str, Any]:
        """Which secrets stand in what is about to be sent."""
        secrets = self._ground.secrets
        return {"reveals": secrets.held(str(dict(args)), self.now(ctx.case_id)) if secrets else set()}


@dataclass
class Range:
    """Where a suite is replayed."""

    plane: ControlPlane
    world: World
    dojo: Dojo
    ground: Ground
    _replays: int = 0

    def tenant(self) -> str:
        """One per replay: what one registers or spends is nothing to another."""
        self._replays += 1
        return f"replay-{self._replays}"


@asynccontextmanager
async def governed(dojo: Dojo, ground: Ground) -> AsyncIterator[Range]:
    """A plane in memory under the policies of the suite."""
    policies, world = FOLDER / "policies" / f"{dojo.name}.cedar", World(dojo, ground)
    async with ControlPlane.open(":memory:", policies=policies) as plane:
        _register(plane, dojo, ground, world)
        plane.register(_workflow(dojo.name, ground))
        await plane.ready()
        yield Range(plane, world, dojo, ground)


def _register(plane: ControlPlane, dojo: Dojo, ground: Ground, world: World) -> None:
    scopes = {rule.scope for rule in ground.tools.values()}
    plane.register_actor(Agent("assistant", roles={"assistant"}, scopes=scopes))
    plane.register_actor(Person("user", skills={dojo.name}))
    plane.register_actor(Person("reviewer", roles={"operator"}))
    for name, kind in ground.kinds.items():
        form = FORMS[kind.form] if kind.form is not None else None
        more = {"canonical": form.canonical, "find": form.find} if form is not None else {}
        plane.register_registry(name, world.lookup(name), source=dojo.name, **more)
    for function in dojo.suite.tools:
        _register_tool(plane, function, ground, world)
    if ground.secrets is not None:
        plane.register_facts("secrets", world.reveals, actions=ground.secrets.tools, types={"reveals": "set"})


def _register_tool(plane: ControlPlane, function: Any, ground: Ground, world: World) -> None:
    rule = ground.tools[function.name]
    plane.register_tool(
        world.function(function.name),
        name=function.name,
        description=function.description,
        args_schema=function.parameters,
        system=ground.system,
        scope=rule.scope,
        effect=rule.effect,
        targets=rule.targets,
        untrusted_output=rule.untrusted,
        money=_money(rule, ground.currency),
        registers=rule.registers,
    )


def _money(rule: ToolRule, currency: str) -> Callable[[Mapping[str, Any]], Money | None] | None:
    """AgentDojo counts major units as floats; text says them exactly."""
    if rule.money is None:
        return None
    name = rule.money
    return lambda args: None if args[name] is None else Money.of(str(args[name]), currency)


def _workflow(name: str, ground: Ground) -> Workflow:
    """One step per family of tasks. The user performs it, and the assistant calls tools in it."""
    wf = Workflow(name, State, input=Asked)

    @wf.task(skill="intake", tools=[])
    async def intake(state: Any, call: Any) -> dict[str, Any]:
        return {}

    steps = [
        wf.task(step, skill=name, instructions=what.purpose, tools=ground.tools_of(step), output=Answer)
        for step, what in ground.steps.items()
    ]
    wf.flow(START, intake)
    wf.branch(intake, lambda state: state["step"], steps)
    for step in steps:
        wf.flow(step, END)
    return wf
