"""The cases of a plane as callers see them: started, waited for, read, stopped and driven on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from interlock import errors
from interlock.graphs import cases, starting, steering
from interlock.graphs.cases import Case
from interlock.graphs.drive import CaseInfo
from interlock.graphs.engine.embedded import EmbeddedEngine
from interlock.graphs.registry import Registry
from interlock.graphs.services import Services
from interlock.graphs.tenants import Tenants
from interlock.oversight.pages import Page, check_choice, check_limit, position

__all__ = ["CaseDesk"]


class CaseDesk:
    """What `plane` says of cases is done here; it makes the plane ready before anything is changed."""

    def __init__(
        self, services: Services, registry: Registry, engine: EmbeddedEngine, tenants: Tenants,
        ready: Callable[[], Awaitable[None]], *, read_only: bool,
    ) -> None:  # fmt: skip
        self._services = services
        self._registry = registry
        self._engine = engine
        self._tenants = tenants
        self._ready = ready
        self._read_only = read_only

    async def start(self, workflow: str, start: starting.Start) -> Case:
        """Raises InputError, NotFound, Denied, Conflict."""
        await self._ready()
        prepared = await starting.prepare(self._services, self._registry.get(workflow), start)
        case_id = await asyncio.shield(steering.begin(self._services, self._engine, prepared))
        return await self.read(case_id, start.tenant)

    async def start_child(self, parent: CaseInfo, workflow: str, value: Any, key: str) -> Case:
        """A case of the parent's tenant and requester, with no more trust and autonomy than the parent has."""
        start = starting.Start(
            value, parent.tenant, parent.requester, key, trusted=parent.trusted, parent=parent.case_id,
            autonomy=parent.autonomy,
        )  # fmt: skip
        return await self.start(workflow, start)

    async def start_many(
        self, workflow: str, starts: Sequence[starting.Start], key: Callable[[Any], str] | None
    ) -> list[Case | errors.InterlockError]:
        """A case per start, in order, once all are durable; one that is refused gives its error."""
        await self._ready()
        return await steering.start_many(self._services, self._engine, self._registry.get(workflow), starts, key)

    async def wait_all(self, ids: Iterable[str], until: str, seconds: float | None, tenant: str | None) -> list[Case]:
        """The cases, in their order, once all have settled or ended, or as they are after so many seconds."""
        if until not in ("settled", "ended"):
            raise errors.InputError(f"until is {until!r}", 'say "settled" or "ended"')
        await self._ready()
        wanted = list(ids)
        groups = {tenant: wanted} if tenant is not None else await self._tenants.grouped(wanted)
        if not self._read_only:
            await asyncio.gather(*(self._engine.wait(whose, some, until, seconds) for whose, some in groups.items()))
        found = [await cases.read_all(self._services.db, whose, some) for whose, some in groups.items()]
        by_id = {case.id: case for some in found for case in some}
        return [by_id[case_id] for case_id in wanted]

    async def read(self, case_id: str, tenant: str | None = None) -> Case:
        """One case, with who waits for what it holds. Raises NotFound."""
        whose = tenant or await self._tenants.of_case(case_id)
        found = await self._services.db.read(lambda tx: cases.read(tx, whose, case_id))
        if found is None:
            raise errors.NotFound(f"no case {case_id!r}", "see `interlock cases`")
        return found

    async def page(self, status: str | None, workflow: str | None, limit: int, cursor: str | None) -> Page[Case]:
        """Cases of the plane's own tenant, in start order. Raises InputError."""
        check_choice("status", status, cases.STATUSES)
        check_limit(limit)
        own, after = self._tenants.own, position(cursor)
        items, more = await self._services.db.read(
            lambda tx: cases.page(tx, own, status=status, workflow=workflow, limit=limit, after=after)
        )
        return Page(items, None if more is None else str(more))

    async def cancel(self, case_id: str, *, by: str, comment: str) -> Case:
        """End a case and its children now. Raises NotFound, Conflict."""
        await self._ready()
        self._services.actors.get(by)
        whose = await self._tenants.of_case(case_id)
        await steering.cancel(self._services, self._engine, whose, case_id, by=by, comment=comment)
        return await self.read(case_id)

    async def pause(self, case_id: str, *, by: str, comment: str) -> Case:
        """Raises NotFound, Conflict."""
        await self._ready()
        whose = await self._tenants.of_case(case_id)
        await steering.set_paused(self._services, whose, case_id, True, by=by, comment=comment)
        await self._engine.stop(case_id, drain=True)
        return await self.read(case_id)

    async def resume(self, case_id: str, *, by: str, comment: str) -> Case:
        """Raises NotFound, Conflict."""
        await self._ready()
        whose = await self._tenants.of_case(case_id)
        if await steering.set_paused(self._services, whose, case_id, False, by=by, comment=comment):
            self._engine.wake(whose, case_id)
        return await self.read(case_id)

    async def fork(self, case_id: str, *, checkpoint_id: str | None, by: str, comment: str) -> Case:
        """A new case that acts in shadow. Raises NotFound."""
        await self._ready()
        whose = await self._tenants.of_case(case_id)
        forked, ticket = await steering.fork(
            self._services, self._registry, whose, case_id, checkpoint_id=checkpoint_id, by=by, comment=comment
        )
        self._engine.submit([ticket])
        return await self.read(forked)
