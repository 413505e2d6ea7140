"""A workflow with three writing tools and three questions, in a process that ends itself at a numbered point.

Points lie before and after every commit, and before and after every effect; an undisturbed life counts them. Each
life of the process does the same: start the case by its key, answer what it asks, wait for its end. SIGKILL ends it
at once, SIGTERM as it ends a command.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import typer
from langgraph.graph import END, START

from interlock import ControlPlane, Decision, DidNotHappen, Happened, Money, Person, Workflow
from interlock.cli.session import drive
from interlock.oversight.inbox import Item
from interlock.storage.committer import Committer
from interlock.storage.transaction import SqliteTransaction
from tests.crash.outside import Outside
from tests.graphs.office import POLICY, State, people

NEVER = 10**9
SUBJECT = "pumps"
Point = Callable[[str], None]


class Fate:
    """Counts the points of a life, and sends a signal at one of them; the diary tells of each point."""

    def __init__(self, home: Path, at: int, sign: int = signal.SIGKILL) -> None:
        self._at, self._sign = at, sign
        self._diary = (home / "diary.txt").open("a", encoding="utf-8")
        self._points = itertools.count(1)

    def point(self, what: str) -> None:
        self._diary.write(f"{what}\n")
        self._diary.flush()
        if next(self._points) == self._at:
            os.kill(os.getpid(), self._sign)

    def watch_commits(self) -> None:
        """From now on: a point before the commit of each batch, and one after it, named by the events in it."""
        append, save, run = SqliteTransaction.append, SqliteTransaction.save_head, Committer._run_batch
        events: list[str] = []

        def noted(tx: SqliteTransaction, event: Any) -> int | None:
            events.append(event.type)
            return append(tx, event)

        def saved(tx: SqliteTransaction) -> None:
            save(tx)
            self.point(f"before {_named(events)}")

        def ran(committer: Committer, batch: Any) -> None:
            run(committer, batch)
            self.point(f"after {_named(events)}")
            events.clear()

        patch.object(SqliteTransaction, "append", noted).start()
        patch.object(SqliteTransaction, "save_head", saved).start()
        patch.object(Committer, "_run_batch", ran).start()


def _named(events: list[str]) -> str:
    return " ".join(dict.fromkeys(events)) or "checkpoint"


def sequence() -> Workflow:
    """A gate, the three tools one after the other, a person's task."""
    wf = Workflow("killable", State, key=lambda value: value["note"])
    gate = wf.approval("gate", authority="purchasing", amount="total", show=["note"])

    @wf.task(skill="buying", tools=["order", "post", "pay"], scopes={"money:write"})
    async def act(state: Any, call: Any) -> dict[str, Any]:
        about = {"about": state["note"]}
        return {"log": [await call("order", about), await call("post", about), await call("pay", about)]}

    wf.task("sign", skill="checking", instructions="Sign it.")
    return wf.flow(START, gate, act, "sign", END)


def at_once() -> Workflow:
    """The three tools in three branches at the same time."""
    wf = Workflow("killable", State, key=lambda value: value["note"])

    @wf.task(skill="buying", tools=["order"], scopes={"money:write"})
    async def ordering(state: Any, call: Any) -> dict[str, Any]:
        return {"left": await call("order", {"about": state["note"]})}

    @wf.task(skill="buying", tools=["post"], scopes={"money:write"})
    async def posting(state: Any, call: Any) -> dict[str, Any]:
        return {"right": await call("post", {"about": state["note"]})}

    @wf.task(skill="buying", tools=["pay"], scopes={"money:write"})
    async def paying(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("pay", {"about": state["note"]})}

    return wf.flow(START, [ordering, posting, paying], END)


WORKFLOWS: dict[str, Callable[[], Workflow]] = {"sequence": sequence, "at once": at_once}


def equip(plane: ControlPlane, outside: Outside, point: Point) -> None:
    async def order(about: str, ctx: Any) -> str:
        return _pointed(point, "order", lambda: outside.order(about, ctx.key))

    async def post(about: str, ctx: Any) -> str:
        return _pointed(point, "post", lambda: outside.happen("post", about, ctx.effect_key))

    async def pay(about: str, ctx: Any) -> str:
        return _pointed(point, "pay", lambda: outside.happen("pay", about, ctx.effect_key))

    async def posted(args: Any, ctx: Any) -> Happened | DidNotHappen:
        point("before probe")
        return Happened(f"post of {args['about']}") if outside.has("post", args["about"]) else DidNotHappen()

    options: dict[str, Any] = {"scope": "money:write", "effect": "write"}
    plane.register_tool(order, name="order", idempotent=True, **options)
    plane.register_tool(post, name="post", reconcile=posted, resource=lambda args: f"post/{args['about']}", **options)
    plane.register_tool(pay, name="pay", money=lambda args: Money(400_000, "EUR"), **options)
    for person in people():
        plane.register_actor(person)
    plane.register_actor(Person("clerk", roles={"operator"}))


def _pointed(point: Point, kind: str, happen: Callable[[], str]) -> str:
    point(f"before effect {kind}")
    said = happen()
    point(f"after effect {kind}")
    return said


async def answer(plane: ControlPlane, item: Item, outside: Outside) -> None:
    """What people say: bo approves, ana signs, and the operator looks outside before an exception is answered."""
    if item.kind == "task":
        await plane.inbox.complete(item.id, {}, by="person:ana")
    elif item.kind == "approval":
        await plane.approvals.decide(item.id, Decision.approve(), by="person:bo")
    else:
        kind, about = item.action["tool"], item.action["args"]["about"]
        happened = Decision.respond(f"{kind} of {about}") if outside.has(kind, about) else Decision.approve()
        await plane.inbox.decide(item.id, happened, by="person:op")


async def live(home: Path, workflow: str, fate: Fate) -> None:
    """One life, to the end of the case unless fate is quicker."""
    outside = Outside(home)
    async with opened(home, workflow, outside, fate.point) as plane:
        fate.watch_commits()
        (home / "end.json").write_bytes(orjson.dumps(await lived(plane, outside)))


@asynccontextmanager
async def opened(home: Path, workflow: str, outside: Outside, point: Point) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(f"sqlite:///{home / 'interlock.db'}", policies={"office.cedar": POLICY}) as plane:
        equip(plane, outside, point)
        plane.register(WORKFLOWS[workflow]())
        yield plane


async def lived(plane: ControlPlane, outside: Outside) -> dict[str, Any]:
    """Start the case, which is once for ever, answer what it asks, and tell how it ended."""
    case = await plane.start("killable", {"note": SUBJECT, "total": 70_000}, requester="person:ana")
    while (case := await plane.wait(case.id)).status == "waiting":
        for item in (await plane.inbox.list(case_id=case.id)).items:
            await answer(plane, item, outside)
    return await told(plane, case)


async def told(plane: ControlPlane, case: Any) -> dict[str, Any]:
    """What a life leaves behind, free of ids and times."""
    events = [event async for event in plane.ledger.export()]
    verified = await plane.ledger.verify()
    outcomes = [(e["data"]["tool"], e["data"]["status"]) for e in events if e["type"] == "tool.outcome"]
    items = (await plane.inbox.list(status=None)).items
    return {
        "status": case.status,
        "values": case.values,
        "outcomes": sorted(outcomes),
        "answered": sorted((item.kind, item.action.get("tool") or item.task or "") for item in items),
        "open": sum(item.open for item in items),
        "ends": sum(event["type"] == "case.completed" for event in events),
        "verified": verified.ok,
    }


def main(home: Path, workflow: str, at: int, sign: int) -> None:
    with suppress(typer.Exit):  # which is how a command ends after SIGTERM
        drive(live(home, workflow, Fate(home, at, sign)))
