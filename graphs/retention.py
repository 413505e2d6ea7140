"""How long what was recorded stays where: archives of the ledger, and the erasure of what cases hold of people."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from interlock import errors
from interlock.graphs.services import Services
from interlock.observability import archiving
from interlock.observability.archiving import Archived

__all__ = ["Retention"]


class Retention:
    """`plane.retention`: one thing at a time, for the plane's tenant."""

    def __init__(self, services: Services, ready: Callable[[], Awaitable[None]], tenant: str) -> None:
        self._services, self._ready, self._tenant = services, ready, tenant
        self._turn = asyncio.Lock()

    async def archive(self, before: datetime | None = None, *, by: str) -> Archived:
        """Move events before a time out of the database into files; without one, those past `retention_days`.

        The chain is one for all tenants, and so are its archives. Raises NotFound for an unknown `by`, InputError when
        the time is within `retention_days`, or there is no home; StorageError, Conflict.
        """
        await self._ready()
        services = self._services
        services.actors.get(by)
        floor = services.clock.now() - timedelta(days=services.settings.retention_days)
        if before is not None and before > floor:
            raise errors.InputError(
                f"events of the last {services.settings.retention_days} days stay in the database",
                "give an earlier time, or set `retention_days`",
            )
        async with self._turn:
            return await archiving.archive(services.db, services.ledger, before or floor, tenant=self._tenant, by=by)
