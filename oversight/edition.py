"""One edition of the policies: their texts bound to actions. It never changes, so one decision never mixes two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from interlock.ids import Reason, digest
from interlock.oversight.actions import APPROVE, BUILTINS, ActionSpec, Request, Verdict
from interlock.oversight.actors import Person
from interlock.oversight.contexts import complete_context, person_entities
from interlock.oversight.duties import fitting
from interlock.oversight.explain import Explainer
from interlock.oversight.need import approval_request, candidates, kept_apart, need, separated
from interlock.oversight.reach import dead_rules
from interlock.oversight.schema import Action, actions_of
from interlock.oversight.slices import Slice
from interlock.oversight.sources import actions_named, applicable
from interlock.oversight.statements import Problem, Statement, read_statements
from interlock.oversight.suggest import closest, did_you_mean
from interlock.oversight.validate import authorities_named, history_problems, role_hints, validate

__all__ = ["OPERATOR", "Binding", "Edition"]

INVALID = "interlock.policies"
SEPARATION = "interlock.separation"
# Who lifts a taint and answers exceptions; the shipped policies name this authority.
OPERATOR = "operator"
_UNBOUND = Problem("", 1, 1, "the policies are not bound to actions yet", "call bind, or plane.ready()")


@dataclass(frozen=True)
class Binding:
    """What policies are bound to: the actions there are, the roles in use, the authorities that somebody holds."""

    actions: tuple[ActionSpec, ...]
    roles: frozenset[str]
    authorities: frozenset[str]


class Edition:
    """A policy set, validated and cut into slices. Everything is denied by one that is invalid or not bound."""

    def __init__(
        self, files: Mapping[str, str], binding: Binding | None, *, shipped: bool, unread: Iterable[Problem] = ()
    ) -> None:
        self.files = dict(files)
        self.unread = list(unread)
        self.version = digest(self.files)[:16]
        self.problems: list[Problem] = [_UNBOUND]
        self.actions: dict[str, Action] = {}
        self.statements: list[Statement] = []
        self._in_use: set[str] = set()
        self._shipped = shipped
        self._slices: dict[str, Slice] = {}
        self._explainers: dict[str, Explainer] = {}
        if binding is not None:
            self._bind(binding)

    def _bind(self, binding: Binding) -> None:
        names = {spec.name for spec in binding.actions}
        specs = [*binding.actions, *(spec for spec in BUILTINS if spec.name not in names)]
        statements, problems = self._read()
        statements = fitting(statements, {spec.name for spec in specs if spec.effect == "gate"})
        known = {OPERATOR, *binding.authorities}
        self.actions = actions_of(specs, known)
        if self._shipped:
            everything = {*self.actions, *(parent for action in self.actions.values() for parent in action.parents)}
            statements = applicable(statements, everything)
        self._in_use = {*known, *binding.roles}
        self.actions = actions_of(specs, known | _unheld(statements, known, self._in_use))
        others = actions_named(statements) if self._shipped else ()
        self.statements = statements
        problems += [] if self._shipped else history_problems(statements, self.actions)
        self.problems = sorted({*problems, *validate(statements, self.actions, others)})
        valid = {} if self.problems else self.actions
        self._slices = {name: Slice(action, statements) for name, action in valid.items()}

    def _read(self) -> tuple[list[Statement], list[Problem]]:
        statements: list[Statement] = []
        problems = list(self.unread)
        for file, text in self.files.items():
            found, wrong = read_statements(file, text)
            statements += found
            problems += wrong
        return statements, problems

    @cached_property
    def hints(self) -> list[Problem]:
        """What is valid and still looks odd: roles that nobody is in, rules that change nothing."""
        roles = [] if self._shipped else role_hints(self.statements, self._in_use)
        return sorted([*roles, *([] if self.problems else dead_rules(self.statements, self.actions))])

    def slice(self, action: str) -> Slice | None:
        """The policies of an action; None when the edition is invalid, or has no such action."""
        return self._slices.get(action)

    def complete_context(self, action: str, partial: Mapping[str, Any]) -> dict[str, Any]:
        """All attributes of an action's context: what `partial` lacks gets a neutral value."""
        known = self.actions.get(action)
        return dict(partial) if known is None else complete_context(known.context, known.spec, partial)

    def decide(self, request: Request) -> Verdict:
        """Allow or deny, with reasons. Never raises: what cannot be evaluated is denied."""
        refusal = self._refusal(request)
        if refusal is not None:
            return Verdict(False, [refusal], self.version)
        outcome = self._slices[request.action].ask(request)
        return Verdict(outcome.allowed, self._explainer(request.action).reasons(request, outcome), self.version)

    def _refusal(self, request: Request) -> Reason | None:
        if self.problems:
            return Reason(INVALID, f"the policy set is invalid: {self.problems[0]}")
        if request.action not in self._slices:
            return Reason(INVALID, f"no action {request.action!r} {did_you_mean(request.action, self._slices)}".strip())
        if request.action.startswith(APPROVE) and not _independent(request):
            return Reason(SEPARATION, f"{request.principal} takes part in the case, or is no person")
        return None

    def need(self, request: Request) -> dict[str, int] | None:
        """The smallest approval counts (totals by authority) that permit the request; {} if it is permitted already."""
        if self._refusal(request) is not None:
            return None
        part = self._slices[request.action]
        named = authorities_named(statement.node for statement in part.statements.values())
        gate = str(request.context.get("authority", ""))
        return need(part, list(dict.fromkeys(name for name in (gate, *named) if name)), request)

    def who(
        self, request: Request, authority: str, people: Iterable[Person], excluded: Iterable[str] = ()
    ) -> list[str]:
        """The ids of those who may approve the request under an authority: its holders, whom the policies permit.

        The request's requester and preparers are excluded in any case.
        """
        action = APPROVE + request.action
        barred = separated(excluded, request.context.get("requester"), request.context.get("preparers"))
        asked = [approval_request(request, authority, p, barred) for p in candidates(people, authority, barred)]
        if action not in self._slices:
            return []
        outcomes = self._slices[action].ask_all(asked)
        return [one.principal for one, outcome in zip(asked, outcomes, strict=True) if outcome.allowed]

    def covers(
        self, request: Request, authority: str, giver: Person, taker: Person, excluded: Iterable[str] = ()
    ) -> bool:
        """Whether a taker may approve in a giver's place: the giver may, and nothing forbids it to the taker."""
        barred = separated(excluded, request.context.get("requester"), request.context.get("preparers"))
        if {giver.id, taker.id} & set(barred) or not self.who(request, authority, [giver], barred):
            return False
        given = approval_request(request, authority, giver, barred)
        # Both count: neither may do through the other what they have to leave alone.
        acted = sorted({*given.context["acted"], *request.acted.get(taker.id, ())})
        context = {**given.context, "acted": acted}
        asked = replace(given, principal=taker.id, roles=taker.all_roles | {authority}, context=context)
        outcome = self._slices[APPROVE + request.action].ask(asked)
        # Not every permit knows the taker, as one that names the giver; a forbid that matches always counts.
        return outcome.allowed or not (outcome.matched or outcome.errors)

    def explain(self, request: Request, people: Iterable[Person] = (), excluded: Iterable[str] = ()) -> dict[str, Any]:
        """Everything about one request: decision, reasons, need, who may approve, who not, each policy's conditions."""
        verdict = self.decide(request)
        wanted = None if verdict.allowed else self.need(request)
        listed = list(people)
        return {
            "decision": "allowed" if verdict.allowed else "asked" if wanted else "denied",
            "reasons": [list(reason) for reason in verdict.reasons],
            "version": self.version,
            "need": wanted,
            "who": {name: self.who(request, name, listed, excluded) for name in wanted or {}},
            "who_not": {name: self.who_not(request, name, listed, excluded) for name in wanted or {}},
            "policies": self._conditions(request),
        }

    def who_not(
        self, request: Request, authority: str, people: Iterable[Person], excluded: Iterable[str]
    ) -> dict[str, list[str]]:
        """Why each of the other persons may not approve: kept apart, without the authority, or by which policies."""
        barred = separated(excluded, request.context.get("requester"), request.context.get("preparers"))
        why = {p.id: kept_apart(request, p, barred) or self._denied(request, authority, p, barred) for p in people}
        return {name: reasons for name, reasons in why.items() if reasons}

    def _denied(self, request: Request, authority: str, person: Person, barred: list[str]) -> list[str]:
        if authority not in person.all_roles:
            return [f"does not hold the authority {authority!r}"]
        verdict = self.decide(approval_request(request, authority, person, barred))
        return [] if verdict.allowed else [f"{reason.policy}: {reason.text}" for reason in verdict.reasons]

    def _conditions(self, request: Request) -> list[dict[str, Any]]:
        if self._refusal(request) is not None:
            return []
        found = self._explainer(request.action).conditions(request)
        statements = self._slices[request.action].statements
        return [
            {
                "id": name,
                "effect": statements[name].node.effect,
                "file": statements[name].file,
                "line": statements[name].line,
                "conditions": [{"text": c.text, "holds": c.holds, "values": c.values} for c in conditions],
            }
            for name, conditions in found.items()
        ]

    def _explainer(self, action: str) -> Explainer:
        if action not in self._explainers:
            self._explainers[action] = Explainer(self._slices[action])
        return self._explainers[action]


def _independent(request: Request) -> bool:
    """Whether an approver is a person and none of those whom the request excludes."""
    itself, excluded = person_entities([request.principal]), request.context.get("excluded", [])
    return bool(itself) and isinstance(excluded, list) and itself[0] not in excluded


def _unheld(statements: Iterable[Statement], known: set[str], in_use: set[str]) -> set[str]:
    """Authorities that policies count and nobody holds today, without those that look misspelled."""
    named = set(authorities_named(statement.node for statement in statements)) - known
    return {name for name in named if name in in_use or closest(name, in_use) is None}
