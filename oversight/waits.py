"""Waits for leases: which case waits for which, and the circle that none of them would get out of.

A case holds its leases until it ends, so a wait can only be closed into a circle by a new wait: that one is refused.
Waits are registered on the event loop of the one engine, so that of two that would close a circle one is first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from interlock import errors

if TYPE_CHECKING:
    from interlock.storage.database import Reader

__all__ = ["Deadlock", "Wait", "Waits", "circle", "parents"]

_PARENT = (
    "SELECT p.case_id FROM cases c JOIN cases p ON p.tenant = c.tenant AND p.case_id = c.parent_id"
    " WHERE c.tenant = ? AND c.case_id = ? AND p.status = 'waiting' AND instr(p.reason, c.case_id) > 0"
)


class Wait(NamedTuple):
    """A case waits for an object that another one holds; so do those `above` it, which wait for its end."""

    case_id: str
    resource: str
    holder: str
    above: tuple[str, ...] = ()

    @property
    def waiting(self) -> tuple[str, ...]:
        return (self.case_id, *self.above)


class Deadlock(errors.Denied):
    """A wait that would never end: whoever holds the object waits for the case that asks for it."""

    code = "deadlock"

    def __init__(self, wait: Wait, way: Iterable[Wait]) -> None:
        super().__init__(_told(wait, way), "let the cases take their objects in the same order, or cancel one of them")


class Waits:
    """The waits of all cases in this process. Use it on the event loop."""

    def __init__(self) -> None:
        self._of: defaultdict[tuple[str, str], list[Wait]] = defaultdict(list)

    @contextmanager
    def on(self, tenant: str, wait: Wait) -> Iterator[None]:
        """Inside, the case waits. Raises Deadlock, at once, for a wait that would close a circle."""
        way = circle(lambda case_id: self._of.get((tenant, case_id), ()), wait)
        if way is not None:
            raise Deadlock(wait, way)
        keys = [(tenant, case_id) for case_id in wait.waiting]
        for key in keys:
            self._of[key].append(wait)
        try:
            yield
        finally:
            for key in keys:
                self._leave(key, wait)

    def for_object(self, tenant: str, resource: str) -> list[str]:
        """The cases that wait for an object, by id."""
        found = (wait for (whose, _), waits in self._of.items() if whose == tenant for wait in waits)
        return sorted({wait.case_id for wait in found if wait.resource == resource})

    def _leave(self, key: tuple[str, str], wait: Wait) -> None:
        self._of[key].remove(wait)
        if not self._of[key]:
            del self._of[key]


def circle(waits_of: Callable[[str], Collection[Wait]], new: Wait) -> list[Wait] | None:
    """The shortest way of waits from the holder of a new wait to those that wait in it; None when there is none.

    `waits_of` gives the waits of a case. The way is empty when the holder itself waits for the end of the case.
    """
    ways: dict[str, list[Wait]] = {new.holder: []}
    for case_id in (ahead := [new.holder]):
        if case_id in new.waiting:
            return ways[case_id]
        for wait in waits_of(case_id):
            if wait.holder not in ways:
                ways[wait.holder] = [*ways[case_id], wait]
                ahead.append(wait.holder)
    return None


def parents(reader: Reader, tenant: str, case_id: str) -> tuple[str, ...]:
    """The cases that wait for the end of a case: its parent, the parent of that one, and so on."""
    found: list[str] = []
    while (row := reader.row(_PARENT, (tenant, found[-1] if found else case_id))) is not None:
        found.append(row["case_id"])
    return tuple(found)


def _told(new: Wait, way: Iterable[Wait]) -> str:
    parts, last = [f"{new.resource} is held by case {new.holder}"], new.holder
    for wait in way:
        if wait.case_id != last:  # its parent waits for it
            parts.append(f"waits for case {wait.case_id}")
        parts.append(f"waits for {wait.resource}, held by case {wait.holder}")
        last = wait.holder
    if last != new.case_id:
        parts.append(f"waits for case {new.case_id}")
    return ", which ".join(parts)
