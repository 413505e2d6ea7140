"""Pages of a list, and the checks of what a caller asks of one."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

from interlock import errors

__all__ = ["Page", "check_choice", "check_limit", "position"]

T = TypeVar("T")
_CURSOR = re.compile(r"[0-9]{1,18}")
_MOST = 10**18  # what a database can count


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items, and the cursor of the next page: None at the end."""

    items: list[T]
    cursor: str | None


def position(cursor: str | None) -> int:
    """The place in a list that a cursor stands for. Raises InputError."""
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not _CURSOR.fullmatch(cursor):
        raise errors.InputError(f"{cursor!r} is no cursor", "give the cursor of the page before")
    return int(cursor)


def check_limit(limit: int) -> None:
    """Raises InputError on what is no size of a page."""
    if not isinstance(limit, int) or not 1 <= limit <= _MOST:
        raise errors.InputError(f"limit is {limit!r}", f"give 1 to {_MOST}")


def check_choice(name: str, value: str | None, choices: Collection[str]) -> None:
    """Raises InputError on a filter that nothing could match; None is any."""
    if value is not None and value not in choices:
        raise errors.InputError(f"{name} is {value!r}", f"use one of {', '.join(sorted(choices))}")
