"""One small, pre-parsed policy set per action: only the policies whose scope can match it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import cedarpy
import orjson
from cedarpy import pst

from interlock.oversight.actions import Request
from interlock.oversight.contexts import aged_in, earlier_in
from interlock.oversight.schema import Action, schema_of
from interlock.oversight.statements import Statement, path_of, walk

__all__ = ["Outcome", "Slice", "attributes_read", "matches", "paths_read", "policy_set"]

_REMEMBERED = 2048
_FAILED = re.compile(r"policy `(.+?)`")


class Outcome(NamedTuple):
    """What Cedar says: `matched` are the ids of the policies that decided, `errors` those that failed, with texts."""

    allowed: bool
    matched: list[str]
    errors: list[tuple[str, str]]


class Slice:
    """The policies of one action, ready to be asked."""

    def __init__(self, action: Action, statements: Iterable[Statement]) -> None:
        self.action = action
        self.statements = {s.id: s for s in statements if matches(s.node.action, action)}
        self.policies = policy_set({s.id: s.node for s in self.statements.values()})
        reads = attributes_read(s.node for s in self.statements.values())
        # The attributes of the context that these policies read.
        self.reads = sorted(action.context if reads is None else reads & action.context.keys())
        # What has to be looked up among earlier calls: of most actions nothing.
        paths = paths_read(s.node for s in self.statements.values())
        self.earlier, self.aged = earlier_in(action.context, paths), aged_in(action.context, paths)
        # Only what these policies read is sent and type-checked: parsing the context is most of the cost.
        self._schema = schema_of([replace(action, context={name: action.context[name] for name in self.reads})])
        self._entities = lru_cache(maxsize=_REMEMBERED)(self._build_entities)
        self._outcomes = lru_cache(maxsize=_REMEMBERED)(self._ask)

    def ask(self, request: Request, policies: cedarpy.PolicySet | None = None) -> Outcome:
        """One evaluation. A request that does not fit the schema is an outcome with errors, never an exception."""
        who = (request.principal, request.roles, request.limit)
        if policies is not None:
            return self._evaluate([request], policies, self._entities((who,)))[0]
        try:
            return self._outcomes(who, request.system, self._context(request))
        except TypeError as exc:
            return Outcome(False, [], [("interlock.request", str(exc))])

    def _ask(self, who: tuple[str, frozenset[str], int], system: str, context: str) -> Outcome:
        """The outcome depends on nothing else than these, so the same question has the same answer."""
        principal, roles, limit = who
        asked = Request(self.action.name, principal, roles, system, limit=limit)
        return self._evaluate([asked], self.policies, self._entities((who,)), context)[0]

    def ask_all(self, requests: Sequence[Request]) -> list[Outcome]:
        """The same question for many principals at once."""
        if not requests:
            return []
        entities = self._entities(tuple((r.principal, r.roles, r.limit) for r in requests))
        return self._evaluate(requests, self.policies, entities)

    def _evaluate(
        self,
        requests: Sequence[Request],
        policies: cedarpy.PolicySet,
        entities: cedarpy.Entities,
        context: str | None = None,
    ) -> list[Outcome]:
        try:
            asked = [self._cedar(request, context) for request in requests]
            results = cedarpy.is_authorized_batch(asked, policies, entities, self._schema)
        except (TypeError, ValueError) as exc:
            return [Outcome(False, [], [("interlock.request", str(exc))])] * len(requests)
        return [_outcome(result) for result in results]

    def _context(self, request: Request) -> str:
        """The attributes that these policies read, as JSON. Raises TypeError on what JSON cannot say."""
        return orjson.dumps({name: request.context[name] for name in self.reads if name in request.context}).decode()

    def _cedar(self, request: Request, context: str | None) -> dict[str, Any]:
        return {
            "principal": uid(request.principal),
            "action": {"type": "Interlock::Action", "id": self.action.name},
            "resource": {"type": "Interlock::System", "id": request.system or "interlock"},
            "context": self._context(request) if context is None else context,
        }

    def _build_entities(self, principals: tuple[tuple[str, frozenset[str], int], ...]) -> cedarpy.Entities:
        found = {name: _principal(name, roles, limit) for name, roles, limit in principals}
        parents = [{"type": "Interlock::Action", "id": parent} for parent in self.action.parents]
        own = {"uid": {"type": "Interlock::Action", "id": self.action.name}, "attrs": {}, "parents": parents}
        return cedarpy.Entities.from_json_str(orjson.dumps([own, *found.values()]).decode())


def uid(actor_id: str) -> dict[str, str]:
    kind, _, name = actor_id.partition(":")
    return {"type": "Interlock::Person" if kind == "person" else "Interlock::Agent", "id": name}


def _principal(actor_id: str, roles: frozenset[str], limit: int) -> dict[str, Any]:
    attrs = {"limit": limit} if actor_id.startswith("person:") else {}
    parents = [{"type": "Interlock::Role", "id": role} for role in sorted(roles)]
    return {"uid": uid(actor_id), "attrs": attrs, "parents": parents}


def _outcome(result: cedarpy.AuthzResult) -> Outcome:
    errors = [(_culprit(text), text) for text in result.diagnostics.errors]
    return Outcome(result.allowed and not errors, result.diagnostics.reasons, errors)


def _culprit(text: str) -> str:
    found = _FAILED.search(text)
    return found.group(1) if found and text.startswith("error while evaluating") else "interlock.request"


def policy_set(templates: Mapping[str, pst.Template]) -> cedarpy.PolicySet:
    """A policy set in which each policy bears the id given here, so that reasons need no mapping."""
    named = {name: replace(node, id=name) for name, node in templates.items()}
    return cedarpy.PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), pst.FrozenMap(named), ()))


def matches(scope: pst.ActionConstraint, action: Action) -> bool:
    """Whether a policy with this action scope can apply to an action."""
    if isinstance(scope, pst.ScopeAny):
        return True
    if isinstance(scope, pst.ActionEq):
        return isinstance(scope.entity, pst.EntityUid) and scope.entity.id == action.name
    return any(entity.id in (action.name, *action.parents) for entity in scope.entities)


def paths_read(nodes: Iterable[pst.Template]) -> set[str]:
    """The longest dotted paths of the context that policies read; "" where one uses the context as a whole."""
    whole, parts = Counter[str](), Counter[str]()
    for part in (part for node in nodes for part in walk(node.clauses)):
        whole.update(_dotted(part))
        if isinstance(part, pst.GetAttr):
            parts.update(_dotted(part.base))
    return set(whole - parts)


def _dotted(node: object) -> list[str]:
    path = path_of(node)
    return [".".join(path[1:])] if path and path[0] == "context" else []


def attributes_read(nodes: Iterable[pst.Template]) -> set[str] | None:
    """The context attributes that policies read or test; None when one uses the context as a whole."""
    read: set[str] = set()
    for node in nodes:
        whole = 0
        for part in walk(node.clauses):
            whole += part == pst.Var("context")
            if isinstance(part, pst.GetAttr) and part.base == pst.Var("context"):
                read.add(part.attr)
                whole -= 1
            elif isinstance(part, pst.HasAttr) and part.base == pst.Var("context"):
                read.add(part.attrs[0])
                whole -= 1
        if whole:
            return None
    return read
