"""Waits for leases: which case waits for which, and the circle that none of them would get out of.

A case holds its leases until it ends, so a circle is closed by a new wait, or when a case comes to wait for a child.
Both are looked at in the transaction that would close it, so that of two that would do so together one is first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from interlock import errors
from interlock.oversight.holds import CHILD

if TYPE_CHECKING:
    from interlock.storage.database import Reader

__all__ = ["Deadlock", "Wait", "check", "circle", "closed", "parents", "waits_of"]

_PARENT = (
    "SELECT p.case_id FROM cases c JOIN cases p ON p.tenant = c.tenant AND p.case_id = c.parent_id"
    " WHERE c.tenant = ? AND c.case_id = ? AND p.status = 'waiting' AND p.reason LIKE '%child:' || c.case_id || '%'"
)
_WAITS = (
    "SELECT h.target, l.case_id FROM holds h JOIN leases l ON l.tenant = h.tenant AND l.resource = h.target"
    " WHERE h.tenant = ? AND h.case_id = ? AND h.kind = 'lease' AND h.status = 'waiting' AND l.case_id <> h.case_id"
    " ORDER BY h.seq"
)
_REASON = "SELECT reason FROM cases WHERE tenant = ? AND case_id = ? AND status = 'waiting' AND reason LIKE '%child:%'"


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


def check(reader: Reader, tenant: str, wait: Wait) -> None:
    """Raises Deadlock for a wait that would close a circle."""
    way = circle(partial(waits_of, reader, tenant), wait)
    if way is not None:
        raise Deadlock(wait, way)


def closed(reader: Reader, tenant: str, case_id: str) -> list[Wait]:
    """The waits of a case, and of the children it waits for, that have become part of a circle."""
    found = waits_of(reader, tenant, case_id)
    waits = [wait._replace(above=parents(reader, tenant, wait.case_id)) for wait in found]
    return [wait for wait in waits if circle(partial(waits_of, reader, tenant), wait) is not None]


def waits_of(reader: Reader, tenant: str, case_id: str) -> list[Wait]:
    """The waits for leases of a case, and of the children whose end it waits for."""
    found: list[Wait] = []
    for one in (cases := [case_id]):
        found += [Wait(one, row["target"], row["case_id"]) for row in reader.rows(_WAITS, (tenant, one))]
        row = reader.row(_REASON, (tenant, one))
        waited = row["reason"].split() if row is not None else []
        cases += [name.removeprefix(CHILD) for name in waited if name.startswith(CHILD)]
    return found


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
