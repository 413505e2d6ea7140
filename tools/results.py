"""Any value as JSON that can be recorded: an effect that took place is never lost because of what it gave back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from interlock import errors
from interlock.ids import canonical

__all__ = ["recordable"]

_DEEPEST = 100
_SAFE = range(-(2**63), 2**64)


def recordable(value: Any) -> Any:
    """JSON values that `canonical` takes; what JSON cannot say becomes text. Never raises."""
    try:
        plain = to_jsonable_python(value, fallback=_text)
        canonical(plain)
    except (PydanticSerializationError, UnicodeError, ValueError, RecursionError, errors.InputError):
        return _mended(value, frozenset())
    return plain


def _mended(value: Any, around: frozenset[int]) -> Any:
    """The same, part by part, so that one bad part does not spoil the rest. `around` are the containers it is in."""
    if isinstance(value, (str, int, float, bytes, type(None))):
        return _mended_leaf(value)
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _mended_container(value, around)
    try:
        return _mended(to_jsonable_python(value), around | {id(value)})
    except Exception:  # whatever its own code raises, its text will do
        return _text(value)


def _mended_leaf(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return hex(value) if isinstance(value, int) and value not in _SAFE else value


def _mended_container(value: Any, around: frozenset[int]) -> Any:
    if id(value) in around or len(around) == _DEEPEST:
        return "..."
    inside = around | {id(value)}
    if not isinstance(value, Mapping):
        return [_mended(item, inside) for item in value]
    names = {key: _mended_leaf(key) if isinstance(key, str) else _text(key) for key in value}
    return {names[key]: _mended(item, inside) for key, item in value.items()}


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # code of a tool, which may raise anything
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "replace").decode()
