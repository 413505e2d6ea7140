"""Leases: one case at a time on a business object, with a fencing token that every new holder raises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from interlock import errors
from interlock.oversight.waits import Wait, Waits

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
_ALIVE = frozenset({"queued", "running", "waiting"})


@dataclass(frozen=True)
class Held:
    """An object that a case has; `waiting` are the cases that wait for it now, as far as this engine drives them."""

    resource: str
    token: int
    since: str
    waiting: list[str] = field(default_factory=list)


def held(reader: Reader, tenant: str, case_id: str) -> list[Held]:
    """What a case has, in the order of the names."""
    return [Held(row["resource"], row["token"], row["taken_at"]) for row in reader.rows(_HELD, (tenant, case_id))]


class LeaseHeld(errors.Denied):
    """Another case holds the object; `.holder` is its id."""

    code = "lease_held"

    def __init__(self, resource: str, holder: str) -> None:
        super().__init__(f"{resource} is held by case {holder}", "wait until that case has ended, or cancel it")
        self.holder = holder


class Leases:
    """The leases of all cases. Changes happen inside the caller's transaction; `notify` follows its commit."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.waits = Waits()
        self._waiting: dict[tuple[str, str], set[asyncio.Future[None]]] = {}

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
            self._take_over(tx, row, tenant, resource, at)
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
        """Give back whatever a case holds; gives the objects, for `notify` after the commit."""
        leases = held(tx, tenant, case_id)
        tx.execute(_RELEASE, (tenant, case_id))
        for one in leases:
            self._tell(tx, "lease.released", tenant, case_id, at=at, resource=one.resource, token=one.token)
        return [one.resource for one in leases]

    def awaited(self, tenant: str, leases: Iterable[Held]) -> list[Held]:
        """The same leases, with the cases that wait for each."""
        return [replace(one, waiting=self.waits.for_object(tenant, one.resource)) for one in leases]

    async def wait(self, tenant: str, wait: Wait, timeout: float) -> None:  # noqa: ASYNC109  # never raises for it
        """Wait as `freed` does. Raises Deadlock when whoever holds the object waits for this case."""
        with self.waits.on(tenant, wait):
            await self.freed(tenant, wait.resource, timeout)

    async def freed(self, tenant: str, resource: str, timeout: float) -> None:  # noqa: ASYNC109  # never raises for it
        """Wait until a release of the object is notified, at most `timeout` real seconds."""
        freed = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault((tenant, resource), set())
        waiting.add(freed)
        try:
            await asyncio.wait([freed], timeout=timeout)
        finally:
            waiting.discard(freed)
            if not waiting and self._waiting.get((tenant, resource)) is waiting:
                del self._waiting[tenant, resource]

    def notify(self, tenant: str, resources: Iterable[str]) -> None:
        """Wake those who wait for these objects. Call it on the event loop, after the commit of the release."""
        for resource in resources:
            for freed in self._waiting.pop((tenant, resource), ()):
                freed.set_result(None)

    def _take_over(self, tx: Transaction, row: Row, tenant: str, resource: str, at: str) -> None:
        """End the lease of a case that can no longer release it itself. Raises LeaseHeld when it still can."""
        holder = row["case_id"]
        if holder is None:
            return
        if row["status"] in _ALIVE:
            raise LeaseHeld(resource, holder)
        self._tell(tx, "lease.released", tenant, holder, at=at, resource=resource, token=row["token"])

    def _tell(self, tx: Transaction, type_: str, tenant: str, case_id: str, *, at: str, **data: object) -> None:
        tx.append(self._ledger.event(type_, tenant=tenant, case_id=case_id, data=data, at=at))
