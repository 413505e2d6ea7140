"""A world outside that keeps count, tools that act on it and can undo what they did, and a workflow that uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from langgraph.graph import END, START

from interlock import ControlPlane, Money, Workflow
from interlock.graphs.cases import Case
from tests.graphs.office import POLICY, State, people

UNDO = '@id("UNDO") permit(principal, action in Interlock::Action::"effect:compensate", resource);'
ASK = """
@id("UNDO") permit(principal, action in Interlock::Action::"effect:compensate", resource)
  when { context.approvals.purchasing >= 1 };
@id("WHO-U") permit(principal, action in Interlock::Action::"approve:effect:compensate", resource);
"""
PERMITTED = POLICY + UNDO


@dataclass
class World:
    """What stands outside, in the order in which it came, and what compensations are to do."""

    log: list[str] = field(default_factory=list)
    keys: list[tuple[str, str | None]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def undo(self, args: Any, result: Any, ctx: Any) -> str:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.keys.append((ctx.key, ctx.compensates))
        self.log.append(f"undo {result} {args['about']}")
        return f"undone {result}"


def fill(plane: ControlPlane, world: World, undo: Callable[..., Any] | None = None) -> None:
    def make(name: str) -> Callable[..., Any]:
        async def act(about: str) -> str:
            world.log.append(f"{name} {about}")
            return f"{name}-1"

        return act

    options: dict[str, Any] = {"scope": "po:write", "effect": "write", "system": "erp", "sandbox": True}
    money = {"money": lambda args: Money(30_000, "EUR"), "resource": lambda args: f"po/{args['about']}"}
    for name in ("order", "pay"):
        plane.register_tool(make(name), name=name, compensate=undo or world.undo, **money, **options)
    plane.register_tool(make("mail"), name="mail", **options)
    for person in people():
        plane.register_actor(person)


def doing(fails: bool = True) -> Workflow:
    """Orders, mails, pays; then a task that fails, or one for a person."""
    wf = Workflow("doing", State, owner="finance")

    @wf.task(skill="buying", tools=["order", "mail", "pay"], scopes={"po:write"})
    async def act(state: Any, call: Any) -> dict[str, Any]:
        return {"log": [await call(name, {"about": "pumps"}) for name in ("order", "mail", "pay")]}

    if not fails:
        wf.task("sign", skill="checking", instructions="Sign it.")
        return wf.flow(START, act, "sign", END)

    async def burst(state: State) -> State:
        raise ValueError("the press is on fire")

    wf.add_node("burst", burst)
    return wf.flow(START, act, "burst", END)


@asynccontextmanager
async def works(
    world: World, *workflows: Workflow, policy: str = PERMITTED, url: str = ":memory:", undo: Any = None
) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(url, policies={"office.cedar": policy}) as plane:
        fill(plane, world, undo)
        for workflow in workflows or (doing(),):
            plane.register(workflow)
        yield plane


async def run(plane: ControlPlane, until: str = "settled") -> Case:
    case = await plane.start("doing", {}, requester="person:ana")
    return await plane.wait(case.id, until, timeout=20)


DONE = ["order pumps", "mail pumps", "pay pumps"]
UNDONE = ["undo pay-1 pumps", "undo order-1 pumps"]
