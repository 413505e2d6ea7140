"""The conflict matrix: calls that one actor must not both make. Rows of a YAML file, compiled to Cedar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import yaml

from interlock import errors
from interlock.ids import check_tool
from interlock.oversight.authority import row_lines

__all__ = ["Conflict", "Conflicts"]

_COLUMNS = ("between", "within", "why")
# Where in the context stands what the same actor has called before, in the case or with the counterparty.
_OWN = {"case": "own", "counterparty": "own_with"}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Tools of which one actor calls at most one `within` a case, or with a counterparty. `line` is its place."""

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
        """A forbid for each tool of a row and each of the others that the same actor has called before it."""
        return "".join(
            _forbid(number, row, tool, other)
            for number, row in enumerate(self.rows, 1)
            for tool, other in permutations(row.between, 2)
        )


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


def _forbid(number: int, row: Conflict, tool: str, other: str) -> str:
    why = row.why.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    place = f' @line("{row.line}")' if row.line else ""
    return (
        f'@id("sod.conflict.{number}.{tool}.{other}") @reason("{why}") @row("{number}"){place}\n'
        f'forbid (principal, action == Interlock::Action::"{tool}", resource)\n'
        f'when {{ context.history.{_OWN[row.within]}.contains("{other}") }};\n'
    )
