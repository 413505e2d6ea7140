"""What `interlock run` is given: CSV, JSON or JSON lines, or one JSON object; each input knows where it stood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from interlock import errors
from interlock.tables import lines

__all__ = ["Input", "read_inputs"]


@dataclass(frozen=True)
class Input:
    """One input, not validated yet. `place` says where it was read, for people."""

    place: str
    value: dict[str, Any]


def read_inputs(source: str) -> list[Input]:
    """Everything in a file, or the one JSON object given in place of a file name.

    Raises InputError naming file, line and column; a table with one bad line is refused as a whole.
    """
    if source.lstrip().startswith("{"):
        return [Input("the input", _object(source, "the input"))]
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise errors.InputError(f"{source}: unknown kind of file", f"give {', '.join(_READERS)}, or a JSON object")
    found = list(reader(path))
    if not found:
        raise errors.InputError(f"{path}: holds no inputs", "give at least one")
    return found


def _csv(path: Path) -> Iterator[Input]:
    for line in lines(path):
        yield Input(f"{path}, line {line.number}", dict(line.fields))


def _json_lines(path: Path) -> Iterator[Input]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            place = f"{path}, line {number}"
            yield Input(place, _object(line, place))


def _json(path: Path) -> Iterator[Input]:
    content = _parsed(_text(path), str(path))
    for number, value in enumerate(content if isinstance(content, list) else [content], 1):
        place = f"{path}, item {number}" if isinstance(content, list) else str(path)
        yield Input(place, _checked(value, place))


_READERS: dict[str, Callable[[Path], Iterator[Input]]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise errors.InputError(f"{path}: cannot be read: {exc}", "give a readable file in UTF-8") from exc


def _object(text: str, place: str) -> dict[str, Any]:
    return _checked(_parsed(text, place), place)


def _parsed(text: str, place: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise errors.InputError(f"{place}: no JSON: {exc}", "write one JSON object per input") from exc


def _checked(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise errors.InputError(f"{place}: {type(value).__name__} instead of an object", "give an object with fields")
    return value
