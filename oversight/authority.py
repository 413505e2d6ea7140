"""The delegation-of-authority matrix: rows of a YAML file, compiled to Cedar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from interlock import errors
from interlock.ids import check_name, check_tool
from interlock.money import Money
from interlock.oversight.actors import Person

__all__ = ["Authority", "Row", "review", "row_lines"]

_COLUMNS = (
    "role", "action", "currency", "per_act", "per_day", "per_counterparty", "second_above", "tenant_per_day",
    "tenant_per_counterparty",
)  # fmt: skip
# The sum of the UTC day that a column bounds.
_SUMS = {
    "per_day": "totals.day", "per_counterparty": "totals.by_counterparty.day",
    "tenant_per_day": "totals.tenant.day", "tenant_per_counterparty": "totals.tenant.by_counterparty.day",
}  # fmt: skip


class _Exact(yaml.SafeLoader):
    """YAML whose numbers stay the text that stands in the file: 98.70 is no float, 0100 is not 64."""


def _as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return loader.construct_scalar(node)


for _tag in ("float", "int"):
    _Exact.add_constructor(f"tag:yaml.org,2002:{_tag}", _as_written)


@dataclass(frozen=True, slots=True)
class Row:
    """What a role may approve of one action in one currency; amounts in minor units, None without a bound.

    A credit is negative, and counts as much as a payment of its size.

    `per_day` and `per_counterparty` bound the requester's sums of the day, `tenant_per_day` and
    `tenant_per_counterparty` those of all requesters; above `second_above` two persons approve. `line` is where it
    stands in its file, 0 outside of one.
    """

    role: str
    action: str
    currency: str
    per_act: int
    per_day: int | None = None
    per_counterparty: int | None = None
    second_above: int | None = None
    tenant_per_day: int | None = None
    tenant_per_counterparty: int | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Authority:
    """The matrix. `cedar()` is the policy text of its rows.

    It adds ways to approve calls of tools, which other policies may permit as well; a gate that it names is
    passed by its rows only.
    """

    rows: tuple[Row, ...]
    name: str = "authority"

    @classmethod
    def load(cls, path: str | Path) -> Authority:
        """Read a matrix. Raises ConfigurationError with the row that is wrong."""
        file = Path(path)
        try:
            text = file.read_text("utf-8-sig")
            content = yaml.load(text, _Exact)  # noqa: S506  # a SafeLoader
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise errors.ConfigurationError(f"cannot read {file}: {exc}", "give a YAML list of rows") from exc
        rows = content.get("rows") if isinstance(content, Mapping) else content
        if not isinstance(rows, list) or not rows:
            raise errors.ConfigurationError(f"{file} holds no rows", f"give a list of {', '.join(_COLUMNS)}")
        read = [_row(f"{file}, row {number}", row) for number, row in enumerate(rows, 1)]
        placed = zip(read, row_lines(text), strict=True)
        return cls(tuple(replace(row, line=line) for row, line in placed), file.stem)

    @property
    def authorities(self) -> set[str]:
        return {row.role for row in self.rows}

    def cedar(self) -> str:
        """The policies of all rows, with an @id of matrix, row number and purpose, and two that close each gate."""
        rows = [self._permits(number, row) for number, row in enumerate(self.rows, 1)]
        gates = [self._closed(action) for action in dict.fromkeys(row.action for row in self.rows)]
        return "\n".join([*rows, *gates])

    def _permits(self, number: int, row: Row) -> str:
        act, approve = (f"when {{ {_all(conditions)} }}" for conditions in (_act(row), _approve(row)))
        name, place = f"{self.name}.{number}", _place(number, row)
        return _policy(f"{name}.act", "permit", row.action, act, place=place) + _policy(
            f"{name}.approve", "permit", f"approve:{row.action}", approve, place=place
        )

    def _closed(self, action: str) -> str:
        """Forbids at a gate what no row of it permits: the shipped policies would let it pass with one approval."""
        rows = [row for row in self.rows if row.action == action]
        name, reason = f"{self.name}.{action}", f"the {self.name} matrix does not permit it"
        place = _place(self.rows.index(rows[0]) + 1, rows[0])
        return _policy(
            f"{name}.gate", "forbid", action, _unless("effect:gate", map(_act, rows)), reason=reason, place=place
        ) + _policy(
            f"{name}.approver",
            "forbid",
            f"approve:{action}",
            _unless("approve:effect:gate", map(_approve, rows)),
            reason=reason,
            place=place,
        )


def review(authority: Authority, people: Iterable[Person]) -> list[dict[str, Any]]:
    """Who may approve what up to how much, a line per row and person; amounts in minor units, None without a bound.

    A row whose role nobody holds has a line without a person.
    """
    listed = list(people)
    return [
        {"row": number, **{name: getattr(row, name) for name in _COLUMNS}, "person": person}
        for number, row in enumerate(authority.rows, 1)
        for person in _holders(row, listed) or [None]
    ]


def _holders(row: Row, people: Iterable[Person]) -> list[str | None]:
    return [*sorted(one.id for one in people if row.role in one.all_roles)]


def row_lines(text: str) -> list[int]:
    """Where the rows of a matrix stand in its file, counted from 1."""
    node: Any = yaml.compose(text, _Exact)
    if isinstance(node, yaml.MappingNode):
        node = {key.value: value for key, value in node.value}["rows"]
    return [row.start_mark.line + 1 for row in node.value]


def _row(place: str, row: Any) -> Row:
    unknown = sorted(map(str, set(row) - set(_COLUMNS))) if isinstance(row, Mapping) else ["no row at all"]
    if unknown:
        hint = f"columns are {', '.join(_COLUMNS)}"
        raise errors.ConfigurationError(f"{place} does not fit: {', '.join(unknown)}", hint)
    try:
        currency = str(row["currency"])
        sums = {name: _amount(row[name], currency) for name in _COLUMNS[3:] if row.get(name) is not None}
        return Row(check_name(row["role"]), check_tool(row["action"]), currency, sums.pop("per_act"), **sums)
    except KeyError as exc:
        hint = "role, action, currency and per_act are needed"
        raise errors.ConfigurationError(f"{place} has no {exc.args[0]}", hint) from exc
    except errors.InputError as exc:
        raise errors.ConfigurationError(f"{place}: {exc.message}", exc.hint) from exc


def _amount(value: Any, currency: str) -> int:
    money = Money.of(value, currency)
    if money.amount < 0:
        raise errors.InputError(f"{money} is negative", "a bound holds for payments and credits alike")
    return money.amount


def _place(number: int, row: Row) -> dict[str, int]:
    """Where problems of the row's policies are to be looked for."""
    return {"row": number, **({"line": row.line} if row.line else {})}


def _policy(
    name: str,
    effect: str,
    action: str,
    conditions: str,
    *,
    reason: str = "",
    place: Mapping[str, int] | None = None,
) -> str:
    notes = [f"@id({_quoted(name)})", *([f"@reason({_quoted(reason)})"] if reason else [])]
    notes += [f"@{what}({_quoted(str(value))})" for what, value in (place or {}).items()]
    head = f"{effect} (principal, action == Interlock::Action::{_quoted(action)}, resource)"
    return "\n".join([*notes, head, f"{conditions};", ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _all(conditions: Iterable[str]) -> str:
    return " &&\n       ".join(conditions)


def _unless(group: str, rows: Iterable[list[str]]) -> str:
    ways = " ||\n         ".join(f"({' && '.join(conditions)})" for conditions in rows)
    return f'when {{ action in Interlock::Action::"{group}" }}\nunless {{ {ways} }}'


def _within(most: int) -> str:
    return f"context.amount <= {most} && context.amount >= -{most}"


def _bounds(row: Row) -> list[str]:
    return [f'context.currency == "{row.currency}"', _within(row.per_act)]


def _act(row: Row) -> list[str]:
    conditions = [*_bounds(row), f'context.approvals["{row.role}"] >= 1']
    bounds = ((total, getattr(row, column)) for column, total in _SUMS.items())
    conditions += [f"context.{total} + context.amount <= {most}" for total, most in bounds if most is not None]
    if row.second_above is not None:
        conditions.append(f'(({_within(row.second_above)}) || context.approvals["{row.role}"] >= 2)')
    return conditions


def _approve(row: Row) -> list[str]:
    return [f'principal in Interlock::Role::"{row.role}"', f'context.authority == "{row.role}"', *_bounds(row)]
