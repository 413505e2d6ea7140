"""How long what was recorded stays where: archives of the ledger, and the erasure of what cases hold of people."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from interlock import errors
from interlock.clock import iso
from interlock.graphs import cases, erasure
from interlock.graphs.services import Services
from interlock.observability import archives, archiving, erasing
from interlock.observability.archiving import Archived
from interlock.observability.erasing import Rewritten
from interlock.storage.chain import STREAM
from interlock.storage.transaction import Reader, Transaction

__all__ = ["Erased", "Retention"]


class Erased(NamedTuple):
    """Which cases were erased, and how many payloads of the ledger went with them."""

    cases: list[str]
    payloads: int


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

    async def erase(self, case_ids: Collection[str] = (), *, subject: str | None = None, by: str, why: str) -> Erased:
        """Take out what ended cases hold of people: in the ledger, its archives and every table; then scrub the file.

        The cases are those named, those that hold the text `subject`, and those that they started. The chain stays
        whole, and says per case who erased it and why. Once interrupted, call it again. Raises InputError, NotFound,
        NotAuthorized unless a person asks; Conflict, and nothing is erased, when one of them has not ended or is held.
        """
        await self._ready()
        self._check(case_ids, subject, by, why)
        async with self._turn:
            wanted = await self._services.db.read(lambda tx: self._wanted(tx, case_ids, subject))
            if subject is not None:
                wanted += [one for one in await self._archived_with(subject) if one not in wanted]
            erased = await self._erase(sorted(wanted), by, why)
            await self._services.db.scrub()
        return erased

    def _check(self, case_ids: Collection[str], subject: str | None, by: str, why: str) -> None:
        self._services.actors.get(by)
        if not by.startswith("person:"):
            raise errors.NotAuthorized(f"{by} is no person", "a person answers for an erasure")
        if isinstance(case_ids, str) or bool(case_ids) == (subject is not None) or subject == "":
            raise errors.InputError("say what to erase", "give either cases or a subject")
        if not why.strip():
            raise errors.InputError("an erasure needs a reason", "say why; it stays in the ledger")

    def _wanted(self, tx: Reader, case_ids: Collection[str], subject: str | None) -> list[str]:
        found = erasure.descendants(tx, self._tenant, case_ids or erasure.holding(tx, self._tenant, subject or ""))
        self._refuse(tx, found)
        return found

    def _refuse(self, tx: Reader, case_ids: Sequence[str]) -> None:
        for case_id in case_ids:
            row = cases.get(tx, self._tenant, case_id)
            if row is None:
                raise errors.NotFound(f"no case {case_id!r}", "see `interlock cases`")
            if row["status"] not in cases.ENDED:
                raise errors.Conflict(f"case {case_id} has not ended", "erase it when it has, or cancel it first")
            if case_id in self._services.settings.legal_holds:
                raise errors.Conflict(f"case {case_id} is held", "take it out of `legal_holds` when it may go")

    async def _erase(self, case_ids: Sequence[str], by: str, why: str) -> Erased:
        """Archives are written anew beside the old files; one commit changes all, and then the old files go."""
        rewritten = await self._rewritten(case_ids)
        at = iso(self._services.clock.now())

        def unit(tx: Transaction) -> int:
            self._refuse(tx, case_ids)
            for one in rewritten:
                archives.replace(tx, one.archive, one.file)
            return sum(self._erase_case(tx, case_id, rewritten, at, by=by, why=why) for case_id in case_ids)

        count = await self._services.db.commit(unit)
        await self._tidy()
        return Erased(list(case_ids), count)

    def _erase_case(
        self, tx: Transaction, case_id: str, rewritten: Sequence[Rewritten], at: str, *, by: str, why: str
    ) -> int:
        ledger, tenant = self._services.ledger, self._tenant
        gone = erasing.blank(tx, tenant, erasing.of_case(tx, tenant, case_id), at)
        gone = list(dict.fromkeys([*(name for one in rewritten for name in one.hashes.get(case_id, ())), *gone]))
        erasure.blank_case(tx, tenant, case_id, at)
        if gone:
            tx.append(ledger.erased(tenant, case_id, gone, by=by, why=why, at=at))
        return len(gone)

    async def _archived_with(self, subject: str) -> list[str]:
        """Ended cases whose events of before hold the text."""
        proof = self._services.ledger.proof
        if proof is None:
            return []
        left = await self._services.db.read(lambda tx: archives.listed(tx, STREAM))
        found = await asyncio.to_thread(erasing.holding, proof.archives, left, self._tenant, subject)
        return await self._services.db.read(lambda tx: self._wanted(tx, found, None)) if found else []

    async def _rewritten(self, case_ids: Sequence[str]) -> list[Rewritten]:
        left = await self._tidy()
        proof = self._services.ledger.proof
        if proof is None or not left:
            return []
        return await asyncio.to_thread(
            lambda: [
                made
                for one in left
                if (made := erasing.rewrite(proof.archives, one, self._tenant, set(case_ids))) is not None
            ]
        )

    async def _tidy(self) -> list[archives.Archive]:
        """Delete what no row names; gives the archives that are there."""
        left = await self._services.db.read(lambda tx: archives.listed(tx, STREAM))
        if (proof := self._services.ledger.proof) is not None:
            await asyncio.to_thread(archives.tidy, proof.archives, left)
        return left
