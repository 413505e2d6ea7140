"""A gateway on a real database, with tools, actors and policies of its own, and no engine above it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from interlock.clock import Clock, SystemClock
from interlock.money import Money
from interlock.observability.ledger import Ledger
from interlock.oversight.actors import Actor, Actors, Person
from interlock.oversight.inbox import Decision, Inbox, Item
from interlock.oversight.leases import Leases
from interlock.oversight.limits import Limits
from interlock.oversight.policy import Policies
from interlock.oversight.switches import Switches
from interlock.settings import Settings
from interlock.storage.claim import CLAIM, Claim
from interlock.storage.database import Database
from interlock.tools.contract import ToolResult
from interlock.tools.credentials import Credentials
from interlock.tools.gateway import Gateway
from interlock.tools.registry import Tools
from interlock.tools.site import CallSite

POLICY = """
@id("READ") permit(principal, action in Interlock::Action::"effect:read", resource);
@id("WRITE") permit(principal, action in Interlock::Action::"effect:write", resource)
  when { context.amount == 0 };
@id("PAY-1") permit(principal, action == Interlock::Action::"bank.pay", resource)
  when { context.amount <= 10000 && context.totals.day + context.amount <= 50000 };
@id("PAY-2") permit(principal, action == Interlock::Action::"bank.pay", resource)
  when { context.amount <= 1000000 && context.approvals.treasury >= 1 };
@id("PAY-3") permit(principal, action == Interlock::Action::"bank.pay", resource)
  when { context.approvals.treasury >= 2 };
@id("APP-1") permit(principal in Interlock::Role::"treasury", action == Interlock::Action::"approve:bank.pay", resource)
  when { principal.limit >= context.amount };
"""
CASE = "0190a0a0-0000-7000-8000-000000000001"


class Agent(Actor):
    """An agent as the registry of actors knows it."""

    prefix = "agent"


class World:
    """Counts what happens outside, and can be told to fail."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.fail: list[BaseException] = []
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def act(self, what: str) -> str:
        """Fail before or after the effect, as told; wait at the gate."""
        if self.gate is not None:
            self.entered.set()
            await self.gate.wait()
        failure = self.fail.pop(0) if self.fail else None
        if failure is not None and getattr(failure, "before", False):
            raise failure
        self.done[what] += 1
        if failure is not None:
            raise failure
        return f"{what}#{self.done[what]}"


class Plant:
    """The gateway and everything below it."""

    def __init__(self, db: Database, clock: Clock, settings: Settings, switches: Switches, policies: str) -> None:
        self.db, self.clock, self.settings, self.switches = db, clock, settings, switches
        self.ledger = Ledger(db, clock)
        self.tools = Tools()
        clerk = Agent("clerk", scopes={"bank"}, roles={"clerk"}, owner="olga")
        approvers = [Person(name, authorities=much()) for name in ("olga", "bo", "cy")]
        others = [Person("ana"), Person("low", authorities=much(1)), Person("op", roles={"operator"})]
        self.actors = Actors([clerk, *approvers, *others])
        self.policies = Policies({"test.cedar": policies})
        self.inbox = Inbox(db, self.ledger, self.policies, self.actors, clock)
        self.credentials = Credentials(None, {})
        self.leases, self.limits = Leases(self.ledger), Limits(self.ledger)
        self.gateway = Gateway(
            db=db, ledger=self.ledger, tools=self.tools, policies=self.policies, actors=self.actors, inbox=self.inbox,
            switches=switches, leases=self.leases, limits=self.limits, credentials=self.credentials, clock=clock,
            settings=settings,
        )  # fmt: skip
        self.inbox.digest_of, self.inbox.request_of = self.gateway.digest_of, self.gateway.request_of
        self.world = World()

    def bind(self) -> None:
        roles = {role for actor in self.actors for role in actor.all_roles}
        self.policies.bind(self.tools.actions(), roles, {"treasury"})
        assert self.policies.check() == []

    async def case(self, case_id: str = CASE, *, value: str = "{}", trusted: int = 1, epoch: int = 1) -> Claim:
        sql = (
            "INSERT INTO cases (tenant, case_id, seq, workflow, version, status, requester, input, trusted, epoch)"
            " VALUES ('default', ?, 1, 'pay', '1', 'running', 'person:ana', ?, ?, ?)"
        )
        await self.db.commit(lambda tx: tx.execute(sql, (case_id, value.encode(), trusted, epoch)))
        return Claim("default", case_id, epoch)

    def site(self, **changes: Any) -> CallSite:
        """In a task of the case; `ns=""` is outside a node."""
        base = CallSite(
            tenant="default", case_id=CASE, workflow="pay", version="1", task="pay", visit=1, actor="agent:clerk",
            requester="person:ana", preparers=frozenset(), owner="", allowed=None, ns="pay:1", attempt=1, snapshot=0,
            autonomy="autonomous", guest=False, trusted=True, deadline=None, durability="sync",
        )  # fmt: skip
        return replace(base, **changes)

    async def pay(self, amount: int = 100, *, slot: int | str = 0, **where: Any) -> ToolResult:
        args = {"amount": amount, "to": where.pop("to", "acme")}
        more = {name: where.pop(name) for name in ("key", "approval") if name in where}
        return await self.gateway.call("bank.pay", args, self.site(**where), slot=slot, **more)

    async def open(self, result: ToolResult, **where: Any) -> Item:
        """Open the question of an asked call, as the interrupt's commit does."""
        await self.gateway.open(result.items[-1], self.site(**where))
        if (claim := CLAIM.get()) is not None:
            for apply in claim.take_all():
                await self.db.commit(apply, claim=claim)
        return await self.inbox.get(result.items[-1].id)

    async def approve(self, item: Item, by: str = "person:bo", decision: Decision | None = None) -> Item:
        return await self.inbox.decide(item.id, decision or Decision.approve(), by=by)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        return [event async for event in self.ledger.export() if event["type"] == kind]

    async def in_flight(self) -> tuple[str, asyncio.Task[Any]]:
        """Effect key and task of the one call that waits at the gate: its intent is durable, the tool runs."""
        await self.world.entered.wait()
        self.world.entered.clear()
        (((_, effect_key), (_, task)),) = self.gateway._flights._flying.items()
        return effect_key, task

    async def crash(self) -> str:
        """The intent of a first try is durable, and the process died before its outcome was. Gives the effect key."""
        self.world.gate = asyncio.Event()
        call = asyncio.create_task(self.pay())
        effect_key, task = await self.in_flight()
        task.cancel()
        await asyncio.wait([call])
        self.world.gate = None
        return effect_key

    async def effect(self, result: ToolResult) -> dict[str, Any]:
        sql = "SELECT * FROM effects WHERE effect_key = ?"
        row = await self.db.read(lambda tx: tx.row(sql, (result.call_id,)))
        return {} if row is None else dict(row)


def much(amount: int = 10_000_000) -> dict[str, Money]:
    return {"treasury": Money(amount, "EUR")}


@asynccontextmanager
async def plant(
    path: Path | None = None, *, policies: str = POLICY, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Plant]:
    """Open a plant with `bank.pay` (writes money) and `bank.balance` (reads)."""
    db = await Database.open(f"sqlite:///{path}" if path else ":memory:")
    time = clock or SystemClock()
    patient = {"tool_timeout_s": 60.0, "tool_retries": 2, **settings}  # a test that waits it out is wrong
    one = Plant(db, time, Settings(**patient), await Switches.open(db, Ledger(db, time), time), policies)
    try:
        yield one
        await one.gateway.drain()
    finally:
        await db.close()


def bank(one: Plant, **options: Any) -> None:
    """Register `bank.pay` with some options, and bind the policies."""

    async def pay(amount: int, to: str) -> str:
        return await one.world.act(f"pay {amount} {to}")

    async def balance(account: str) -> dict[str, Any]:
        return {"account": account, "said": await one.world.act("balance")}

    common = {"system": "bank", "scope": "bank", "money": lambda args: Money(args.amount, "EUR")}
    one.tools.register(pay, name="bank.pay", effect="write", **{**common, **options})
    one.tools.register(balance, name="bank.balance", effect="read", system="bank")
    one.bind()
