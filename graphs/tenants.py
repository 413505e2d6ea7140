"""The tenants a plane speaks for: its own, and those for which its callers have started cases."""

from __future__ import annotations

from collections.abc import Iterable

from interlock.storage.database import Database

__all__ = ["Tenants"]

_CASE = "SELECT 1 FROM cases WHERE tenant = ? AND case_id = ?"
_ITEM = "SELECT 1 FROM inbox WHERE tenant = ? AND id = ?"


class Tenants:
    """Whose case or item an id names. Those of other tenants are not there, as far as this plane can tell."""

    def __init__(self, db: Database, own: str) -> None:
        self.own = own
        self.served = {own: True}  # in the order in which they came
        self._db = db

    def serve(self, tenant: str | None) -> str:
        """The tenant of a start: whoever may start its cases may see them."""
        whose = tenant or self.own
        self.served[whose] = True
        return whose

    async def of_case(self, case_id: str) -> str:
        """The tenant of a case; the plane's own when there is no such case."""
        return await self._of(_CASE, case_id)

    async def of_item(self, item_id: str) -> str:
        """The tenant of an inbox item; the plane's own when there is no such item."""
        return await self._of(_ITEM, item_id)

    async def grouped(self, ids: Iterable[str]) -> dict[str, list[str]]:
        """The ids of cases, each once, by tenant."""
        groups: dict[str, list[str]] = {}
        for case_id in dict.fromkeys(ids):
            groups.setdefault(await self.of_case(case_id), []).append(case_id)
        return groups

    async def _of(self, sql: str, one: str) -> str:
        if len(self.served) == 1:
            return self.own
        tenants = list(self.served)
        return await self._db.read(lambda tx: next((t for t in tenants if tx.row(sql, (t, one))), self.own))
