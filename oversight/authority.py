"""The delegation-of-authority matrix: rows of a YAML file, compiled to Cedar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from interlock import errors
from interlock.ids import check_name, check_tool
from interlock.money import Money

__all__ = ["Authority", "Row"]

_COLUMNS = ("role", "action", "currency", "per_act", "per_day", "per_counterparty", "second_above")


@dataclass(frozen=True, slots=True)
class Row:
    """What a role may approve of one action in one currency; amounts in minor units, None without a bound.

    `per_day` and `per_counterparty` bound the requester's sums of the day; above `second_above` two persons approve.
    """

    role: str
    action: str
    currency: str
    per_act: int
    per_day: int | None = None
    per_counterparty: int | None = None
    second_above: int | None = None


@dataclass(frozen=True)
class Authority:
    """The matrix. `cedar()` is the policy text of its rows."""

    rows: tuple[Row, ...]
    name: str = "authority"

    @classmethod
    def load(cls, path: str | Path) -> Authority:
        """Read a matrix. Raises ConfigurationError with the row that is wrong."""
        file = Path(path)
        try:
            content = yaml.safe_load(file.read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise errors.ConfigurationError(f"cannot read {file}: {exc}", "give a YAML list of rows") from exc
        rows = content.get("rows") if isinstance(content, Mapping) else content
        if not isinstance(rows, list):
            raise errors.ConfigurationError(f"{file} holds no rows", f"give a list of {', '.join(_COLUMNS)}")
        return cls(tuple(_row(f"{file}, row {number}", row) for number, row in enumerate(rows, 1)), file.stem)

    @property
    def authorities(self) -> set[str]:
        return {row.role for row in self.rows}

    def cedar(self) -> str:
        """The policies of all rows, with an @id of matrix, row number and purpose."""
        return "\n".join(self._policies(number, row) for number, row in enumerate(self.rows, 1))

    def _policies(self, number: int, row: Row) -> str:
        name = f"{self.name}.{number}"
        action = f'Interlock::Action::"{row.action}"'
        approver = f'Interlock::Action::"approve:{row.action}"'
        return (
            f'@id("{name}.act")\npermit (principal, action == {action}, resource)\n'
            f"when {{ {_all(_act(row))} }};\n"
            f'@id("{name}.approve")\n'
            f'permit (principal in Interlock::Role::"{row.role}", action == {approver}, resource)\n'
            f"when {{ {_all(_approve(row))} }};\n"
        )


def _row(place: str, row: Any) -> Row:
    if not isinstance(row, Mapping) or (unknown := set(row) - set(_COLUMNS)):
        extra = f": unknown column {', '.join(sorted(map(str, unknown)))}" if isinstance(row, Mapping) else ""
        raise errors.ConfigurationError(f"{place} does not fit{extra}", f"columns are {', '.join(_COLUMNS)}")
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
    # YAML reads 98.70 as a float; its shortest text is what stood in the file.
    text = repr(value) if isinstance(value, float) else value
    return Money.of(Decimal(text) if isinstance(text, str) and isinstance(value, float) else text, currency).amount


def _all(conditions: Iterable[str]) -> str:
    return " &&\n       ".join(conditions)


def _bounds(row: Row) -> list[str]:
    # A credit is negative, and as large as a payment.
    return [
        f'context.currency == "{row.currency}"',
        f"context.amount <= {row.per_act}",
        f"context.amount >= -{row.per_act}",
    ]


def _act(row: Row) -> list[str]:
    conditions = [*_bounds(row), f'context.approvals["{row.role}"] >= 1']
    if row.per_day is not None:
        conditions.append(f"context.totals.day + context.amount <= {row.per_day}")
    if row.per_counterparty is not None:
        conditions.append(f"context.totals.by_counterparty.day + context.amount <= {row.per_counterparty}")
    if row.second_above is not None:
        conditions.append(f'(context.amount <= {row.second_above} || context.approvals["{row.role}"] >= 2)')
    return conditions


def _approve(row: Row) -> list[str]:
    return [f'context.authority == "{row.role}"', *_bounds(row)]
