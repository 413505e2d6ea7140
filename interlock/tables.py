"""Reads CSV tables strictly: every error names the file, the line, the column and what to do."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from interlock import errors

__all__ = ["Line", "lines"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table; `number` counts from 1, the header included."""

    path: Path
    number: int
    fields: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.fields[column]

    def text(self, column: str) -> str:
        """A field that must not be empty."""
        return self.fields[column] or self.fail(column, "is empty", "every line needs a value here")

    def value(self, column: str, convert: Callable[[str], T], hint: str) -> T:
        """The field converted; a ValueError or InputError of `convert` becomes an error with the place."""
        try:
            return convert(self.fields[column])
        except (ValueError, errors.InputError):
            self.fail(column, f"has no valid value: {self.fields[column]!r}", hint)

    def fail(self, column: str, what: str, hint: str) -> NoReturn:
        raise errors.InputError(f"{self.path}, line {self.number}: column {column} {what}", hint)


def lines(path: Path, columns: Sequence[str] = (), optional: Sequence[str] = ()) -> Iterator[Line]:
    """The lines of a CSV file in UTF-8 (byte-order marks allowed), blank ones left out, with all their columns.

    `columns` must be there, `optional` ones read as empty where they are not. Raises InputError for a missing file
    or column, a column named twice, a wrong number of fields, and text that is no CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _parse(path, csv.reader(file, strict=True), columns, optional)
    except (OSError, UnicodeDecodeError) as exc:
        raise errors.InputError(f"{path}: cannot be read: {exc}", "give a readable CSV file in UTF-8") from exc


def _parse(path: Path, reader: Any, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Line]:
    header: list[str] | None = None
    try:
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            if header is None:
                header = _header(path, reader.line_num, row, columns)
                continue
            fields = _fields(path, reader.line_num, header, row)
            yield Line(path, reader.line_num, {**dict.fromkeys(optional, ""), **fields})
    except csv.Error as exc:
        hint = "quote the field, or save it as CSV again"
        raise errors.InputError(f"{path}, line {reader.line_num}: {exc}", hint) from exc
    if header is None:
        named = f" and name {', '.join(columns)}" if columns else ""
        raise errors.InputError(f"{path}: is empty", f"its first line must name the columns{named}")


def _header(path: Path, number: int, row: list[str], columns: Sequence[str]) -> list[str]:
    header = [name.strip() for name in row]
    while header and not header[-1]:  # some exporters end each line with a comma
        header.pop()
    if missing := [name for name in columns if name not in header]:
        hint = f"the first line must name {', '.join(columns)}; it names {', '.join(header)}"
        raise errors.InputError(f"{path}, line {number}: no column {', '.join(missing)}", hint)
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise errors.InputError(f"{path}, line {number}: column {twice[0]!r} stands twice", "name each column once")
    return header


def _fields(path: Path, number: int, header: list[str], row: list[str]) -> dict[str, str]:
    values = [field.strip() for field in row]
    while len(values) > len(header) and not values[-1]:
        values.pop()
    if len(values) != len(header):
        hint = "quote fields that contain a comma, and write every comma between fields"
        raise errors.InputError(f"{path}, line {number}: {len(values)} fields instead of {len(header)}", hint)
    if nul := next((name for name, value in zip(header, values, strict=True) if "\0" in value), None):
        raise errors.InputError(f"{path}, line {number}: column {nul} holds a NUL byte", "is it a binary file?")
    return dict(zip(header, values, strict=True))
