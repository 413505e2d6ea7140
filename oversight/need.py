"""Need and who: which approvals would permit a denied call, and which persons may give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from interlock.oversight.actions import APPROVE, Request
from interlock.oversight.actors import Person
from interlock.oversight.contexts import person_entities
from interlock.oversight.slices import Slice

__all__ = [
    "QUORUM",
    "approval_request",
    "candidates",
    "gate_need",
    "kept_apart",
    "need",
    "owner_id",
    "separated",
    "with_approvals",
]

QUORUM = 2
# All counts of four authorities, the operator among them.
_EVALUATIONS = (QUORUM + 1) ** 4


def need(part: Slice, authorities: list[str], request: Request) -> dict[str, int] | None:
    """The smallest vector of approval counts that permits the request, or None.

    The counts are totals: they include the approvals that the request brings already.
    """
    given = {name: _given(request, name) for name in authorities}
    for vector in _vectors(given):
        if part.ask(with_approvals(request, vector)).allowed:
            return {name: count for name, count in vector.items() if count}
    return None


def gate_need(needed: Mapping[str, int] | None, own: Mapping[str, int], given: Mapping[str, int]) -> dict[str, int]:
    """The approvals that a gate itself and the policies ask for, as totals; empty when none is missing or would help.

    `needed` is what the policies ask for. One that lets the case pass without any approval asks nobody; then the gate
    does not either.
    """
    if needed is None or not (needed or given):
        return {}
    wanted = {name: max(count, needed.get(name, 0)) for name, count in own.items()}
    wanted |= {name: count for name, count in needed.items() if name not in wanted}
    return wanted if any(count > given.get(name, 0) for name, count in wanted.items()) else {}


def _given(request: Request, authority: str) -> int:
    return int(request.context.get("approvals", {}).get(authority, 0))


def _vectors(given: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Vectors that add approvals, the fewest first, then in the order of the authorities; a bounded number."""
    rooms = [max(QUORUM - count, 0) for count in given.values()]
    added = (more for total in range(sum(rooms) + 1) for more in _spread(total, rooms))
    for more in islice(added, _EVALUATIONS):
        yield {name: given[name] + count for name, count in zip(given, more, strict=True)}


def _spread(total: int, rooms: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every way to add up to a total with at most so many in each place; the first places first."""
    if not rooms:
        yield ()
        return
    for count in range(min(total, rooms[0]), max(total - sum(rooms[1:]), 0) - 1, -1):
        for rest in _spread(total - count, rooms[1:]):
            yield (count, *rest)


def with_approvals(request: Request, counts: Mapping[str, int]) -> Request:
    """The same request with other approval counts; of a gate, `approved` follows."""
    declared: dict[str, int] = request.context.get("approvals", {})
    approvals = {name: counts.get(name, declared[name]) for name in declared}
    context: dict[str, Any] = {**request.context, "approvals": approvals}
    if "approved" in context:
        context["approved"] = counts.get(str(context.get("authority", "")), 0)
    return replace(request, context=context)


def separated(*groups: str | Iterable[str] | None) -> list[str]:
    """The persons among requester, preparers, owner and earlier approvers: they may not approve."""
    ids: set[str] = set()
    for group in groups:
        ids.update([group] if isinstance(group, str) else group or ())
    return sorted(one for one in ids if one.startswith("person:"))


def kept_apart(request: Request, person: Person, barred: Iterable[str]) -> list[str]:
    """Why a person is kept apart from a request by the part they have in it; empty when they are not."""
    if person.id not in barred:
        return []
    parts = [("requester", "asked for it"), ("preparers", "prepared the case")]
    taken = [said for name, said in parts if person.id in separated(request.context.get(name))]
    return taken or ["owns the agent, or has approved before"]


def owner_id(owner: str) -> list[str]:
    """The id of the person whom an owner, `ana` or `person:ana`, may be."""
    return [owner if owner.startswith(f"{Person.prefix}:") else f"{Person.prefix}:{owner}"] if owner else []


def candidates(people: Iterable[Person], authority: str, excluded: Iterable[str]) -> list[Person]:
    """The persons who hold an authority and are kept apart from the case by nothing."""
    barred = set(excluded)
    return [person for person in people if authority in person.all_roles and person.id not in barred]


def approval_request(request: Request, authority: str, person: Person, excluded: Iterable[str]) -> Request:
    """The question whether this person may approve that request under this authority."""
    acted = sorted(request.acted.get(person.id, ()))
    context = {**request.context, "authority": authority, "excluded": person_entities(excluded), "acted": acted}
    limit = person.limit(authority, str(request.context.get("currency", "")))
    return Request(APPROVE + request.action, person.id, person.all_roles, request.system, context, limit)
