"""The append-only, hash-chained record of everything that happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from interlock import errors
from interlock.clock import Clock, iso, moment
from interlock.ids import digest
from interlock.observability import archives, erasing
from interlock.observability.archives import Archive
from interlock.observability.events import EVENTS, Kind
from interlock.observability.seal import Proof
from interlock.observability.verification import Report, verify
from interlock.storage.chain import STREAM, Event
from interlock.storage.claim import CLAIM, Claim
from interlock.storage.database import Database, Reader, Row, Transaction

__all__ = ["EVENTS", "Event", "Kind", "Ledger", "Report"]

_PAGE = 500
_EXPORT = (
    "SELECT l.stream, l.seq, l.at, l.type, l.schema_version, l.tenant, l.case_id, l.actor, l.identity, p.data,"
    " l.payload_hash, p.salt, l.prev, l.hash, s.key_id, s.signature FROM ledger l"
    " LEFT JOIN payloads p ON p.tenant = l.tenant AND p.hash = l.payload_hash"
    " LEFT JOIN seals s ON s.tenant = '' AND s.stream = l.stream AND s.seq = l.seq"
    " WHERE (l.stream, l.seq) > (?, ?){filters} ORDER BY l.stream, l.seq LIMIT ?"
)
_LIVE = " AND l.seq > coalesce((SELECT max(a.seq) FROM archives a WHERE a.tenant = '' AND a.stream = l.stream), 0)"
_STRETCH = " AND l.stream = ? AND l.seq <= ?"
_CASE_OF = " OR (l.tenant = ? AND l.case_id = ?)"
_LAST_SEAL = "SELECT max(seq) AS seq FROM seals WHERE tenant = '' AND stream = ?"
_COUNTS = "SELECT case_id, count(*) AS n FROM ledger WHERE tenant = ? GROUP BY case_id"


class Ledger:
    """Writes events through the committer and reads them back. One chain per database.

    `tenants` are those whose events `export` gives when it is not told; None is every tenant. `proof` says where keys
    and anchor are; without it (a database in memory) no seal is checked.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self.tenants: Collection[str] | None = None
        self.proof: Proof | None = None
        self._db = db
        self.clock = clock

    def event(
        self,
        type: str,
        *,
        tenant: str,
        case_id: str | None = None,
        actor: str = "",
        data: Mapping[str, Any] | None = None,
        identity: str | None = None,
        at: str | None = None,
    ) -> Event:
        """An event of the closed list, at the clock's time unless `at` (from `clock.iso`) says otherwise.

        Raises ConfigurationError on an unknown type or a missing key, InputError when `data` is no JSON.
        """
        data = dict(data or {})
        kind = _kind(type, data)
        when = at or iso(self.clock.now())
        return Event(type, tenant, case_id, actor, data, when, identity, kind.schema_version)

    async def record(self, *events: Event) -> list[int | None]:
        """Make events durable at once, as one unit: their seqs (None for one that was there already).

        The unit belongs to the current claim when every event is of its case.
        """
        return await self._db.commit(lambda tx: [tx.append(event) for event in events], claim=_claim_of(events))

    def defer(self, event: Event, ns: str, attempt: int = 1) -> None:
        """Commit an event with the task of namespace `ns`. Without an identity it gets that of its turn.

        Raises ConfigurationError when no claim on the event's case is in `CLAIM`.
        """
        claim = _claim_of([event])
        if claim is None:
            raise errors.ConfigurationError(
                f"{event.type} cannot wait: no claim on case {event.case_id}", "set CLAIM before the graph is invoked"
            )
        if event.identity is None:
            turn = claim.turn(ns, attempt, event.type)
            event = event.named(digest([event.case_id, ns, event.type, turn]))
        claim.later(ns, lambda tx: tx.append(event))

    async def export(
        self,
        case_id: str | None = None,
        since: datetime | str | None = None,
        tenant: str | None = None,
        *,
        types: Collection[str] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Events in the order of their chain, with `data` parsed (None once erased) and `salt` in hex;
        a seal.made event has its `seal` (key_id and signature).

        `since` compares with `at`; text is read as ISO 8601, and UTC without a zone. Without a tenant, those of
        `tenants`; without `types`, all. What was archived is not in it, but for what open cases keep, which their
        `case_id` or `types` find. Raises InputError when `since` is no time, DatabaseCorrupt when a payload
        cannot be read.
        """
        sql, params = _selection(case_id, since, self.tenants if tenant is None else (tenant,), types)
        async for event in self._read(sql, ("", 0), params):
            yield event

    async def stretch(self, stream: str, after: int, last: int) -> AsyncIterator[dict[str, Any]]:
        """All events of one stream after one number, up to another, as `export` gives them."""
        async for event in self._read(_EXPORT.format(filters=_STRETCH), (stream, after), (stream, last)):
            yield event

    async def part(self, tenant: str, case_id: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """All events of a tenant, or of one case, with what proves that none is missing: a `proof` first, then events
        and seals up to the last seal, archives included. A case begins with the seal before it.

        Raises NotFound when there is no such event, DatabaseCorrupt when an archive or a payload cannot be read.
        """
        since, begun = 0, case_id is None
        if begun:
            yield _proof(tenant, None, since)
        async for event in self._with_seals(tenant, case_id):
            if not begun and event["type"] != "seal.made":
                begun = True
                yield _proof(tenant, case_id, since)
            if begun:
                yield event
            since = event["seq"]
        if not begun:
            raise errors.NotFound(f"no sealed event of case {case_id!r}", "a seal follows in a minute, or at the end")

    async def _with_seals(self, tenant: str, case_id: str | None) -> AsyncIterator[dict[str, Any]]:
        """Events of a part and all seals, from the beginning to the last seal."""
        left, last = await self._db.read(_left)
        for one in left:
            for event in await asyncio.to_thread(_archived, self.proof, one, tenant, case_id):
                yield event
        wanted, whose = (" OR l.tenant = ?", [tenant]) if case_id is None else (_CASE_OF, [tenant, case_id])
        sql = _EXPORT.format(filters=f"{_STRETCH} AND (l.type = 'seal.made'{wanted})")
        async for event in self._read(sql, (STREAM, left[-1].seq if left else 0), [STREAM, last, *whose]):
            yield event

    async def _read(self, sql: str, after: tuple[str, int], params: Sequence[Any]) -> AsyncIterator[dict[str, Any]]:
        while rows := await self._db.read(_page(sql, after, params)):
            for row in rows:
                yield _exported(row)
            after = rows[-1]["stream"], rows[-1]["seq"]

    async def count(self, tenant: str, case_ids: Collection[str]) -> int:
        """How many events belong to these cases."""
        wanted = frozenset(case_ids)
        rows = await self._db.read(lambda tx: tx.rows(_COUNTS, (tenant,)))
        return sum(row["n"] for row in rows if row["case_id"] in wanted)

    async def verify(self) -> Report:
        """Read the whole chain: `.ok .events .first_bad .why`. Finds edits, deletions, insertions, reordering.

        With seals and anchor also a cut-off end and a chain that was computed anew.
        """
        return await verify(self._db, self.proof)

    async def erase(
        self, tenant: str, hashes: Sequence[str] | None = None, *, case_id: str | None = None, by: str, why: str
    ) -> int:
        """Erase payloads in the database, by hash or all of a case; the chain stays whole, payload.erased says which.

        Gives how many were erased; those already erased, unknown, or themselves of an erasure are left out.
        """
        if (hashes is None) == (case_id is None):
            raise errors.InputError("say what to erase", "give either hashes or case_id")
        at = iso(self.clock.now())

        def unit(tx: Transaction) -> int:
            gone = erasing.blank(tx, tenant, erasing.of_case(tx, tenant, case_id) if hashes is None else hashes, at)
            if gone:
                tx.append(self.erased(tenant, case_id, gone, by=by, why=why, at=at))
            return len(gone)

        return await self._db.commit(unit)

    def erased(self, tenant: str, case_id: str | None, hashes: Sequence[str], *, by: str, why: str, at: str) -> Event:
        """What the chain says of payloads that were erased: without it they would be missing."""
        data = {"hashes": list(hashes), "why": why}
        return self.event("payload.erased", tenant=tenant, case_id=case_id, actor=by, data=data, at=at)


def _proof(tenant: str, case_id: str | None, since: int) -> dict[str, Any]:
    return {"proof": {"stream": STREAM, "tenant": tenant, "case_id": case_id, "since": since}}


def _left(reader: Reader) -> tuple[list[Archive], int]:
    """The archives, and the number of the last seal."""
    left, row = archives.listed(reader, STREAM), reader.row(_LAST_SEAL, (STREAM,))
    return left, (row["seq"] if row else None) or (left[-1].seq if left else 0)


def _archived(proof: Proof | None, archive: Archive, tenant: str, case_id: str | None) -> list[dict[str, Any]]:
    """The events of a part, and the seals, of an archive."""
    if proof is None:
        raise errors.ConfigurationError("it is not known where the archives are", "open the plane of the home")
    try:
        events = [orjson.loads(line) for line in archives.read(proof.archives, archive)]
    except (OSError, ValueError) as exc:
        raise errors.DatabaseCorrupt(f"{archive.file} cannot be read: {exc}", "run `interlock audit verify`") from exc
    return [
        event
        for event in events
        if event["type"] == "seal.made" or (event["tenant"] == tenant and case_id in (None, event["case_id"]))
    ]


def _kind(type_: str, data: Mapping[str, Any]) -> Kind:
    kind = EVENTS.get(type_)
    if kind is None:
        raise errors.ConfigurationError(f"{type_!r} is no ledger event", "use a type of EVENTS")
    missing = sorted(kind.keys - data.keys())
    if missing:
        raise errors.ConfigurationError(f"{type_} lacks {', '.join(missing)}", "give every key; null is a value")
    return kind


def _claim_of(events: Sequence[Event]) -> Claim | None:
    claim = CLAIM.get()
    if claim is None or any((e.tenant, e.case_id) != (claim.tenant, claim.case_id) for e in events):
        return None
    return claim


def _selection(
    case_id: str | None,
    since: datetime | str | None,
    tenants: Collection[str] | None,
    types: Collection[str] | None,
) -> tuple[str, list[Any]]:
    wanted = {"l.case_id = ?": case_id, "l.at >= ?": None if since is None else iso(moment(since, "since"))}
    chosen = {sql: value for sql, value in wanted.items() if value is not None}
    filters, params = "".join(f" AND {sql}" for sql in chosen), list(chosen.values())
    if case_id is None and types is None:
        filters += _LIVE
    for column, among in {"tenant": tenants, "type": types}.items():
        if among is not None:
            filters += f" AND l.{column} IN ({', '.join('?' * len(among))})"
            params += among
    return _EXPORT.format(filters=filters), params


def _page(sql: str, after: tuple[str, int], params: Sequence[Any]) -> Callable[[Reader], list[Row]]:
    return lambda reader: reader.rows(sql, (*after, *params, _PAGE))


def _exported(row: Row) -> dict[str, Any]:
    exported = dict(row)
    key_id, signature = exported.pop("key_id"), exported.pop("signature")
    if signature is not None:
        exported["seal"] = {"key_id": key_id, "signature": signature}
    try:
        exported["data"] = None if row["data"] is None else orjson.loads(row["data"])
        exported["salt"] = bytes(row["salt"] or b"").hex()
    except (TypeError, ValueError) as exc:
        raise errors.DatabaseCorrupt(
            f"the payload of event {row['seq']} cannot be read", "run `interlock audit verify`"
        ) from exc
    return exported
