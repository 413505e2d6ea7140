"""The `where` filter of a query: equality or {"$in": [...]} on source, trust, version and metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from interlock import errors
from interlock.context.document import Chunk

__all__ = ["Where"]

_OWN = frozenset({"source", "trust", "version"})
_HINT = "use equality or {'$in': [...]} on source, trust, version or a key of metadata"


class Where:
    """A checked filter; every key has to match. Raises InputError on what it cannot mean."""

    def __init__(self, where: Mapping[str, Any] | None) -> None:
        if where is not None and not isinstance(where, Mapping):
            raise errors.InputError("where is no dict", _HINT)
        self._wanted = {_key(key): _values(key, value) for key, value in _flat(where or {})}

    def matches(self, chunk: Chunk) -> bool:
        return all(_same(_value(chunk, key), values) for key, values in self._wanted.items())


def _flat(where: Mapping[str, Any]) -> Iterator[tuple[object, object]]:
    """The conditions one by one; those on `metadata` may be given as a dict of their own."""
    for key, value in where.items():
        if key == "metadata" and isinstance(value, Mapping) and "$in" not in value:
            yield from ((f"metadata.{name}", one) for name, one in value.items())
        else:
            yield key, value


def _key(key: object) -> str:
    if not isinstance(key, str) or not key or key.startswith("$"):
        raise errors.InputError(f"where names {key!r}", _HINT)
    return key


def _values(key: object, value: object) -> list[Any]:
    if isinstance(value, Mapping):
        if list(value) != ["$in"] or not isinstance(value["$in"], (list, tuple, set, frozenset)):
            raise errors.InputError(f"where on {key!r} uses {list(value)}", _HINT)
        return [one for each in value["$in"] for one in _values(key, each)]
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise errors.InputError(f"where on {key!r} compares with {type(value).__name__}", _HINT)
    return [value]


def _value(chunk: Chunk, key: str) -> Any:
    if key in _OWN:
        return getattr(chunk, key)
    return chunk.metadata.get(key, chunk.metadata.get(key.removeprefix("metadata.")))


def _same(value: Any, wanted: list[Any]) -> bool:
    # True is no 1 here, though Python says so.
    return any(isinstance(value, bool) == isinstance(one, bool) and value == one for one in wanted)
