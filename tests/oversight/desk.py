"""An inbox in use: people, a policy of who approves purchases, a waiting case, and items of each kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from interlock.money import Money
from interlock.observability.ledger import Ledger
from interlock.oversight.actors import Actor, Actors, Person
from interlock.oversight.inbox import Inbox, Item
from interlock.oversight.policy import Policies
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import ask, bound

__all__ = ["OUTPUT", "RULES", "Desk", "people"]

RULES = """
@id("signed") permit (principal, action == Interlock::Action::"erp.create_po", resource)
when { context.approvals.purchasing >= 1 };
@id("app") permit (principal is Interlock::Person, action == Interlock::Action::"approve:erp.create_po", resource)
when { principal.limit >= context.amount };
"""
OUTPUT = {"type": "object", "properties": {"vendor": {"type": "string"}}, "required": ["vendor"]}


class Bot(Actor):
    prefix = "agent"


def people() -> list[Actor]:
    """ana asks, bo and cy approve purchases, dora leads, eve and fay do tasks, gus stands in for eve, olga operates."""
    purchasing = {"purchasing": Money(100000, "EUR")}
    return [
        Person("ana", authorities=purchasing),
        Person("bo", authorities=purchasing),
        Person("cy", authorities=purchasing),
        Person("dora", roles={"lead"}, authorities={"cfo": Money(10**7, "EUR")}),
        Person("eve", roles={"clerk"}, deputy="person:gus"),
        Person("fay", roles={"clerk"}),
        Person("gus"),
        Person("olga", roles={"operator"}),
        Bot("buyer", roles={"purchasing", "operator"}),
    ]


@dataclass
class Desk:
    """Everything a test of the inbox needs; `woken` is whom the inbox would have woken."""

    db: Database
    ledger: Ledger
    clock: ManualClock
    policies: Policies = field(default_factory=lambda: bound(RULES))
    actors: Actors = field(default_factory=lambda: Actors(people()))
    woken: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.db, self.ledger, self.policies, self.actors, self.clock)
        self.inbox.wake = lambda tenant, case_id: self.woken.append((tenant, case_id))

    async def open(self, item: Item) -> Item:
        await self.db.commit(self.inbox.opening(item))
        return await self.inbox.get(item.id, tenant=item.tenant)

    def approval(self, item_id: str = "i1", amount: int = 500, **more: Any) -> Item:
        """A question about a purchase, of ana, for an approval of purchasing."""
        money = {"amount": amount, "currency": "EUR"}
        action = {"tool": "erp.create_po", "args": {"total": amount, "vendor": "v1"}, "money": money, "digest": "d1"}
        given: dict[str, Any] = {
            "workflow": "buying", "task": "order", "effect_key": "e1", "action": action, "digest": "d1",
            "requester": "person:ana", "authority": "purchasing", "need": {"purchasing": 1},
            "request": ask(self.policies, amount),
        }  # fmt: skip
        return Item(item_id, "default", "approval", "c1", **(given | more))

    def task(self, item_id: str = "t1", **more: Any) -> Item:
        """A task of eve."""
        given: dict[str, Any] = {
            "workflow": "buying", "task": "pick", "assignee": "person:eve", "output_schema": OUTPUT,
        }  # fmt: skip
        return Item(item_id, "default", "task", "c1", **(given | more))

    def exception(self, item_id: str = "x1", **more: Any) -> Item:
        """Something for the workflow's owner or an operator."""
        given: dict[str, Any] = {"workflow": "buying", "task": "pick"}
        return Item(item_id, "default", "exception", "c1", **(given | more))
