"""The numeric limits of a policy set, and what is decided just below, at and just above each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from interlock.ids import canonical
from interlock.oversight.actions import APPROVE, Request
from interlock.oversight.edition import Edition
from interlock.oversight.need import with_approvals
from interlock.oversight.reach import known_of
from interlock.oversight.regions import HIGHEST, LOWEST, Linear, Region, TooMany, regions_of
from interlock.oversight.schema import Action
from interlock.oversight.slices import Slice, policy_set
from interlock.oversight.statements import Statement
from interlock.oversight.witness import solved, witness

__all__ = ["Boundary", "Decided", "boundaries"]

_SUMS = ("context.totals.", "context.counts.", "context.repeats.")
_UNFOUND = "no request was found that satisfies the other conditions of this policy"


@dataclass(frozen=True)
class Decided:
    """What is decided of a request that brings no approvals, under which value of what is limited, and by which
    policies; a denial that no policy asks for has none."""

    value: int
    decision: str
    need: dict[str, int]
    policies: list[str]

    def __str__(self) -> str:
        who = " and ".join(f"{count} of {name}" for name, count in self.need.items())
        return f"{self.decision}: {who}" if who else self.decision


@dataclass(frozen=True)
class Boundary:
    """One limit of one policy on one action. Without a witness there are no decisions, and `note` says why."""

    action: str
    policy: str
    file: str
    line: int
    limit: str
    below: Decided | None
    at: Decided | None
    above: Decided | None
    note: str = ""

    @property
    def lifted_by(self) -> dict[str, int]:
        """The approvals that lift it, if it limits sums or counts of earlier calls."""
        decided = [one for one in (self.below, self.at, self.above) if one is not None and one.need]
        return decided[0].need if decided and any(name in self.limit for name in _SUMS) else {}


def boundaries(edition: Edition, action: str | None = None, *, sums: bool = False) -> list[Boundary]:
    """Every limit of every action, or of one, or on sums and counts only; in the order of the texts.

    An invalid edition has none.
    """
    names = edition.actions if action is None else [action]
    found: list[Boundary] = []
    kinds: dict[Any, list[Boundary]] = {}
    for part in filter(None, map(edition.slice, names)):
        kind = _kind(part)
        if kind not in kinds:  # a policy for a group may apply to a hundred actions that are decided alike
            kinds[kind] = list(_of_action(edition, part, sums))
        found += [replace(one, action=part.action.name) for one in kinds[kind]]
    return sorted(found, key=lambda one: (one.file, one.line, one.action, one.limit))


def _kind(part: Slice) -> Any:
    """What decisions about an action depend on beside its name."""
    action, spec = part.action, part.action.spec
    told = action.name.startswith(APPROVE), spec.effect, spec.system, spec.scope
    return (*told, tuple(part.statements), canonical(dict(action.context)))


def _of_action(edition: Edition, part: Slice, sums: bool) -> Iterator[Boundary]:
    for statement in part.statements.values():
        try:
            regions = regions_of(statement.node)
        except TooMany:
            yield _boundary(part.action, statement, "", None, "its conditions have too many alternatives")
            continue
        seen: dict[tuple[Linear, int], Boundary] = {}
        for region in regions:
            for key, at, sign in _limits(region):
                if sums and not any(path.startswith(_SUMS) for path, _ in key):
                    continue
                if (key, at) not in seen or seen[key, at].note:
                    seen[key, at] = _at(edition, part, statement, region, (key, at, sign))
        yield from seen.values()


def _limits(region: Region) -> Iterator[tuple[Linear, int, str]]:
    """The finite ends of what the region allows; approvals are what is asked for, no limit."""
    for key, (low, high) in region.longs.items():
        if any(path.startswith("context.approvals.") or path == "context.approved" for path, _ in key):
            continue
        if low == high:
            yield key, low, "=="
            continue
        if low > LOWEST:
            yield key, low, ">="
        if high < HIGHEST:
            yield key, high, "<="


def _at(
    edition: Edition, part: Slice, statement: Statement, region: Region, limit: tuple[Linear, int, str]
) -> Boundary:
    """Try the limit: inside it the policy must apply, or the request is no witness."""
    key, at, sign = limit
    told = _told(key, sign, at)
    inside = region.meet(known_of(part.action))
    requests = [_request(part.action, inside, key, at + step) for step in (-1, 0, 1)] if inside else [None] * 3
    if requests[1] is None or not _applies(part, statement, requests[1]):
        return _boundary(part.action, statement, told, None, _UNFOUND)
    return _boundary(part.action, statement, told, [_decided(edition, part, r, key) if r else None for r in requests])


def _request(action: Action, region: Region, key: Linear, value: int) -> Request | None:
    numbers = solved(region, key, value)
    fits = numbers is not None and all(LOWEST <= number <= HIGHEST for number in numbers.values())
    return witness(action, region, numbers) if numbers is not None and fits else None


def _applies(part: Slice, statement: Statement, request: Request) -> bool:
    alone = policy_set({statement.id: replace(statement.node, effect="permit")})
    return part.ask(request, alone).allowed


def _decided(edition: Edition, part: Slice, request: Request, key: Linear) -> Decided:
    asked = with_approvals(request, dict.fromkeys(request.context["approvals"], 0))
    outcome = part.ask(asked)
    wanted = {} if outcome.allowed else edition.need(asked) or {}
    decision = "allowed" if outcome.allowed else "asked" if wanted else "denied"
    return Decided(_sum(asked, key), decision, wanted, outcome.matched)


def _sum(request: Request, key: Linear) -> int:
    return sum(factor * _number(request, path) for path, factor in key)


def _number(request: Request, path: str) -> int:
    if path == "principal.limit":
        return request.limit
    here: Any = request.context
    for name in path.split(".")[1:]:
        here = here[name]
    return int(here)


def _told(key: Linear, sign: str, at: int) -> str:
    """`context.amount <= 100000`; what is subtracted stands on the other side."""
    left = " + ".join(_part(path, factor) for path, factor in key if factor > 0)
    right = [_part(path, -factor) for path, factor in key if factor < 0]
    return f"{left} {sign} {' + '.join([*right, *([str(at)] if at or not right else [])])}"


def _part(path: str, factor: int) -> str:
    return path if factor == 1 else f"{factor} * {path}"


def _boundary(
    action: Action, statement: Statement, limit: str, decided: list[Decided | None] | None, note: str = ""
) -> Boundary:
    below, at, above = decided or [None] * 3
    return Boundary(action.name, statement.id, statement.file, statement.line, limit, below, at, above, note)
