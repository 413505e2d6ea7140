"""What a condition demands, as alternatives of simple demands: enough to find contradictions and rules within others.

Integers have bounds (sums of them too), texts are among some or not among some, everything else holds or does not.
What is said of a region holds for every request that satisfies the condition; not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import Any

from cedarpy import pst

from interlock.oversight.statements import path_of

__all__ = ["ANYTHING", "Bounds", "Linear", "Region", "Texts", "TooMany", "alternatives", "meet_all", "regions_of"]

_MOST = 64
LOWEST, HIGHEST = -(2**63), 2**63 - 1
# A sum of attributes: dotted paths with their factors, sorted, the first factor positive.
Linear = tuple[tuple[str, int], ...]
Bounds = tuple[int, int]
_FLIPPED = {"less": "greater_eq", "less_eq": "greater", "greater": "less_eq", "greater_eq": "less"}
_TURNED = {"less": "greater", "less_eq": "greater_eq", "greater": "less", "greater_eq": "less_eq"}


class TooMany(Exception):
    """A condition has more alternatives than are worth looking at."""


@dataclass(frozen=True)
class Texts:
    """A text is one of `among` (any, if None) and none of `apart`."""

    among: frozenset[str] | None = None
    apart: frozenset[str] = frozenset()

    def meet(self, other: Texts) -> Texts:
        known = [texts.among for texts in (self, other) if texts.among is not None]
        apart = self.apart | other.apart
        return Texts(frozenset.intersection(*known) - apart if known else None, apart)

    def within(self, other: Texts) -> bool:
        if self.among is not None:
            return self.among.isdisjoint(other.apart) and (other.among is None or self.among <= other.among)
        return other.among is None and other.apart <= self.apart


@dataclass(frozen=True)
class Region:
    """One alternative. Nothing demanded: everything is in it."""

    longs: Mapping[Linear, Bounds] = field(default_factory=dict)
    texts: Mapping[Any, Texts] = field(default_factory=dict)
    truths: Mapping[Any, bool] = field(default_factory=dict)

    def bounds(self, key: Linear) -> Bounds:
        """What a sum can be, from its own bounds and from those of its parts."""
        low, high = self.longs.get(key, (-(2**200), 2**200))
        if len(key) == 1:
            return max(low, LOWEST * abs(key[0][1])), min(high, HIGHEST * abs(key[0][1]))
        ends = [sorted((factor * end) for end in self.bounds(((path, 1),))) for path, factor in key]
        return max(low, sum(end[0] for end in ends)), min(high, sum(end[1] for end in ends))

    def meet(self, other: Region) -> Region | None:
        """What is in both; None when that is nothing."""
        longs = dict(self.longs)
        for key, (low, high) in other.longs.items():
            mine = longs.get(key, (low, high))
            longs[key] = max(mine[0], low), min(mine[1], high)
        texts = {key: Texts().meet(known) for key, known in self.texts.items()}
        texts |= {key: texts.get(key, Texts()).meet(known) for key, known in other.texts.items()}
        if any(self.truths.get(key, holds) != holds for key, holds in other.truths.items()):
            return None
        both = Region(longs, texts, {**self.truths, **other.truths})
        return None if both._empty() else both

    def _empty(self) -> bool:
        ends = [self.bounds(key) for key in self.longs]
        return any(low > high for low, high in ends) or any(known.among == frozenset() for known in self.texts.values())

    def within(self, other: Region) -> bool:
        """Whether everything in this one is in the other one, as far as it can be seen."""
        return (
            all(self.truths.get(key) is holds for key, holds in other.truths.items())
            and all(self.texts.get(key, Texts()).within(known) for key, known in other.texts.items())
            and all(_inside(self.bounds(key), bounds) for key, bounds in other.longs.items())
        )


ANYTHING = Region()


def _inside(mine: Bounds, other: Bounds) -> bool:
    return other[0] <= mine[0] and mine[1] <= other[1]


def regions_of(node: pst.Template, within: Region = ANYTHING) -> list[Region]:
    """The alternatives of a policy's scope and conditions. Raises TooMany."""
    found = meet_all([within], [Region(truths=dict.fromkeys(_scope(node), True))])
    for clause in node.clauses:
        found = meet_all(found, alternatives(clause.expr, isinstance(clause, pst.When)))
    return found


def _scope(node: pst.Template) -> Iterator[pst.Expr]:
    """The scope of a policy, written as conditions."""
    for name, scope in (("principal", node.principal), ("resource", node.resource)):
        var = pst.Var(name)  # type: ignore[arg-type]  # both are names of variables
        if isinstance(scope, (pst.ScopeIs, pst.ScopeIsIn)):
            yield pst.Is(var, scope.entity_type, None)
        if isinstance(scope, (pst.ScopeIn, pst.ScopeIsIn, pst.ScopeEq)) and isinstance(scope.entity, pst.EntityUid):
            yield pst.BinaryOp("eq" if isinstance(scope, pst.ScopeEq) else "in", var, pst.EntityLit(scope.entity))


def alternatives(expr: pst.Expr, holds: bool = True) -> list[Region]:  # noqa: PLR0911  # one line per kind of node
    """The alternatives in which an expression holds, or does not. Raises TooMany."""
    match expr:
        case pst.BoolLit(value=value):
            return [ANYTHING] if value == holds else []
        case pst.UnaryOp(op="not", arg=arg):
            return alternatives(arg, not holds)
        case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
            one, two = alternatives(left, holds), alternatives(right, holds)
            return meet_all(one, two) if (op == "and") == holds else _few([*one, *two])
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            yes = meet_all(alternatives(cond), alternatives(then, holds))
            return _few([*yes, *meet_all(alternatives(cond, False), alternatives(other, holds))])
        case pst.BinaryOp(op="eq" | "not_eq" as op, left=left, right=right):
            return _equal(left, right, holds == (op == "eq"))
        case pst.BinaryOp(op=op, left=left, right=right) if op in _FLIPPED:
            return _compared(expr, op if holds else _FLIPPED[op], left, right, holds)
        case pst.BinaryOp(op="contains", left=pst.Set(elements=elements), right=right) if _literal(elements):
            return [_among(right, {element.value for element in elements if isinstance(element, pst.StringLit)}, holds)]
    return [Region(truths={expr: holds})]


def meet_all(one: Iterable[Region], two: Iterable[Region]) -> list[Region]:
    """What is in one of the first and in one of the second. Raises TooMany."""
    second = list(two)
    return _few([both for a in one for b in second if (both := a.meet(b)) is not None])


def _few(found: list[Region]) -> list[Region]:
    if len(found) > _MOST:
        raise TooMany
    return found


def _literal(elements: Iterable[pst.Expr]) -> bool:
    return all(isinstance(element, pst.StringLit) for element in elements)


def _among(about: pst.Expr, values: set[str], holds: bool) -> Region:
    named = frozenset(values)
    return Region(texts={about: Texts(named) if holds else Texts(None, named)})


def _equal(left: pst.Expr, right: pst.Expr, holds: bool) -> list[Region]:
    if isinstance(left, (pst.StringLit, pst.BoolLit)):
        left, right = right, left
    if isinstance(right, pst.BoolLit):
        return alternatives(left, holds == right.value)
    if isinstance(right, pst.StringLit):
        if isinstance(left, pst.StringLit):
            return [ANYTHING] if (left.value == right.value) == holds else []
        return [_among(left, {right.value}, holds)]
    expr = pst.BinaryOp("eq", left, right)
    if (compared := _linear_of(left, right)) is None:
        return [Region(truths={expr: holds})]
    key, constant = compared
    if holds:
        return _bounded(key, -constant, -constant)
    return [*_bounded(key, LOWEST * 8, -constant - 1), *_bounded(key, -constant + 1, HIGHEST * 8)]


def _compared(expr: pst.Expr, op: str, left: pst.Expr, right: pst.Expr, holds: bool) -> list[Region]:
    """`left - right` is a sum and a constant; the comparison bounds the sum."""
    compared = _linear_of(left, right)
    if compared is None:
        return [Region(truths={expr: holds})]
    key, constant = compared
    at = -constant - 1 if op == "less" else -constant + 1 if op == "greater" else -constant
    return _bounded(key, LOWEST * 8, at) if op in {"less", "less_eq"} else _bounded(key, at, HIGHEST * 8)


def _bounded(key: Linear, low: int, high: int) -> list[Region]:
    """A sum within bounds; of no attributes at all it is zero."""
    if not key:
        return [ANYTHING] if low <= 0 <= high else []
    if key[0][1] < 0:
        key, low, high = tuple((path, -factor) for path, factor in key), -high, -low
    common = gcd(*(factor for _, factor in key))
    key, low, high = tuple((path, factor // common) for path, factor in key), -(-low // common), high // common
    return [Region(longs={key: (low, high)})]


def _linear_of(left: pst.Expr, right: pst.Expr) -> tuple[Linear, int] | None:
    one, two = _linear(left), _linear(right)
    if one is None or two is None:
        return None
    factors = {path: one[0].get(path, 0) - two[0].get(path, 0) for path in one[0] | two[0]}
    return tuple(sorted((path, factor) for path, factor in factors.items() if factor)), one[1] - two[1]


def _linear(expr: pst.Expr) -> tuple[dict[str, int], int] | None:
    """Factors by dotted path, and a constant; None of what is no such sum."""
    if isinstance(expr, pst.LongLit):
        return {}, expr.value
    if isinstance(expr, pst.GetAttr):
        path = path_of(expr)
        return ({".".join(path): 1}, 0) if path else None
    if isinstance(expr, pst.UnaryOp) and expr.op == "neg":
        return _scaled(_linear(expr.arg), -1)
    if isinstance(expr, pst.BinaryOp) and expr.op in {"add", "sub", "mul"}:
        return _calculated(expr.op, _linear(expr.left), _linear(expr.right))
    return None


def _calculated(
    op: str, one: tuple[dict[str, int], int] | None, two: tuple[dict[str, int], int] | None
) -> tuple[dict[str, int], int] | None:
    if one is None or two is None:
        return None
    if op == "mul":
        return _scaled(one, two[1]) if not two[0] else _scaled(two, one[1]) if not one[0] else None
    sign = 1 if op == "add" else -1
    factors = {path: one[0].get(path, 0) + sign * two[0].get(path, 0) for path in one[0] | two[0]}
    return factors, one[1] + sign * two[1]


def _scaled(sum_: tuple[dict[str, int], int] | None, factor: int) -> tuple[dict[str, int], int] | None:
    return None if sum_ is None else ({path: factor * own for path, own in sum_[0].items()}, factor * sum_[1])
