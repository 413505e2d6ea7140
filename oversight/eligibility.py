"""Who may answer an item: checked when it is claimed, when it is decided, and again when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from interlock import errors
from interlock.clock import Clock, parse
from interlock.ids import Reason
from interlock.oversight.actions import Request
from interlock.oversight.actors import Actors, Person
from interlock.oversight.delegation import Delegations
from interlock.oversight.escalation import asked_first, is_due, names_of
from interlock.oversight.items import Item
from interlock.oversight.need import separated
from interlock.oversight.policy import OPERATOR, Edition, Policies

__all__ = ["NOBODY", "Eligibility", "as_approval", "expired"]

NOBODY = "approval.nobody"
# How many holders of an authority are named when none of them may approve.
_NAMED = 10
_TO_DO = "Delegate the authority, register somebody who holds it, or change limits or policies; or reject this"


class Eligibility:
    """The rules of answering. `owner_of` gives the owner of a workflow, a role or a person.

    `off` says which switch stops somebody in a tenant, or nothing.
    """

    def __init__(  # noqa: PLR0917  # the layers below, in their order
        self,
        policies: Policies,
        actors: Actors,
        delegations: Delegations,
        clock: Clock,
        owner_of: Callable[[str], str],
        off: Callable[[str, str], str],
    ) -> None:
        self._policies = policies
        self._actors = actors
        self._delegations = delegations
        self._clock = clock
        self._owner_of = owner_of
        self._off = off

    def acting(self, item: Item, by: str) -> Person:
        """The person of an id who does something with an item. Raises NotAuthorized also when they are switched off."""
        person = self.person(by)
        if off := self._off(item.tenant, person.id):
            raise errors.NotAuthorized(f"{person.id} may not touch {item.id}: {off}", "see `interlock switch`")
        return person

    def person(self, by: str) -> Person:
        """The registered person of an id. Raises NotAuthorized for everyone else: agents never decide."""
        try:
            return self._actors.person(by if isinstance(by, str) else repr(by))
        except errors.NotFound as exc:
            raise errors.NotAuthorized(
                f"{by or 'nobody'} may not decide", "name a registered person, as person:ana"
            ) from exc

    def check(self, item: Item, person: Person, request: Request | None) -> str:
        """In whose place this person may answer this item, empty in their own right. Raises NotAuthorized.

        What nobody could approve is answered by whoever may approve it by now, and as an exception.
        """
        if item.stuck and (place := self.approves(item, person, request)) is not None:
            return place
        return self._check(item, person, request)

    def approves(self, item: Item, person: Person, request: Request | None) -> str | None:
        """In whose place somebody may say yes to what an item asks, empty in their own right; None: they may not."""
        try:
            return self._check(as_approval(item), person, request)
        except errors.NotAuthorized:
            return None

    def _check(self, item: Item, person: Person, request: Request | None) -> str:
        refusal = self._refusal(item, person, request)
        if not refusal:
            return ""
        for giver in self._givers(item, person):
            if self._stands_in(item, giver, person, request):
                return giver.id
        raise errors.NotAuthorized(f"{person.id} may not decide {item.id}: {refusal}", _hint(item))

    def who(
        self, policies: Edition, request: Request, authority: str, excluded: Iterable[str], tenant: str
    ) -> list[str]:
        """Who may approve a request now, without those on leave: first in their own right, then in another's place."""
        now, apart = self._clock.now(), list(excluded)
        people = [p for p in self._actors.people() if not p.away(now) and not self._off(tenant, p.id)]
        own = policies.who(request, authority, people, apart)
        others = [person for person in people if person.id not in own]
        return own + [
            taker.id
            for taker in others
            if any(
                policies.covers(request, authority, giver, taker, apart)
                for giver in self._delegations.givers(tenant, taker, authority, now)
            )
        ]

    def asking(self, item: Item, policies: Edition) -> Item:
        """An approval as it is to be opened, asking first who is not in its chain.

        One that nobody may give becomes an exception that says why.
        """
        assert item.request is not None, "an approval says what it asks"
        who = self.who(policies, item.request, item.authority, item.excluded, item.tenant)
        if who:
            return replace(item, eligible=asked_first(who, item.chain, self._actors.people()))
        return replace(item, kind="exception", reasons=[*item.reasons, self._why_nobody(item, item.request, policies)])

    def _why_nobody(self, item: Item, request: Request, policies: Edition) -> Reason:
        """Why none of those who hold the authority may use it now, and what can be done."""
        holders = [p for p in self._actors.people() if item.authority in p.all_roles]
        first = holders[:_NAMED]
        kept = policies.who_not(request, item.authority, first, item.excluded)
        away = {p.id: [self._off(item.tenant, p.id) or "on leave"] for p in first}
        told = [f"{p.id}: {min(kept.get(p.id, away[p.id]), key=_lacking)}" for p in first]
        told += [f"and {len(holders) - len(first)} more"] if len(holders) > len(first) else []
        who = "; ".join(told) if told else "nobody who is registered holds it"
        return Reason(NOBODY, f"nobody may approve this now under {item.authority!r}: {who}. {_TO_DO}")

    def _refusal(self, item: Item, person: Person, request: Request | None) -> str:
        allowed = {"approval": self._approves, "task": self._performs, "exception": self._resolves}
        return allowed[item.kind](item, person, request)

    def _givers(self, item: Item, taker: Person) -> list[Person]:
        """Those in whose place somebody may answer; a task needs a delegation of everything."""
        asked = {"approval": item.authority, "exception": OPERATOR}.get(item.kind)
        now = self._clock.now()
        return [] if taker.away(now) else self._delegations.givers(item.tenant, taker, asked, now)

    def _stands_in(self, item: Item, giver: Person, taker: Person, request: Request | None) -> bool:
        """Whether a taker may answer in a giver's place. Who is kept apart from the item is so on either side."""
        if item.kind != "approval":
            return not self._refusal(item, giver, request) and taker.id not in _apart(item)
        barred = separated(item.requester, item.excluded)
        return request is not None and self._policies.edition.covers(request, item.authority, giver, taker, barred)

    def check_taker(self, item: Item, to: Person, request: Request | None, now: datetime) -> None:
        """Raises NotAuthorized when an item cannot be handed to this person.

        An approval needs somebody who may give it; other items also go to those with the skill of the task.
        """
        if item.kind == "approval" or not self._performs_task(item, to, now):
            self.check(item, to, request)

    def _performs_task(self, item: Item, person: Person, now: datetime) -> bool:
        """Whether the router could have given the item's task to this person."""
        skill, roles = str(item.action.get("skill") or ""), item.action.get("roles") or ()
        if person.away(now) or self._off(item.tenant, person.id) or not person.all_roles.issuperset(roles):
            return False
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
        if person.away(self._clock.now()):
            return "they are on leave"
        if item.authority not in person.all_roles:
            return f"the authority {item.authority!r} is missing"
        if not self._policies.who(request, item.authority, [person], barred):
            return "the policies do not permit it, by limit or by rule"
        return ""

    def _performs(self, item: Item, person: Person, request: Request | None) -> str:
        return "" if person.id == item.assignee or _named(item, person) else "the task is somebody else's"

    def _resolves(self, item: Item, person: Person, request: Request | None) -> str:
        if person.id in _apart(item):
            return "who asked for a call, or worked on it, does not say what became of it"
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
        if item.stuck and item.request is not None:
            barred, edition = separated(item.requester, item.excluded), self._policies.edition
            return [*self.who(edition, item.request, item.authority, barred, item.tenant), *self._resolvers(item)]
        if item.kind == "task":
            return [item.assignee] if item.assignee else []
        return self._resolvers(item)

    def _resolvers(self, item: Item) -> list[str]:
        """Operators, and the owner of the workflow."""
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
        if item.decision is not None and item.decision.acting_for:
            return self._still_for(item, item.decision.acting_for, person, request, apart)
        return bool(self._policies.who(request, item.authority, [person], apart))

    def _still_for(self, item: Item, giver: str, taker: Person, request: Request, apart: list[str]) -> bool:
        """A delegation has to have held when the decision was made, and not to be revoked since."""
        at = parse(item.decided_at or "")
        givers = self._delegations.givers(item.tenant, taker, item.authority, at)
        covers = self._policies.edition.covers
        return any(one.id == giver and covers(request, item.authority, one, taker, apart) for one in givers)


def _apart(item: Item) -> list[str]:
    """Who does not answer an exception: of a call whose outcome is unknown, those who asked for it or worked on it."""
    return separated(item.requester, item.excluded) if item.kind == "exception" and item.effect_key else []


def _lacking(reason: str) -> tuple[int, int]:
    """How far a reason is from a yes: that of the permit which lacks least says most."""
    return reason.count("; not "), len(reason)


def as_approval(item: Item) -> Item:
    """The item as the approval that it asks for."""
    return replace(item, kind="approval")


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
