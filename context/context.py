"""The data context of a plane: ingest, query, delete, erase, over numbered snapshots."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from interlock import errors
from interlock.clock import Clock, iso, parse
from interlock.context.access import Asker, Grants, Pass
from interlock.context.document import Chunk, check_source
from interlock.context.embed import Embedder, QueryMemory, embedder_of
from interlock.context.ingest import Ingested, RawDocument, batches, plan_ingest
from interlock.context.retrieve import Fact, permitted, search
from interlock.context.shelf import Shelf
from interlock.context.snapshot import Catalogue, Change, current_number, edition_rows, number_at
from interlock.context.store import Store
from interlock.context.where import Where
from interlock.observability import trace
from interlock.observability.ledger import Ledger
from interlock.settings import Settings
from interlock.storage.database import Database, Reader

__all__ = ["Context"]

T = TypeVar("T")
_THREADS = 4
_MAX_K = 1_000
_CASE = "SELECT snapshot FROM cases WHERE tenant = ? AND case_id = ?"


class Context:
    """Documents of every tenant, in `<home>/context`; in memory when `home` is None.

    Nothing is opened before it is needed. `grants` (labels that policy gives an actor) and `resolve` (the
    actor of an id) are set by the plane. Raises DatabaseLocked when another process owns the folder.
    """

    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        clock: Clock,
        settings: Settings,
        home: Path | None,
        *,
        embedder: Embedder | None = None,
    ) -> None:
        self.grants: Grants | None = None
        self.resolve: Callable[[str], Asker | None] = lambda actor_id: None
        self._db, self._ledger, self._clock, self._settings, self._home = db, ledger, clock, settings, home
        self._embedder = embedder
        self._open: _Open | None = None
        self._closed = False
        self._shelves: dict[str, Shelf] = {}
        self._opening = asyncio.Lock()
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="context")

    async def ingest(self, source: str, documents: Iterable[RawDocument], tenant: str = "default") -> Ingested:
        """Add and update documents `{id, title, text, labels=[], version, as_of, trust, metadata}` of a source.

        Equal content is not embedded again, new content closes the old version, bad documents are skipped with
        a reason. It becomes one snapshot, and visible, when it is complete. Raises InputError on a bad source.
        """
        check_source(source)
        async with self._writer(tenant) as (shelf, before):
            at, sentences = iso(self._clock.now()), self._settings.sentence_vectors
            plan = await self._run(lambda: plan_ingest(source, documents, before, at, with_sentences=sentences))
            for batch in batches(plan.added):
                await self._run(lambda batch=batch: shelf.write(batch, before))  # type: ignore[misc]  # the default binds the batch; mypy cannot infer it
            counts = {"ingested": len(plan.added), "unchanged": plan.unchanged, "skipped": len(plan.skipped)}
            number = await self._commit(shelf, before, plan.change(source), counts)
        return Ingested(len(plan.added), plan.unchanged, plan.skipped, number)

    async def query(
        self,
        text: str,
        k: int = 5,
        actor: Asker | str | None = None,
        tenant: str = "default",
        snapshot: int | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        as_of: datetime | str | None = None,
        chunks: bool = False,
        case_id: str | None = None,
    ) -> list[Fact]:
        """The best `k` facts that `actor` may see, best first; at most one per document unless `chunks`.

        Looks at the newest snapshot, or at one of: `snapshot`, the one known at `as_of`, the one of a case.
        Raises InputError on an empty text, a bad `k` or `where`, more than one moment, or no such snapshot.
        """
        _check(text, k)
        asker = self.resolve(actor) if isinstance(actor, str) else actor
        if asker is not None and not hasattr(asker, "all_roles"):
            raise errors.InputError(f"{actor!r} is no actor", "give an actor's id, as agent:buyer, or None")
        find = _moment(tenant, snapshot, as_of, case_id)
        question = _Question(text, k, Pass(asker, self.grants), Where(where), chunks)
        current, number = await self._db.read(find)
        with trace.retrieval("context", case_id=case_id or "", k=k):
            return await self._answer(tenant, current, number, question) if number else []

    async def snapshot_at(self, as_of: datetime | str, tenant: str = "default") -> int:
        """The number of the newest snapshot at a time of the plane's clock; 0 before the first."""
        at = _time(as_of)
        return await self._db.read(lambda reader: number_at(reader, tenant, at))

    async def delete(self, source: str, ids: Iterable[str], tenant: str = "default") -> int:
        """Close documents: later snapshots do not hold them, earlier ones still do. Gives how many there were."""
        wanted = _ids(source, ids)
        async with self._writer(tenant) as (shelf, before):
            closed = frozenset((source, id_) for id_ in wanted if (source, id_) in before.open)
            await self._commit(shelf, before, Change(source, closed=closed), {"deleted": len(closed)})
        return len(closed)

    async def erase(self, source: str, ids: Iterable[str], tenant: str = "default") -> int:
        """Remove documents with all their versions, from every snapshot. Gives how many there were.

        If it is interrupted, call it again: it also removes what is only half there. No text of them is left on disk
        once the context is closed; vectors stay in the index files of Chroma until those are rebuilt.
        """
        wanted, (opened, _) = _ids(source, ids), await self._shelf(tenant)
        async with self._writer(tenant) as (shelf, before):
            editions = [e for e in before.editions if e.source == source and e.document_id in wanted]
            change = Change(source, erased=frozenset(edition.key for edition in editions))
            await self._commit(shelf, before, change, {"erased": len(change.erased)})
            gone: list[Chunk] = [chunk for edition in editions for chunk in edition.chunks]
            await self._run(opened.store.scrub_later)
            await self._run(lambda: shelf.erase(source, sorted(wanted), gone))
        return len(change.erased)

    async def close(self) -> None:
        """Let running work end and free the folder. A second call does nothing."""
        await asyncio.shield(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._closed = True
        self._threads.shutdown(wait=True)
        opened, self._open = self._open, None
        if opened:
            opened.store.close()
            opened.embedder.close()

    async def _answer(self, tenant: str, current: int, number: int, question: _Question) -> list[Fact]:
        opened, shelf = await self._shelf(tenant)
        known = shelf.catalogue
        newest = known if known and known.number >= current else await self._newest(shelf)
        while True:
            try:
                return await self._run(partial(_search, shelf, newest, number, question, opened.memory))
            except errors.StorageError:
                if shelf.catalogue is newest:
                    raise
            # Documents were erased while this query looked at them.
            newest = await self._newest(shelf)

    @asynccontextmanager
    async def _writer(self, tenant: str) -> AsyncIterator[tuple[Shelf, Catalogue]]:
        _, shelf = await self._shelf(tenant)
        async with self._writing[tenant]:
            before = await self._newest(shelf)
            await self._run(lambda: shelf.sweep(before))
            yield shelf, before

    async def _commit(self, shelf: Shelf, before: Catalogue, change: Change, counts: dict[str, int]) -> int:
        number = before.number + (not change.empty)
        data = {"source": change.source, "ingested": 0, "unchanged": 0, "skipped": 0, **counts, "snapshot": number}
        async with self._loading[shelf.tenant]:
            event = self._ledger.event("context.ingested", tenant=shelf.tenant, data=data)
            await self._db.commit(change.commit(shelf.tenant, number, event))
            if not change.empty:
                await self._run(lambda: shelf.publish(number, change, before))
        return number

    async def _newest(self, shelf: Shelf) -> Catalogue:
        """The catalogue of the newest snapshot; read again when a commit was not followed by its publication."""
        async with self._loading[shelf.tenant]:
            current = await self._db.read(lambda reader: current_number(reader, shelf.tenant))
            if shelf.catalogue is not None and shelf.catalogue.number == current:
                return shelf.catalogue
            number, rows = await self._db.read(lambda reader: edition_rows(reader, shelf.tenant))
            return await self._run(lambda: shelf.load(number, rows))

    async def _shelf(self, tenant: str) -> tuple[_Open, Shelf]:
        async with self._opening:
            if self._open is None:
                self._open = await self._run(self._begin)
            opened = self._open
            if tenant not in self._shelves:
                sentences = self._settings.sentence_vectors
                self._shelves[tenant] = await self._run(
                    lambda: Shelf(opened.store, tenant, opened.embedder, with_sentences=sentences)
                )
            return opened, self._shelves[tenant]

    def _begin(self) -> _Open:
        embedder = self._embedder or embedder_of(self._settings)
        store = Store(self._home / "context" if self._home else None)
        return _Open(store, embedder, QueryMemory(embedder))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise errors.StorageError("the context is closed", "open the plane again")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _Open(NamedTuple):
    store: Store
    embedder: Embedder
    memory: QueryMemory


class _Question(NamedTuple):
    text: str
    k: int
    to: Pass
    where: Where
    chunks: bool


def _search(shelf: Shelf, newest: Catalogue, number: int, asked: _Question, memory: QueryMemory) -> list[Fact]:
    view = shelf.view(number, newest)
    rows = permitted(view, newest, asked.to, asked.where)
    if not rows:
        return []
    return search(view, rows, asked.text, shelf.dense(memory, asked.text), asked.k, chunks=asked.chunks)


def _moment(
    tenant: str, snapshot: int | None, as_of: datetime | str | None, case_id: str | None
) -> Callable[[Reader], tuple[int, int]]:
    """A query for (newest snapshot, snapshot to look at)."""
    if sum(one is not None for one in (snapshot, as_of, case_id)) > 1:
        raise errors.InputError("more than one moment asked for", "give one of snapshot, as_of and case_id")
    at = None if as_of is None else _time(as_of)

    def find(reader: Reader) -> tuple[int, int]:
        current = current_number(reader, tenant)
        if at is not None:
            return current, number_at(reader, tenant, at)
        number = snapshot if case_id is None else _of_case(reader, tenant, case_id)
        if number is not None and not 0 <= number <= current:
            raise errors.InputError(f"there is no snapshot {number}", f"the newest is {current}")
        return current, current if number is None else number

    return find


def _of_case(reader: Reader, tenant: str, case_id: str) -> int | None:
    row = reader.row(_CASE, (tenant, case_id))
    if row is None:
        raise errors.NotFound(f"there is no case {case_id!r}", "see interlock cases")
    return None if row["snapshot"] is None else int(row["snapshot"])


def _time(value: datetime | str) -> str:
    try:
        return iso(value if isinstance(value, datetime) else parse(value))
    except (TypeError, ValueError, OverflowError) as exc:
        raise errors.InputError(f"as_of {value!r} is no time", "write it as 2026-01-31T12:00:00Z") from exc


def _check(text: object, k: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise errors.InputError("the query is empty", "say what to look for")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _MAX_K:
        raise errors.InputError(f"k is {k!r}", f"ask for 1 to {_MAX_K} facts")


def _ids(source: str, ids: Iterable[str]) -> frozenset[str]:
    check_source(source)
    if isinstance(ids, (str, bytes)):
        raise errors.InputError("ids is one text", "give a list of document ids")
    return frozenset(ids)
