"""Which classes a checkpoint may hold: those that the annotations of a state name, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import Enum
from typing import Any, ForwardRef, get_args, get_type_hints

from langchain_core import messages
from pydantic import BaseModel
from typing_extensions import is_typeddict

from interlock.money import Money

__all__ = ["allowlist"]

_MESSAGES = [cls for cls in vars(messages).values() if isinstance(cls, type) and issubclass(cls, messages.BaseMessage)]


def allowlist(schemas: Iterable[Any]) -> set[tuple[str, ...]]:
    """(module, name) of every dataclass, pydantic model and enum in some annotations, of Money, and of messages."""
    found: set[type[Any]] = {Money, *_MESSAGES}
    seen: set[int] = set()
    for schema in schemas:
        _collect(schema, found, seen)
    return {(cls.__module__, cls.__name__) for cls in found}


def _collect(hint: Any, found: set[type[Any]], seen: set[int]) -> None:
    if id(hint) in seen or isinstance(hint, (str, ForwardRef)):
        return
    seen.add(id(hint))
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or issubclass(hint, (BaseModel, Enum))):
        found.add(hint)
    for inner in [*get_args(hint), getattr(hint, "__supertype__", None), *_fields(hint)]:
        _collect(inner, found, seen)


def _fields(hint: Any) -> list[Any]:
    if not isinstance(hint, type):
        return []
    if not (is_typeddict(hint) or dataclasses.is_dataclass(hint) or issubclass(hint, BaseModel)):
        return []
    try:
        return list(get_type_hints(hint, include_extras=True).values())
    except (NameError, TypeError):  # a name that only a type checker knows: its class cannot be allowed
        return list(getattr(hint, "__annotations__", {}).values())
