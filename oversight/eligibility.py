"""Who may answer an item: checked when it is claimed, when it is decided, and again when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from interlock import errors
from interlock.clock import parse
from interlock.oversight.actions import Request
from interlock.oversight.actors import Actors, Person
from interlock.oversight.escalation import is_due, names_of
from interlock.oversight.items import Item
from interlock.oversight.need import separated
from interlock.oversight.policy import OPERATOR, Policies

__all__ = ["Eligibility", "expired"]


class Eligibility:
    """The rules of answering. `owner_of` gives the owner of a workflow, a role or a person."""

    def __init__(self, policies: Policies, actors: Actors, owner_of: Callable[[str], str]) -> None:
        self._policies = policies
        self._actors = actors
        self._owner_of = owner_of

    def person(self, by: str) -> Person:
        """The registered person of an id. Raises NotAuthorized for everyone else: agents never decide."""
        try:
            return self._actors.person(by if isinstance(by, str) else repr(by))
        except errors.NotFound as exc:
            raise errors.NotAuthorized(f"{by} may not decide", "name a registered person, as person:ana") from exc

    def check(self, item: Item, person: Person, request: Request | None) -> None:
        """Raises NotAuthorized when this person may not answer this item."""
        allowed = {"approval": self._approves, "task": self._performs, "exception": self._resolves}
        refusal = allowed[item.kind](item, person, request)
        if refusal:
            raise errors.NotAuthorized(f"{person.id} may not decide {item.id}: {refusal}", _hint(item))

    def check_taker(self, item: Item, to: Person, request: Request | None, now: datetime) -> None:
        """Raises NotAuthorized when an item cannot be handed to this person.

        An approval needs somebody who may give it; other items also go to those with the skill of the task.
        """
        if item.kind == "approval" or not self._performs_task(item, to, now):
            self.check(item, to, request)

    def _performs_task(self, item: Item, person: Person, now: datetime) -> bool:
        """Whether the router could have given the item's task to this person."""
        skill = str(item.action.get("skill") or "")
        context = {
            "workflow": item.workflow, "task": item.task, "tenant": item.tenant, "requester": item.requester,
            "skill": skill, "skills": sorted(person.skills), "now": now,
        }  # fmt: skip
        complete = self._policies.complete_context("task.perform", context)
        request = Request("task.perform", person.id, person.all_roles, context=complete)
        return skill in person.skills and self._policies.decide(request).allowed

    def manages(self, item: Item, person: Person) -> bool:
        """Whether this person may take items out of other people's hands."""
        owner = self._owner_of(item.workflow)
        return OPERATOR in person.all_roles or bool(owner and owner in {person.id, person.name, *person.all_roles})

    def absent(self, item: Item, now: datetime) -> str | None:
        """Who has claimed the item, when they are on leave or gone: their claim keeps nobody else away."""
        if item.claimed_by is None or item.claimed_by not in self._actors:
            return item.claimed_by
        return item.claimed_by if self._actors.person(item.claimed_by).away(now) else None

    def _approves(self, item: Item, person: Person, request: Request | None) -> str:
        preparers = request.context.get("preparers") if request else None
        barred = separated(item.requester, item.excluded, preparers)
        if person.id in barred:
            return "requester, preparers, owner and earlier approvers are kept apart"
        if request is None or not item.authority:
            return "the item does not say which authority it asks"
        if item.authority not in person.all_roles:
            return f"the authority {item.authority!r} is missing"
        if not self._policies.who(request, item.authority, [person], barred):
            return "the policies do not permit it, by limit or by rule"
        return ""

    def _performs(self, item: Item, person: Person, request: Request | None) -> str:
        if person.id in {item.assignee, self._deputy(item.assignee)} or _named(item, person):
            return ""
        return "the task is somebody else's"

    def _deputy(self, assignee: str | None) -> str | None:
        actor = self._actors.get(assignee) if assignee and assignee in self._actors else None
        return actor.deputy if isinstance(actor, Person) else None

    def _resolves(self, item: Item, person: Person, request: Request | None) -> str:
        if item.eligible:
            return "" if _named(item, person) else "the item asks others"
        if self.manages(item, person) or _named(item, person):
            return ""
        return f"exceptions are answered by the role {OPERATOR!r} or the workflow's owner"

    def asked(self, item: Item) -> list[str]:
        """Whom an item asks now: ids of persons and `role:<role>`, those of the beginning first."""
        return list(dict.fromkeys([*self._first(item), *item.handed_to]))

    def _first(self, item: Item) -> list[str]:
        if item.eligible or item.kind == "approval":
            return item.eligible
        if item.kind == "task":
            return [item.assignee] if item.assignee else []
        owner = self._owner_of(item.workflow)
        person = owner if owner.startswith("person:") else f"person:{owner}"
        named = [person] if person in self._actors else [f"role:{owner}"] if owner else []
        return list(dict.fromkeys([f"role:{OPERATOR}", *named]))

    def concerns(self, item: Item, role: str) -> bool:
        """Whether somebody in this role could answer the item."""
        holders = {person.id for person in self._actors.people() if role in person.all_roles}
        resolvers = (
            {OPERATOR, self._owner_of(item.workflow)} if item.kind == "exception" and not item.eligible else set()
        )
        named = {f"role:{role}", *holders}.intersection([*item.eligible, *item.handed_to, item.assignee])
        return bool(named) or role == item.authority or role in resolvers

    def still(self, item: Item, request: Request, others: Iterable[str]) -> bool:
        """Whether the approval of a decided item came in time, and would still be given for this request."""
        if item.decided_by is None or item.decided_by not in self._actors or _late(item):
            return False
        apart = separated(item.requester, item.excluded, others)
        person = self._actors.person(item.decided_by)
        return bool(self._policies.who(request, item.authority, [person], apart))


def _named(item: Item, person: Person) -> bool:
    return bool(names_of(person).intersection([*item.eligible, *item.handed_to]))


def _hint(item: Item) -> str:
    if item.eligible:
        return f"ask {', '.join(item.eligible[:5])}"
    return "see `interlock policy explain` for who may"


def _late(item: Item) -> bool:
    return item.decided_at is None or expired(item, parse(item.decided_at))


def expired(item: Item, now: datetime) -> bool:
    """Whether the last deadline of an approval has passed. Tasks and exceptions are only late."""
    return item.kind == "approval" and is_due(item.last_due, now)
