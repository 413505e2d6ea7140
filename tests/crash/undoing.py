"""A case that fails after three effects, in a process that kills itself at a numbered point; and its lives.

The undoing of `order` may be repeated, that of `post` has a probe, that of `pay` neither. Each life does the same:
start the case by its key, answer what it asks, wait for its end.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from langgraph.graph import END, START

from interlock import ControlPlane, Decision, DidNotHappen, Happened, Money, Person, Workflow, tool
from interlock.oversight.inbox import Item
from tests.crash.forks import end_of, forked
from tests.crash.killable import NEVER, SUBJECT, Fate
from tests.crash.outside import Outside
from tests.graphs.office import POLICY, State, people

UNDO = '@id("UNDO") permit(principal, action in Interlock::Action::"effect:compensate", resource);'


class Left(NamedTuple):
    """What lives leave behind: what happened outside, the tries without outcome at each death, the end as told."""

    effects: list[tuple[str, str]]
    lost: Counter[str]
    end: dict[str, Any]


def lives(home: Path, *moments: int) -> Left:
    """Lives that end at these points, as far as the case needs so many, and one that ends by itself."""
    home.mkdir(parents=True)
    lost: Counter[str] = Counter()
    for at in moments:
        ended = end_of(forked(lambda: asyncio.run(_live(home, at))))  # noqa: B023  # forked at once
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, points(home)
        lost += _without_outcome(home)
    assert end_of(forked(lambda: asyncio.run(_live(home, NEVER)))) == 0, f"no end after {points(home)}"
    return Left(Outside(home).effects(), lost, orjson.loads((home / "end.json").read_bytes()))


def points(home: Path) -> list[str]:
    """What the points of the lives so far were."""
    return (home / "diary.txt").read_text(encoding="utf-8").splitlines()


def _without_outcome(home: Path) -> Counter[str]:
    with closing(sqlite3.connect(home / "interlock.db")) as connection:
        return Counter(tool for (tool,) in connection.execute("SELECT tool FROM effects WHERE status = 'intent'"))


def failing() -> Workflow:
    """Three effects one after the other, and a node that raises."""
    wf = Workflow("undoing", State, key=lambda value: value["note"])

    @wf.task(skill="buying", tools=["order", "post", "pay"], scopes={"money:write"})
    async def act(state: Any, call: Any) -> dict[str, Any]:
        about = {"about": state["note"]}
        return {"log": [await call("order", about), await call("post", about), await call("pay", about)]}

    async def burst(state: State) -> State:
        raise ValueError("the press is on fire")

    wf.add_node("burst", burst)
    return wf.flow(START, act, "burst", END)


def equip(plane: ControlPlane, outside: Outside, fate: Fate) -> None:
    def happen(kind: str, about: str, key: str) -> str:
        fate.point(f"before effect {kind}")
        said = outside.happen(kind, about, key)
        fate.point(f"after effect {kind}")
        return said

    def doing(kind: str) -> Any:
        async def do(about: str, ctx: Any) -> str:
            return happen(kind, about, ctx.effect_key)

        return do

    @tool(idempotent=True)
    async def unorder(args: Any, result: Any, ctx: Any) -> str:
        fate.point("before effect unorder")
        said = outside.order(args["about"], ctx.key)
        fate.point("after effect unorder")
        return said

    async def unposted(args: Any, ctx: Any) -> Happened | DidNotHappen:
        fate.point("before probe")
        return Happened("unposted") if outside.has("unpost", args["about"]) else DidNotHappen()

    @tool(reconcile=unposted)
    async def unpost(args: Any, result: Any, ctx: Any) -> str:
        return happen("unpost", args["about"], ctx.effect_key)

    async def unpay(args: Any, result: Any, ctx: Any) -> str:
        return happen("unpay", args["about"], ctx.effect_key)

    undoing = {"order": unorder, "post": unpost, "pay": unpay}
    for name, undo in undoing.items():
        plane.register_tool(
            doing(f"{name}ed"), name=name, scope="money:write", effect="write", compensate=undo,
            resource=lambda args: f"thing/{args['about']}", money=lambda args: Money(100, "EUR"),
        )  # fmt: skip
    for person in [*people(), Person("clerk", roles={"operator"})]:
        plane.register_actor(person)


async def answer(plane: ControlPlane, item: Item, outside: Outside) -> None:
    """The operator looks outside: what happened is told, what did not is done again."""
    kind = {"pay.compensate": "unpay", "order": "ordered", "post": "posted", "pay": "payed"}[item.action["tool"]]
    happened = outside.has(kind, item.action["args"]["about"])
    await plane.inbox.decide(item.id, Decision.respond("seen") if happened else Decision.approve(), by="person:op")


async def _live(home: Path, at: int) -> None:
    """One life, to the end of the case unless fate is quicker."""
    fate, outside = Fate(home, at), Outside(home)
    url = f"sqlite:///{home / 'interlock.db'}"
    async with ControlPlane.open(url, policies={"office.cedar": POLICY + UNDO}) as plane:
        equip(plane, outside, fate)
        plane.register(failing())
        fate.watch_commits()
        case = await plane.start("undoing", {"note": SUBJECT}, requester="person:ana")
        while (case := await plane.wait(case.id)).status == "waiting":
            for item in (await plane.inbox.list(case_id=case.id)).items:
                await answer(plane, item, outside)
        (home / "end.json").write_bytes(orjson.dumps(await _told(plane, case)))


async def _told(plane: ControlPlane, case: Any) -> dict[str, Any]:
    """What a life leaves behind, free of ids and times."""
    events = [event async for event in plane.ledger.export()]
    outcomes = [e["data"] for e in events if e["type"] == "tool.outcome"]
    (end,) = [event for event in events if event["type"] == "case.failed"]
    sums = await plane.services.db.read(lambda tx: tx.rows("SELECT reserved, settled FROM limits"))
    leases = await plane.services.db.read(lambda tx: tx.rows("SELECT 1 FROM leases WHERE case_id IS NOT NULL"))
    items = (await plane.inbox.list(status=None)).items
    return {
        "status": case.status,
        "why": case.error["message"],
        "done": sorted(data["tool"] for data in outcomes if data["status"] == "done" and not data.get("compensates")),
        "undone": [data["tool"] for data in outcomes if data["status"] == "done" and data.get("compensates")],
        "told": [row["tool"] for row in end["data"]["compensated"]],
        "asked": sorted(item.action["tool"] for item in items),
        "open": sum(item.open for item in items),
        "sums": sorted({(row["reserved"], row["settled"]) for row in sums}),
        "leases": len(leases),
        "verified": (await plane.ledger.verify()).ok,
    }
