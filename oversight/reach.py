"""Rules that never make a difference: their conditions contradict, or other rules of the same actions decide anyway.

Only what is certain is reported. A rule that fails on evaluation denies, so it never makes another one matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cedarpy import pst

from interlock.oversight.actions import APPROVE
from interlock.oversight.contexts import leaves
from interlock.oversight.regions import HIGHEST, Region, Texts, TooMany, regions_of
from interlock.oversight.schema import Action
from interlock.oversight.slices import matches
from interlock.oversight.statements import Problem, Statement

__all__ = ["dead_rules", "known_of"]

_COUNTED = ("approvals", "counts", "repeats")
_CONTEXT = pst.Var("context")


def dead_rules(rules: Iterable[Statement], actions: Mapping[str, Action]) -> list[Problem]:
    """Statements that can never hold, are always forbidden, or hold only where another one does."""
    listed = _broadest_first(rules, actions)
    why: dict[str, list[str]] = {statement.id: [] for statement in listed}
    lively: set[str] = set()
    for statements, known in _kinds(listed, actions.values()):
        found = _regions(statements, known)
        for statement, regions in found.items():
            reason = _dead(statement, regions, found)
            why[statement.id] += [reason] if reason else []
            lively |= set() if reason else {statement.id}
    return sorted(_problem(s, why[s.id]) for s in listed if why[s.id] and s.id not in lively)


def _broadest_first(statements: Iterable[Statement], actions: Mapping[str, Action]) -> list[Statement]:
    """In the order of how many actions they are for, then of the text."""
    listed = sorted(statements, key=lambda s: (s.file, s.line, s.column))
    return sorted(listed, key=lambda s: -sum(matches(s.node.action, action) for action in actions.values()))


def _kinds(listed: list[Statement], actions: Iterable[Action]) -> Iterator[tuple[list[Statement], Region]]:
    """The statements of each action, and what is known of it; once where several actions have the same."""
    seen: list[tuple[list[Statement], Region]] = []
    for action in actions:
        kind = [s for s in listed if matches(s.node.action, action)], known_of(action)
        if kind not in seen:
            seen.append(kind)
            yield kind


def known_of(action: Action) -> Region:
    """What holds for every request of an action: its effect, system and scope, and that counts are not negative."""
    spec = action.spec
    texts = {"effect": spec.effect, "system": spec.system, "scope": spec.scope}
    counted = [f"context.{leaf}" for name in _COUNTED for leaf in leaves(name, action.context[name])]
    person = pst.Is(pst.Var("principal"), pst.EntityType("Person", ("Interlock",)), None)
    return Region(
        {((path, 1),): (0, HIGHEST) for path in counted},
        {pst.GetAttr(_CONTEXT, name): Texts(frozenset({value})) for name, value in texts.items()},
        {person: True} if action.name.startswith(APPROVE) else {},
    )


def _regions(statements: Sequence[Statement], known: Region) -> dict[Statement, list[Region] | None]:
    """The alternatives of each statement; None where there are too many to look at."""
    found: dict[Statement, list[Region] | None] = {}
    for statement in statements:
        try:
            found[statement] = regions_of(statement.node, known)
        except TooMany:
            found[statement] = None
    return found


def _dead(
    statement: Statement, regions: list[Region] | None, others: Mapping[Statement, list[Region] | None]
) -> str | None:
    if regions is None:
        return None
    if not regions:
        return "its conditions contradict each other, so it never holds"
    before = True  # of two that hold in the same places the later one is the one too many
    for other, theirs in others.items():
        before = before and other is not statement
        if other is statement or not theirs or not _covered(regions, theirs):
            continue
        if other.node.effect == statement.node.effect:
            if before or not _covered(theirs, regions):
                return f"wherever it holds, {other.id} ({other.file}:{other.line}) holds as well"
        elif statement.node.effect == "permit":
            return f"wherever it holds, {other.id} ({other.file}:{other.line}) forbids"
    return None


def _covered(regions: list[Region], theirs: list[Region]) -> bool:
    return all(any(region.within(other) for other in theirs) for region in regions)


def _problem(statement: Statement, reasons: list[str]) -> Problem:
    told = " / ".join(dict.fromkeys(reasons))
    return statement.problem(f"{statement.id} changes nothing: {told}", "correct its conditions, or delete it")
