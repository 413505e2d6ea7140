"""Need and who: which approvals would permit a denied call, and which persons may give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from interlock.oversight.actions import APPROVE, Request
from interlock.oversight.actors import Person
from interlock.oversight.contexts import person_entities
from interlock.oversight.slices import Slice

__all__ = ["QUORUM", "approval_request", "candidates", "need", "with_approvals"]

QUORUM = 2
_EVALUATIONS = 64


def need(part: Slice, authorities: list[str], request: Request) -> dict[str, int] | None:
    """The smallest vector of approval counts that permits the request, or None.

    The counts are totals: they include the approvals that the request brings already.
    """
    given = {name: _given(request, name) for name in authorities}
    for vector in _vectors(given):
        if part.ask(with_approvals(request, vector)).allowed:
            return {name: count for name, count in vector.items() if count}
    return None


def _given(request: Request, authority: str) -> int:
    return int(request.context.get("approvals", {}).get(authority, 0))


def _vectors(given: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Vectors that add approvals, the fewest first, then in the order of the authorities; a bounded number."""
    names = list(given)
    steps = [range(max(QUORUM - given[name], 0) + 1) for name in names]
    added = sorted(product(*steps), key=lambda more: (sum(more), [-count for count in more]))
    for more in added[:_EVALUATIONS]:
        yield {name: given[name] + count for name, count in zip(names, more, strict=True)}


def with_approvals(request: Request, counts: Mapping[str, int]) -> Request:
    """The same request with other approval counts; of a gate, `approved` follows."""
    declared: dict[str, int] = request.context.get("approvals", {})
    approvals = {name: counts.get(name, declared[name]) for name in declared}
    context: dict[str, Any] = {**request.context, "approvals": approvals}
    if "approved" in context:
        context["approved"] = counts.get(str(context.get("authority", "")), 0)
    return replace(request, context=context)


def candidates(people: Iterable[Person], authority: str, excluded: Iterable[str]) -> list[Person]:
    """The persons who hold an authority and are kept apart from the case by nothing."""
    barred = set(excluded)
    return [person for person in people if authority in person.all_roles and person.id not in barred]


def approval_request(request: Request, authority: str, person: Person, excluded: Iterable[str]) -> Request:
    """The question whether this person may approve that request under this authority."""
    context = {**request.context, "authority": authority, "excluded": person_entities(excluded)}
    limit = person.limit(authority, str(request.context.get("currency", "")))
    return Request(APPROVE + request.action, person.id, person.all_roles, request.system, context, limit)
