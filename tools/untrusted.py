"""`Untrusted` marks fields of an input model as content that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin, get_type_hints

__all__ = ["Path", "Untrusted", "untrusted_fields"]

Path = tuple[str, ...]


class _Untrusted:
    def __repr__(self) -> str:
        return "Untrusted"


# `Annotated[str, Untrusted]` marks a field of an input model as content that nobody vouches for.
# An object and no class: LangGraph takes whatever can be called there for a reducer.
Untrusted: Final = _Untrusted()


def untrusted_fields(model: Any, seen: frozenset[Any] = frozenset()) -> set[Path]:
    """The paths of the fields marked `Untrusted` in a model, dataclass or TypedDict; `*` stands for any item."""
    if model in seen or not isinstance(model, type) or not getattr(model, "__annotations__", None):
        return set()
    hints = get_type_hints(model, include_extras=True)
    return {(name, *rest) for name, hint in hints.items() for rest in _marked(hint, seen | {model})}


def _marked(hint: Any, seen: frozenset[Any]) -> Iterator[Path]:
    if any(mark is Untrusted for mark in getattr(hint, "__metadata__", ())):
        yield ()
        return
    container = get_origin(hint) in (list, tuple, set, frozenset, dict)
    for inner in get_args(hint):
        for path in _marked(inner, seen):
            yield ("*", *path) if container else path
    if not get_args(hint):
        yield from untrusted_fields(hint, seen)
