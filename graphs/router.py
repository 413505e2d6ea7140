"""The task router: who performs a task, by rules, permission, workload and cost; with its reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interlock.agents.agent import Agent
from interlock.graphs.rules import Rule
from interlock.graphs.task import TaskSpec
from interlock.oversight.actors import Actor, Person

__all__ = ["Choice", "Facts", "Rule", "choose"]


@dataclass(frozen=True)
class Facts:
    """What the router knows when it chooses. `forbidden(actor)` gives a reason why not, or None."""

    forbidden: Callable[[Actor], str | None]
    load: Mapping[str, int] = field(default_factory=dict)
    case: Any = None
    forced: str | None = None
    forced_by: str = ""


@dataclass(frozen=True)
class Choice:
    """`actor` None: nobody is eligible, and `why` says why."""

    actor: str | None
    kind: str
    why: list[str]
    considered: list[dict[str, Any]]


def choose(task: TaskSpec, candidates: Iterable[Actor], facts: Facts) -> Choice:
    """Pick an actor: the eligible set, then the rules in order, then agents before people, low load, low cost, id."""
    judged = [(actor, _objection(task, actor, facts)) for actor in candidates]
    considered = [{"actor": a.id, "eligible": why is None, "why": why or "eligible"} for a, why in judged]
    eligible = [actor for actor, why in judged if why is None]
    if facts.forced is not None:
        return _forced(task, facts, eligible, considered)
    eligible, reasons = _apply_rules(task, eligible, facts)
    if not eligible:
        refused = [f"{c['actor']}: {c['why']}" for c in considered if not c["eligible"]]
        nobody = reasons or refused or [f"nobody has the skill {task.skill!r}"]
        return Choice(None, "none", nobody, considered)
    best = min(eligible, key=lambda a: _rank(a, facts))
    load = facts.load.get(best.id, 0)
    return Choice(best.id, _kind(best), [*reasons, f"skill {task.skill}, {load} open tasks"], considered)


def _objection(task: TaskSpec, actor: Actor, facts: Facts) -> str | None:
    if task.skill not in actor.skills:
        return f"lacks the skill {task.skill!r}"
    if missing := sorted(task.roles - actor.all_roles):
        return f"lacks the role {', '.join(missing)}"
    if isinstance(actor, Agent) and (lacking := sorted(task.scopes - actor.scopes)):
        return f"lacks the scope {', '.join(lacking)}"
    if actor.capacity is not None and facts.load.get(actor.id, 0) >= actor.capacity:
        return f"is at its capacity of {actor.capacity} open tasks"
    return facts.forbidden(actor)


def _forced(task: TaskSpec, facts: Facts, eligible: list[Actor], considered: list[dict[str, Any]]) -> Choice:
    for actor in eligible:
        if actor.id == facts.forced:
            return Choice(actor.id, _kind(actor), [facts.forced_by], considered)
    objections = [c["why"] for c in considered if c["actor"] == facts.forced]
    why = objections[0] if objections else f"is not registered for the skill {task.skill!r}"
    return Choice(None, "none", [f"{facts.forced_by}: {facts.forced} is not eligible: {why}"], considered)


def _apply_rules(task: TaskSpec, eligible: list[Actor], facts: Facts) -> tuple[list[Actor], list[str]]:
    reasons: list[str] = []
    for rule in task.rules:
        if not rule.when(task, facts.case):
            continue
        left = _after(rule, eligible)
        if left != eligible:
            reasons.append(rule.why or "a rule of the workflow")
        eligible = left
    return eligible, reasons


def _after(rule: Rule, eligible: list[Actor]) -> list[Actor]:
    if rule.exclude is not None:
        eligible = [a for a in eligible if not rule.matches(a, rule.exclude)]
    if rule.assign is not None:
        eligible = [a for a in eligible if rule.matches(a, rule.assign)]
    if rule.prefer is not None:
        return [a for a in eligible if rule.matches(a, rule.prefer)] or eligible
    return eligible


def _rank(actor: Actor, facts: Facts) -> tuple[bool, float, float, str]:
    cost = actor.cost.amount if isinstance(actor, Agent) and actor.cost else 0
    room = actor.capacity or 1_000_000
    return isinstance(actor, Person), facts.load.get(actor.id, 0) / room, cost, actor.id


def _kind(actor: Actor) -> str:
    return actor.id.partition(":")[0]
