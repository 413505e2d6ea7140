"""A request that satisfies the conditions of a policy: made from what they demand, to be tried on Cedar itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cedarpy import pst

from interlock.oversight.actions import APPROVE, Request
from interlock.oversight.cedar_types import CedarType
from interlock.oversight.contexts import complete_context, neutral
from interlock.oversight.regions import Linear, Region
from interlock.oversight.schema import Action
from interlock.oversight.statements import path_of

__all__ = ["solved", "witness"]

_LIMIT = "principal.limit"
# What a person may approve, where no condition says how much: a limit of zero would tell nothing.
_SOME_LIMIT = 100_000


def solved(region: Region, key: Linear, value: int) -> dict[str, int] | None:
    """Integers by dotted path that lie in a region, and whose sum under `key` is `value`; None where none was found.

    The sum is reached by one of its parts: the amount, if it is among them.
    """
    paths = {path for known in region.longs for path, _ in known}
    numbers = {path: _SOME_LIMIT if path == _LIMIT else 0 for path in paths}
    numbers |= {path: _nearest(region, path, numbers[path]) for path in paths}
    moved, factor = min(key, key=lambda part: (part[0] != "context.amount", part[0] == _LIMIT, part[0]))
    rest = sum(own * numbers[path] for path, own in key if path != moved)
    if (value - rest) % factor:
        return None
    return {**numbers, moved: (value - rest) // factor}


def _nearest(region: Region, path: str, wanted: int) -> int:
    low, high = region.bounds(((path, 1),))
    return min(max(wanted, low), high)


def witness(action: Action, region: Region, numbers: Mapping[str, int]) -> Request:
    """The request with these integers and the texts, roles and sets that the region demands."""
    # Everything is fresh, unless it is said how old it is.
    fresh = {name: neutral(action.context[name]) for name in ("args", "ages") if name in action.context}
    told: dict[str, Any] = dict(fresh)
    for node, holds in region.truths.items():
        _hold(told, node, holds, action)
    for about, texts in region.texts.items():
        _put(told, path_of(about), min(texts.among) if texts.among else "" if "" not in texts.apart else "another")
    for path, number in numbers.items():
        _put(told, path.split("."), number)
    roles = frozenset(role for node, holds in region.truths.items() if holds for role in _roles(node))
    kind = "person" if action.name.startswith(APPROVE) or _person(region) else "agent"
    # An approver's `excluded` is nobody: who is kept apart is no question of limits.
    context = complete_context(action.context, action.spec, told)
    limit = numbers.get(_LIMIT, _SOME_LIMIT)
    return Request(action.name, f"{kind}:somebody", roles, action.spec.system, context, limit)


def _hold(told: dict[str, Any], node: pst.Expr, holds: bool, action: Action) -> None:
    """Make a condition hold, as far as that is simple; what was not understood is found out on trying."""
    match node:
        case pst.GetAttr():
            _put(told, path_of(node), holds)
        case pst.BinaryOp(op="contains" | "contains_all" | "contains_any", left=left, right=right) if holds:
            _add(told, path_of(left), right)
        case pst.HasAttr(base=base, attrs=attrs) if holds and (path := path_of(base)):
            whole = [*path, *attrs]
            _put(told, whole, neutral(_type(action, whole[1:])))
        case pst.Like(base=base, pattern=pattern) if holds:
            text = "".join(part.value for part in pattern if isinstance(part, pst.Char))
            _put(told, path_of(base), text)
        case pst.UnaryOp(op="is_empty", arg=arg) if not holds:
            _add(told, path_of(arg), pst.StringLit("something"))


def _add(told: dict[str, Any], path: list[str] | None, right: pst.Expr) -> None:
    literals = right.elements if isinstance(right, pst.Set) else (right,)
    values = [element.value for element in literals if isinstance(element, pst.StringLit)]
    here: Any = told
    for name in (path or [""])[1:]:
        here = here.get(name) if isinstance(here, dict) else None
    _put(told, path, sorted({*(here or ()), *values}))


def _put(told: dict[str, Any], path: list[str] | None, value: Any) -> None:
    if not path or path[0] != "context" or len(path) < 2:
        return
    here = told
    for name in path[1:-1]:
        here = here.setdefault(name, {})
    here[path[-1]] = value


def _type(action: Action, path: list[str]) -> CedarType:
    here: CedarType = {"attributes": action.context}
    for name in path:
        here = here.get("attributes", {}).get(name, {"type": "String"})
    return here


def _roles(node: pst.Expr) -> list[str]:
    inside = node.right if isinstance(node, pst.BinaryOp) and node.op == "in" else None
    found = isinstance(inside, pst.EntityLit) and inside.value.type.basename == "Role"
    return [inside.value.id] if found and isinstance(inside, pst.EntityLit) else []


def _person(region: Region) -> bool:
    return any(
        holds and isinstance(n, pst.Is) and n.entity_type.basename == "Person" for n, holds in region.truths.items()
    )
