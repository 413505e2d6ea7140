"""Leases: one case at a time on a business object, with a fencing token that every new holder raises.

Calls for an object that another case has stand in a line. Whoever gives the object back hands it to the first of them,
in the same commit, so that nobody overtakes and nothing is lost with the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from interlock import errors
from interlock.oversight import holds, waits
from interlock.oversight.holds import Hold
from interlock.oversight.waits import Wait

if TYPE_CHECKING:
    from interlock.observability.ledger import Ledger
    from interlock.storage.database import Reader, Row, Transaction

__all__ = ["Held", "LeaseHeld", "Leases", "held"]

_LEASE = (
    "SELECT l.case_id, l.token, c.status FROM leases l"
    " LEFT JOIN cases c ON c.tenant = l.tenant AND c.case_id = l.case_id WHERE l.tenant = ? AND l.resource = ?"
)
# The row stays when a lease is released, so that tokens go on growing.
_TAKE = (
    "INSERT INTO leases (tenant, resource, case_id, epoch, token, taken_at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (tenant, resource) DO UPDATE SET case_id = excluded.case_id, epoch = excluded.epoch,"
    " token = excluded.token, taken_at = excluded.taken_at"
)
_RENEW = "UPDATE leases SET epoch = ? WHERE tenant = ? AND resource = ? AND epoch < ?"
_HELD = "SELECT resource, token, taken_at FROM leases WHERE tenant = ? AND case_id = ? ORDER BY resource"
_RELEASE = "UPDATE leases SET case_id = NULL WHERE tenant = ? AND case_id = ?"
_WAITED = (
    "SELECT DISTINCT h.tenant, h.target, COALESCE(l.token, 0) AS token, l.case_id AS holder, c.status FROM holds h"
    " LEFT JOIN leases l ON l.tenant = h.tenant AND l.resource = h.target"
    " LEFT JOIN cases c ON c.tenant = l.tenant AND c.case_id = l.case_id"
    " WHERE h.kind = 'lease' AND h.status = 'waiting'"
)
_CALLERS_GONE = (
    "SELECT h.tenant, h.id FROM holds h JOIN cases c ON c.tenant = h.tenant AND c.case_id = h.case_id"
    " WHERE c.paused = 2"
)
_RELEASE_ONE = "UPDATE leases SET case_id = NULL WHERE tenant = ? AND resource = ?"
_USED = "SELECT 1 FROM effects WHERE tenant = ? AND case_id = ? AND fence = ? LIMIT 1"
_ALIVE = frozenset({"queued", "running", "waiting"})


@dataclass(frozen=True)
class Held:
    """An object that a case has; `waiting` are the cases that wait for it now, the first in line first."""

    resource: str
    token: int
    since: str
    waiting: list[str] = field(default_factory=list)


def held(reader: Reader, tenant: str, case_id: str) -> list[Held]:
    """What a case has, in the order of the names, with who waits for it."""
    rows = reader.rows(_HELD, (tenant, case_id))
    return [
        Held(row["resource"], row["token"], row["taken_at"], _line(reader, tenant, row["resource"])) for row in rows
    ]


def _line(reader: Reader, tenant: str, resource: str) -> list[str]:
    return list(dict.fromkeys(row["case_id"] for row in holds.line(reader, tenant, "lease", resource)))


def _nobody(tenant: str, case_id: str) -> None:
    """Without an engine nobody has to be woken."""


class LeaseHeld(errors.Denied):
    """Another case holds the object; `.holder` is its id."""

    code = "lease_held"

    def __init__(self, resource: str, holder: str) -> None:
        super().__init__(f"{resource} is held by case {holder}", "wait until that case has ended, or cancel it")
        self.holder = holder


class Leases:
    """The leases of all cases. Changes happen inside the caller's transaction; `notify` follows its commit.

    The engine sets `wake`: it drives a case that was queued.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turns: dict[tuple[str, str], set[asyncio.Future[None]]] = {}
        self.wake: Callable[[str, str], None] = _nobody

    def take(self, tx: Transaction, *, tenant: str, resource: str, case_id: str, epoch: int, at: str) -> int:
        """Claim an object for a case; gives the fencing token. The same case again keeps its token.

        A lease of a case that has ended, or is gone, is taken over. Raises LeaseHeld.
        """
        row = tx.row(_LEASE, (tenant, resource))
        if row is not None and row["case_id"] == case_id:
            tx.execute(_RENEW, (epoch, tenant, resource, epoch))
            return int(row["token"])
        token = 1
        if row is not None:
            self._take_over(tx, row, tenant=tenant, resource=resource, case_id=case_id, at=at)
            token = row["token"] + 1
        tx.execute(_TAKE, (tenant, resource, case_id, epoch, token, at))
        self._tell(tx, "lease.taken", tenant, case_id, at=at, resource=resource, token=token)
        return token

    def check(self, tx: Transaction, *, tenant: str, resource: str, case_id: str, token: int) -> None:
        """Raises LeaseHeld when another case holds the object, Stale when this case's lease is another or none."""
        row = tx.row(_LEASE, (tenant, resource))
        holder = None if row is None else row["case_id"]
        if holder not in (None, case_id):
            raise LeaseHeld(resource, holder)
        if row is None or holder is None or row["token"] != token:
            raise errors.Stale(f"the lease of case {case_id} on {resource} is over", "take the lease again")

    def release_all(self, tx: Transaction, tenant: str, case_id: str, at: str) -> list[str]:
        """Give back whatever a case holds, and hand it on; gives the cases that have it now, for `notify`."""
        holds.forget_case(tx, tenant, case_id)
        leases = tx.rows(_HELD, (tenant, case_id))
        tx.execute(_RELEASE, (tenant, case_id))
        for one in leases:
            self._tell(tx, "lease.released", tenant, case_id, at=at, resource=one["resource"], token=one["token"])
        return self._hand_on_all(tx, tenant, leases, at)

    # waiting

    def line_up(self, tx: Transaction, *, tenant: str, resource: str, case_id: str, call: str, at: str) -> None:
        """Put a call into the line for an object that another case has; its place is kept until it has the object.

        Raises Deadlock when whoever holds the object waits for this case.
        """
        row = tx.row(_LEASE, (tenant, resource))
        holder = "" if row is None else row["case_id"] or ""
        waits.check(tx, tenant, Wait(case_id, resource, holder, waits.parents(tx, tenant, case_id)))
        holds.place(tx, Hold(tenant, call, case_id, "lease", resource, _why(resource, holder)), at)

    def leave(self, tx: Transaction, tenant: str, call: str, at: str) -> list[str]:
        """Take a call that waits no more out of its line; what it was handed and has not used goes to the next.

        Gives the cases that have something now, for `notify`.
        """
        left = holds.forget(tx, tenant, call)
        if left is None or left["kind"] != "lease" or left["status"] != "over":
            return []
        row = tx.row(_LEASE, (tenant, left["target"]))
        if row is None or row["case_id"] != left["case_id"] or tx.row(_USED, (tenant, left["case_id"], row["token"])):
            return []
        tx.execute(_RELEASE_ONE, (tenant, left["target"]))
        self._tell(tx, "lease.released", tenant, left["case_id"], at=at, resource=left["target"], token=row["token"])
        return self._hand_on_all(tx, tenant, [{"resource": left["target"], "token": row["token"]}], at)

    def unravel(self, tx: Transaction, tenant: str, case_id: str, at: str) -> list[str]:
        """A case comes to wait for children: calls that this leaves in a circle look again, and are refused then.

        Gives their cases, for `notify`.
        """
        found = []
        for wait in waits.closed(tx, tenant, case_id):
            rows = holds.line(tx, tenant, "lease", wait.resource)
            holds.end(tx, [row for row in rows if row["case_id"] == wait.case_id], at)
            found.append(wait.case_id)
        return found

    def recover(self, tx: Transaction, at: str) -> None:
        """When an engine begins: callers of tools have gone with the last one, and no line stays without an end."""
        for row in tx.rows(_CALLERS_GONE):
            self.leave(tx, row["tenant"], row["id"], at)
        for row in tx.rows(_WAITED):
            if row["holder"] is None or row["status"] not in _ALIVE:
                self._hand_on(tx, row["tenant"], row["target"], row["token"], at)

    def turn(self, tenant: str, case_id: str) -> asyncio.Future[None]:
        """Done when a case in line has been handed something. Ask for it before looking whether that has happened."""
        turn = asyncio.get_running_loop().create_future()
        self._turns.setdefault((tenant, case_id), set()).add(turn)
        turn.add_done_callback(partial(self._over, (tenant, case_id)))
        return turn

    def notify(self, tenant: str, case_ids: Iterable[str]) -> None:
        """Tell these cases that they have what they waited for. Call it on the event loop, after the commit."""
        for case_id in case_ids:
            for turn in list(self._turns.get((tenant, case_id), ())):
                if not turn.done():
                    turn.set_result(None)
            self.wake(tenant, case_id)

    def _over(self, key: tuple[str, str], turn: asyncio.Future[None]) -> None:
        waiting = self._turns.get(key, set())
        waiting.discard(turn)
        if not waiting:
            self._turns.pop(key, None)

    def _hand_on_all(self, tx: Transaction, tenant: str, leases: Iterable[Any], at: str) -> list[str]:
        found = (self._hand_on(tx, tenant, one["resource"], one["token"], at) for one in leases)
        return list(dict.fromkeys(case_id for case_id in found if case_id is not None))

    def _hand_on(self, tx: Transaction, tenant: str, resource: str, token: int, at: str) -> str | None:
        """Give a free object to the first in line; gives the case."""
        line = holds.line(tx, tenant, "lease", resource)
        first = next((row for row in line if _goes_on(tx, tenant, resource, row["case_id"], line)), None)
        if first is None:
            return None
        case_id = str(first["case_id"])
        tx.execute(_TAKE, (tenant, resource, case_id, first["epoch"], token + 1, at))
        self._tell(tx, "lease.taken", tenant, case_id, at=at, resource=resource, token=token + 1)
        holds.end(tx, [row for row in line if row["case_id"] == case_id], at)
        holds.explain(tx, tenant, "lease", resource, _why(resource, case_id))
        return case_id

    def _take_over(self, tx: Transaction, row: Row, *, tenant: str, resource: str, case_id: str, at: str) -> None:
        """End the lease of a case that can no longer release it itself. Raises LeaseHeld when it still can."""
        holder = row["case_id"]
        if holder is None:
            return
        if row["status"] in _ALIVE:
            raise LeaseHeld(resource, holder)
        self._tell(tx, "lease.released", tenant, holder, at=at, resource=resource, token=row["token"])
        line = holds.line(tx, tenant, "lease", resource)
        holds.end(tx, [one for one in line if one["case_id"] == case_id], at)
        holds.explain(tx, tenant, "lease", resource, _why(resource, case_id))

    def _tell(self, tx: Transaction, type_: str, tenant: str, case_id: str, *, at: str, **data: object) -> None:
        tx.append(self._ledger.event(type_, tenant=tenant, case_id=case_id, data=data, at=at))


def _goes_on(tx: Reader, tenant: str, resource: str, case_id: str, line: Iterable[Row]) -> bool:
    """Whether a case can take an object without waiting for another one in its line, which would close a circle.

    Of several there is always one: before the object was free there was no circle.
    """
    found = partial(waits.waits_of, tx, tenant)
    if not found(case_id):
        return True
    others = {row["case_id"] for row in line} - {case_id}
    return all(waits.circle(found, Wait(other, resource, case_id)) is None for other in others)


def _why(resource: str, holder: str) -> str:
    return f"waits for {resource}, which is held by case {holder}"
