"""All that is wrong with a policy set, found before its first decision."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import cedarpy
from cedarpy import pst

from interlock.oversight.cedar_types import CedarType
from interlock.oversight.contexts import earlier_in
from interlock.oversight.schema import Action, schema_of
from interlock.oversight.slices import matches, paths_read
from interlock.oversight.statements import Problem, Statement, path_of, walk
from interlock.oversight.suggest import TYPES, closest, did_you_mean

__all__ = ["authorities_named", "history_problems", "role_hints", "validate"]

_ACTION = re.compile(r'unrecognized action `Interlock::Action::"(?P<name>.*)"`')
_TYPE = re.compile(r"unrecognized entity type `(?P<name>.*)`")
_ATTRIBUTE = re.compile(
    r'(?:attribute|access to optional attribute) `(?P<path>.*)` in context for Interlock::Action::"(?P<action>.*?)"'
)
_CALLS = ("read", "write", "compensate")
_NO_ACTION = "unable to find an applicable action"


def validate(
    statements: Iterable[Statement], actions: Mapping[str, Action], others: Iterable[str] = ()
) -> list[Problem]:
    """Every problem of every statement, in the order of the text. `others` are actions that need not be there."""
    listed = list(statements)
    schema = schema_of(actions.values(), others)
    found = _doubles(listed)
    for statement in listed:
        found += _validated(statement, actions, schema)
        found += _untested(statement, actions)
    return found


def _doubles(statements: list[Statement]) -> list[Problem]:
    counts = Counter(statement.id for statement in statements)
    return [
        statement.problem(f"the id {statement.id!r} is used twice", "give each policy an @id of its own")
        for statement in statements
        if counts[statement.id] > 1
    ]


def _validated(statement: Statement, actions: Mapping[str, Action], schema: cedarpy.Schema) -> list[Problem]:
    result = cedarpy.validate_policies(statement.text, schema)
    texts = [error.error.split("`, ", 1)[-1] for error in result.errors]
    real = [text for text in texts if not text.startswith(_NO_ACTION)]
    if texts and not real and _matched(statement, actions):
        return [statement.problem("no action of this policy takes such a principal", "only persons approve")]
    return list(dict.fromkeys(_problem(statement, text, actions) for text in real))


def _matched(statement: Statement, actions: Mapping[str, Action]) -> list[Action]:
    """The actions that a policy applies to: none for a rule about a group that is still empty."""
    return [action for action in actions.values() if matches(statement.node.action, action)]


def _problem(statement: Statement, text: str, actions: Mapping[str, Action]) -> Problem:
    if found := _ACTION.search(text):
        return _unknown_action(statement, found["name"], actions)
    if found := _TYPE.search(text):
        name = found["name"].split("::")[-1]
        return statement.problem(f"no entity type {found['name']}", did_you_mean(name, TYPES), near=name)
    if found := _ATTRIBUTE.search(text):
        return _attribute(statement, found["path"], found["action"], actions, missing="not found" in text)
    if "on entity type `Interlock::Agent`" in text:
        return statement.problem(text, "only persons have it: write principal is Interlock::Person", near="principal")
    return statement.problem(text)


def _unknown_action(statement: Statement, name: str, actions: Mapping[str, Action]) -> Problem:
    known = {*actions, *(parent for action in actions.values() for parent in action.parents)}
    return statement.problem(f"no action {name!r}", did_you_mean(name, sorted(known)), near=name)


def _attribute(
    statement: Statement, path: str, action: str, actions: Mapping[str, Action], *, missing: bool
) -> Problem:
    parts = path.split(".")
    near = parts[-1]
    if not missing:
        return statement.problem(f"context.{path} may be absent", f"test it: {_has(parts)} && ...", near=near)
    if parts[0] in {"args", "origins", "ages"} and _elsewhere(statement, parts, actions):
        message = f"context.{path} is an argument of some actions only, but this policy applies to others too"
        return statement.problem(message, "name the one action in the scope: action == ...", near=near)
    return statement.problem(f"context has no {path}", _known_at(parts, actions[action]), near=near)


def _has(parts: list[str]) -> str:
    return f"{'.'.join(['context', *parts[:-1]])} has {parts[-1]}"


def _elsewhere(statement: Statement, parts: list[str], actions: Mapping[str, Action]) -> bool:
    return any(_resolve(action.context, parts) for action in _matched(statement, actions))


def _known_at(parts: list[str], action: Action) -> str:
    if parts[0] == "args" and parts[-1] in action.spec.args.get("properties", {}):
        return "fractions, unions and free-form objects are not visible to policies"
    record = _resolve(action.context, parts[:-1]) if len(parts) > 1 else {"attributes": action.context}
    return did_you_mean(parts[-1], (record or {}).get("attributes", {}))


def _resolve(context: Mapping[str, CedarType], parts: list[str]) -> CedarType | None:
    """The type at a path of the context, or None where there is none."""
    here: CedarType | None = {"attributes": context}
    for part in parts:
        here = (here or {}).get("attributes", {}).get(part)
    return here


def _untested(statement: Statement, actions: Mapping[str, Action]) -> Iterator[Problem]:
    """`has` tests of names that no action of the policy has: Cedar takes them as false without a word."""
    matched = _matched(statement, actions)
    for node in walk(statement.node.clauses):
        path = path_of(node.base) if isinstance(node, pst.HasAttr) else None
        if not isinstance(node, pst.HasAttr) or not path or path[0] != "context":
            continue
        parts = [*path[1:], *node.attrs]
        if matched and not any(_resolve(action.context, parts) for action in matched):
            yield statement.problem(
                f"context has no {'.'.join(parts)}, so this test never holds",
                next(filter(None, (_known_at(parts, action) for action in matched)), ""),
                near=parts[-1],
            )


def history_problems(statements: Iterable[Statement], actions: Mapping[str, Action]) -> list[Problem]:
    """Tools in `context.history` that are not registered, and looks at earlier calls where no tool is called."""
    tools = [name for name, action in actions.items() if name == action.spec.name and action.spec.effect in _CALLS]
    gates = {name for name, action in actions.items() if name == action.spec.name and action.spec.effect == "gate"}
    found: list[Problem] = []
    for statement in statements:
        asked = _tools_asked(statement.node.clauses)
        unknown = sorted({name for leaf, name in asked if name not in tools and not (leaf == "own" and name in gates)})
        found += [statement.problem(f"no tool {name!r}", did_you_mean(name, tools), near=name) for name in unknown]
        matched = _matched(statement, actions)
        looks = any(earlier_in(action.context, paths_read([statement.node])) for action in matched)
        if looks and all(action.spec.effect not in _CALLS for action in matched):
            message = "history, counts and repeats are kept of tools, and this policy applies to none"
            found.append(statement.problem(message, "name a tool in the scope"))
    return found


def _tools_asked(clauses: object) -> set[tuple[str, str]]:
    """The names that are looked for in `context.history`, each with the attribute of it."""
    asked: set[tuple[str, str]] = set()
    for node in walk(clauses):
        path = path_of(node.left) if isinstance(node, pst.BinaryOp) and node.op.startswith("contains") else None
        if path and path[:2] == ["context", "history"]:
            asked |= {(path[-1], literal.value) for literal in walk(node.right) if isinstance(literal, pst.StringLit)}
    return asked


def authorities_named(nodes: Iterable[object]) -> list[str]:
    """The authorities whose approvals policies count, in the order of the text."""
    found: dict[str, None] = {}
    for node in nodes:
        for part in walk(node):
            path = path_of(part)
            if path and path[:2] == ["context", "approvals"] and len(path) == 3:
                found[path[2]] = None
    return list(found)


def role_hints(statements: Iterable[Statement], roles: Iterable[str]) -> list[Problem]:
    """Roles that nobody has. No error: the person who will have it may come tomorrow."""
    known = sorted(roles)
    hints: list[Problem] = []
    for statement in statements:
        named = {uid.id for uid in pst.entity_uids(statement.node) if uid.type.basename == "Role"}
        for role in sorted(named - set(known)):
            near = closest(role, known)
            suggestion = f"did you mean {near}?" if near else ""
            hints.append(statement.problem(f"nobody is in the role {role!r}", suggestion, near=role))
    return hints
