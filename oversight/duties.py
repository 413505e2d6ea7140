"""The conflict matrix: calls and gates that one actor must not both have. Rows of a YAML file, compiled to Cedar."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import yaml

from interlock import errors
from interlock.ids import check_tool
from interlock.oversight.actions import APPROVE
from interlock.oversight.authority import row_lines
from interlock.oversight.statements import Statement

__all__ = ["Conflict", "Conflicts", "fitting"]

_ID = "sod.conflict"
_COLUMNS = ("between", "within", "why")
# Where in the context stands what the same actor has called before, in the case or with the counterparty.
_OWN = {"case": "own", "counterparty": "own_with"}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Tools and gates of which one actor has at most one `within` a case, or with a counterparty. `line` is its place.

    Whoever decides a gate has it. A gate knows no counterparty.
    """

    between: tuple[str, ...]
    within: str
    why: str
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Conflicts:
    """The matrix. `cedar()` is the policy text of its rows; no approval lifts them."""

    rows: tuple[Conflict, ...]

    @classmethod
    def load(cls, path: str | Path) -> Conflicts:
        """Read `conflicts.yaml`. Raises ConfigurationError with the row that is wrong."""
        file = Path(path)
        try:
            text = file.read_text("utf-8-sig")
            rows = yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as exc:
            raise errors.ConfigurationError(f"cannot read {file}: {exc}", "give a YAML list of conflicts") from exc
        if not isinstance(rows, list) or not rows:
            raise errors.ConfigurationError(f"{file} holds no conflicts", f"give a list of {', '.join(_COLUMNS)}")
        placed = enumerate(zip(rows, row_lines(text), strict=True), 1)
        return cls(tuple(_conflict(f"{file}, row {number}", row, line) for number, (row, line) in placed))

    def cedar(self) -> str:
        """A forbid for each name of a row and each of the others that the same actor has had before it.

        It is not known yet which names are gates: each is written as both, and `fitting` keeps what it is.
        """
        return "".join(
            forbid(number, row, name, other)
            for number, row in enumerate(self.rows, 1)
            for name, other in permutations(row.between, 2)
            for forbid in (_forbid_call, _forbid_gate)
        )


def fitting(statements: Iterable[Statement], gates: Container[str]) -> list[Statement]:
    """Statements without those of a conflict matrix that take a tool for a gate, or a gate for a tool."""
    return [s for s in statements if (of := s.node.annotations.get("of")) is None or (of in gates) == _is_gate(s)]


def _is_gate(statement: Statement) -> bool:
    return statement.id.startswith(f"{_ID}.gate.")


def _conflict(place: str, row: Any, line: int) -> Conflict:
    if not isinstance(row, Mapping) or set(row) != set(_COLUMNS):
        raise errors.ConfigurationError(f"{place} does not fit", f"it has {', '.join(_COLUMNS)}, and nothing else")
    tools, within, why = (row[name] for name in _COLUMNS)
    if not isinstance(tools, list) or len(tools) < 2 or len(set(map(str, tools))) < len(tools):
        raise errors.ConfigurationError(f"{place}: between is {tools!r}", "list two tools or more, each once")
    if not isinstance(within, str) or within not in _OWN:
        raise errors.ConfigurationError(f"{place}: within is {within!r}", f"say one of {', '.join(_OWN)}")
    if not isinstance(why, str) or not why.strip():
        raise errors.ConfigurationError(f"{place} has no reason", "say why, for those who are refused")
    try:
        return Conflict(tuple(check_tool(tool) for tool in tools), within, why.strip(), line)
    except errors.InputError as exc:
        raise errors.ConfigurationError(f"{place}: {exc.message}", exc.hint) from exc


def _forbid_call(number: int, row: Conflict, tool: str, other: str) -> str:
    before = f'context.history.{_OWN[row.within]}.contains("{other}")'
    return _forbid(f"{_ID}.{number}.{tool}.{other}", number, row, tool, tool, before)


def _forbid_gate(number: int, row: Conflict, gate: str, other: str) -> str:
    before = f'context.acted.contains("{other}")'
    return _forbid(f"{_ID}.gate.{number}.{gate}.{other}", number, row, gate, APPROVE + gate, before)


def _forbid(name: str, number: int, row: Conflict, of: str, action: str, before: str) -> str:  # noqa: PLR0917  # parts of a rule
    why = row.why.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    place = f' @line("{row.line}")' if row.line else ""
    return (
        f'@id("{name}") @reason("{why}") @of("{of}") @row("{number}"){place}\n'
        f'forbid (principal, action == Interlock::Action::"{action}", resource)\n'
        f"when {{ {before} }};\n"
    )
