"""What commands print: data to stdout, everything else to stderr."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from interlock import errors
from interlock.clock import iso

__all__ = ["cell", "emit", "lines", "page", "pairs", "plain", "records", "save", "say", "table"]

_WIDE = 200


def say(text: str) -> None:
    """A line for people: progress, hints, titles."""
    print(visible(text, keep="\n"), file=sys.stderr, flush=True)


def emit(value: Any) -> None:
    """One JSON document on stdout."""
    text = orjson.dumps(plain(value), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    print(text, flush=True)


def page(
    items: Sequence[Any], cursor: Any, as_json: bool, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """A list: `{items, cursor}` as JSON, or a table and how to see more."""
    if as_json:
        return emit({"items": items, "cursor": cursor})
    table(columns, rows)
    say(f"{len(items)} shown" + (f"; more with --cursor {cursor}" if cursor is not None else ""))
    return None


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout, as wide as the terminal, or wide enough when there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell(value)) for value in row))
    console.print(shown)


def pairs(values: Mapping[str, Any]) -> None:
    """Names and values, one per line."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        print(f"{name:<{width}}  {cell(value)}")


def cell(value: Any) -> str:
    """A value in a table: short, and on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(cell(v) for v in value)
    if isinstance(value, dict) or is_dataclass(value):
        return orjson.dumps(plain(value)).decode()
    return visible(" ".join(str(value).split()))


def visible(text: str, keep: str = "") -> str:
    """Text of others without what would steer a terminal."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def plain(value: Any) -> Any:
    """JSON values of what the plane returns: dataclasses, models, named tuples, times, sets and paths."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if (named := _named(value)) is not None:
        return {str(name): plain(one) for name, one in named.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(one) for one in value)
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else _scalar(value)


def _named(value: Any) -> Mapping[Any, Any] | None:
    """The fields of whatever has names; None for anything else."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value) if not f.name.startswith("_")}
    if isinstance(value, Mapping):
        return value
    for method in ("model_dump", "_asdict"):
        if hasattr(value, method):
            return getattr(value, method)()  # type: ignore[no-any-return]  # a mapping by contract
    return None


def _scalar(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def save(text: str, path: Path) -> None:
    """Text into a file. Raises InputError when it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise errors.InputError(
            f"{path} cannot be written: {exc.strerror}", "give a path in a folder that exists"
        ) from exc
    say(f"written to {path}")


def records(rows: Sequence[Mapping[str, Any]]) -> None:
    """CSV on stdout, with a line of names; a text that a spreadsheet would calculate is quoted by an apostrophe."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    for row in rows:
        texts = ("" if value is None else str(plain(value)) for value in row.values())
        writer.writerow([f"'{text}" if text.startswith(("=", "+", "@", "\t", "\r")) else text for text in texts])


async def lines(values: AsyncIterable[Any]) -> None:
    """JSON lines on stdout, one value each, as they come."""
    async for value in values:
        sys.stdout.write(orjson.dumps(plain(value), option=orjson.OPT_NON_STR_KEYS).decode() + "\n")
    sys.stdout.flush()
