"""Why a request was denied, in words: the forbid that held, or every permit and which of its conditions did not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cedarpy
import orjson
from cedarpy import pst

from interlock.ids import Reason
from interlock.oversight.actions import Request
from interlock.oversight.contexts import AGELESS
from interlock.oversight.slices import Outcome, Slice, policy_set
from interlock.oversight.statements import Statement, path_of, walk

__all__ = ["Condition", "Explainer"]

_PARENS = re.compile(r"(?<![\w.])\(([\w.]+(?:\[\"[^\"]*\"\])?)\)")
_WHEN = re.compile(r"when \{ (.*) \};\s*$", re.S)
_SCOPE = re.compile(r"permit\((principal.*?), action, (resource.*?)\);\s*$", re.S)
_ANY = pst.ScopeAny()
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a policy: `holds` is None when it cannot be evaluated (as after a failed `has`)."""

    text: str
    holds: bool | None
    values: dict[str, Any]

    def __str__(self) -> str:
        shown = ", ".join(f"{path} is {_shown(value)}" for path, value in self.values.items())
        return f"{self.text} ({shown})" if shown else self.text


class Explainer:
    """Asks Cedar for each condition of each policy of an action, one by one."""

    def __init__(self, part: Slice) -> None:
        self._slice = part
        self._probes = {s.id: dict(_probes(s)) for s in part.statements.values()}
        self._texts = {name: _text(node) for probes in self._probes.values() for name, node in probes.items()}
        merged = {name: node for probes in self._probes.values() for name, node in probes.items()}
        self._policies: cedarpy.PolicySet = policy_set(merged)

    def conditions(self, request: Request) -> dict[str, list[Condition]]:
        """The conditions of every policy of the action, by policy id."""
        outcome = self._slice.ask(request, self._policies)
        failed = {policy for policy, _ in outcome.errors}
        return {
            policy: [self._condition(name, node, request, outcome.matched, failed) for name, node in probes.items()]
            for policy, probes in self._probes.items()
        }

    def _condition(
        self, name: str, node: pst.Template, request: Request, matched: list[str], failed: set[str]
    ) -> Condition:
        holds = None if name in failed or "interlock.request" in failed else name in matched
        return Condition(self._texts[name], holds, _values(node, request))

    def reasons(self, request: Request, outcome: Outcome) -> list[Reason]:
        """Reasons of an outcome: failures first, then forbids, then what each permit lacks."""
        statements = self._slice.statements
        if outcome.errors:
            return [
                Reason(policy, f"cannot be evaluated, so the answer is no: {text}") for policy, text in outcome.errors
            ]
        if outcome.matched:
            return [_matched(statements[name]) for name in statements if name in outcome.matched]
        return self._missing(request) or [Reason("interlock.default", f"no policy permits {request.action}")]

    def _missing(self, request: Request) -> list[Reason]:
        conditions = self.conditions(request)
        permits = [s.id for s in self._slice.statements.values() if s.node.effect == "permit"]
        return [Reason(name, _lacks(conditions[name])) for name in permits]


def _matched(statement: Statement) -> Reason:
    verb = "permitted" if statement.node.effect == "permit" else "forbidden"
    return Reason(statement.id, statement.reason or f"{verb} by {statement.id}")


def _lacks(conditions: list[Condition]) -> str:
    false = [c for c in conditions if c.holds is False] or [c for c in conditions if c.holds is None]
    return "does not permit it: not " + "; not ".join(str(condition) for condition in false)


def _probes(statement: Statement) -> Iterator[tuple[str, pst.Template]]:
    """One permit per condition of a policy: its scope, and each part of its `when` and `unless`."""
    node = replace(statement.node, effect="permit", action=_ANY, clauses=(), annotations=pst.FrozenMap())
    if node.principal != _ANY or node.resource != _ANY:
        yield f"{statement.id}#scope", node
    free = replace(node, principal=_ANY, resource=_ANY)
    for number, expr in enumerate(_conjuncts(statement.node.clauses)):
        yield f"{statement.id}#{number}", replace(free, clauses=(pst.When(expr),))


def _conjuncts(clauses: tuple[pst.Clause, ...]) -> Iterator[pst.Expr]:
    for clause in clauses:
        expr = clause.expr if isinstance(clause, pst.When) else pst.UnaryOp("not", clause.expr)
        yield from _split(expr)


def _split(expr: pst.Expr) -> Iterator[pst.Expr]:
    if isinstance(expr, pst.BinaryOp) and expr.op == "and":
        yield from _split(expr.left)
        yield from _split(expr.right)
    else:
        yield expr


def _text(node: pst.Template) -> str:
    """A condition as Cedar writes it, without the brackets around plain names."""
    text = str(policy_set({"text": node}))
    if found := _WHEN.search(text):
        return _bare(found.group(1))
    scope = _SCOPE.search(text)
    return " and ".join(part for part in scope.groups() if " " in part) if scope else text


def _bare(text: str) -> str:
    while (shorter := _PARENS.sub(r"\1", text)) != text:
        text = shorter
    return text


def _values(node: pst.Template, request: Request) -> dict[str, Any]:
    """The values of the context and the principal that a condition reads."""
    values: dict[str, Any] = {}
    if node.principal != _ANY:
        values["principal"] = f"{request.principal} in {', '.join(sorted(request.roles)) or 'no role'}"
    for part in walk(node.clauses):
        path = path_of(part)
        if path and len(path) > 1:
            _note(values, path, request)
    return values


def _note(values: dict[str, Any], path: list[str], request: Request) -> None:
    """Note the value at a path, unless it is a record: its parts are what a condition compares."""
    if path == ["principal", "limit"]:
        values["principal.limit"] = request.limit
        return
    here: Any = request.context if path[0] == "context" else None
    for name in path[1:]:
        here = here.get(name) if isinstance(here, dict) else None
    if here is not None and (not isinstance(here, dict) or "__extn" in here):
        values[".".join(path)] = here


def _shown(value: Any) -> str:
    if value == AGELESS:
        return "unknown"
    if isinstance(value, dict) and "__extn" in value:
        return str(value["__extn"]["arg"])
    if isinstance(value, str):
        return _short(value) if ":" in value else f'"{_short(value)}"'
    return _short(orjson.dumps(value, default=str).decode())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
