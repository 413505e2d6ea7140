"""Read the whole chain again and say where, if anywhere, it was touched."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import orjson

from interlock import errors
from interlock.observability.seal import Proof, Seal
from interlock.observability.verify import Bad, Keys, read_anchor
from interlock.storage.chain import GENESIS, STREAM, Header, payload_hash, row_hash
from interlock.storage.database import Database, Reader, Row

__all__ = ["Report", "verify"]

BATCH = 2000
_STREAMS = (
    "SELECT stream FROM ledger GROUP BY stream UNION SELECT stream FROM heads WHERE tenant = ''"
    " UNION SELECT stream FROM seals"
)
_LAST = "SELECT max(seq) AS last FROM ledger WHERE stream = ?"
_HEAD = "SELECT seq, hash FROM heads WHERE tenant = '' AND stream = ?"
_ERASED_SINCE = (
    "SELECT p.data AS data FROM ledger l JOIN payloads p ON p.tenant = l.tenant AND p.hash = l.payload_hash"
    " WHERE l.stream = ? AND l.seq > ? AND l.type = 'payload.erased'"
)
_BATCH = (
    "SELECT l.stream, l.seq, l.at, l.type, l.schema_version, l.tenant, l.case_id, l.actor, l.identity,"
    " l.payload_hash, l.prev, l.hash, p.salt, p.data, p.erased_at, p.hash FROM ledger l"
    " LEFT JOIN payloads p ON p.tenant = l.tenant AND p.hash = l.payload_hash"
    " WHERE l.stream = ? AND l.seq > ? ORDER BY l.seq LIMIT ?"
)
_SEALS = "SELECT stream, seq, hash, at, key_id, signature FROM seals WHERE stream = ? ORDER BY seq"


class Report(NamedTuple):
    """`ok`, how many events were read, and where and why the first bad one is bad."""

    ok: bool
    events: int
    first_bad: int | None = None
    why: str = ""


class _End(NamedTuple):
    last: int
    seq: int
    hash: str


@dataclass
class _Walk:
    """How far one stream was read, and how many rows are read at once."""

    stream: str
    end: _End
    seq: int = 0
    hash: str = GENESIS
    size: int = BATCH
    erased: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    seals: dict[int, Seal] = field(default_factory=dict)
    anchor: dict[int, Seal] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)

    def take(self, rows: Iterable[Row]) -> None:
        for *fields, payload, prev, link, salt, data, erased, there in rows:
            header = Header(*fields)
            self._follow(header, payload, prev, link)
            if data is None:
                self._erased(payload, there is not None and erased is not None)
            elif not _is(payload, payload_hash, salt, data):
                raise Bad(self.seq, "the payload was changed")
            elif header.type == "payload.erased":
                self.named.update(_named(data))
            self._sealed(header)

    def _follow(self, header: Header, payload: str, prev: str, link: str) -> None:
        seq = header.seq
        if seq == self.seq:
            raise Bad(seq, "another row has its number")
        if seq != self.seq + 1:
            raise Bad(self.seq + 1, "the row is missing")
        if prev != self.hash:
            raise Bad(seq, "the row does not follow the one before it")
        if not _is(link, row_hash, prev, header, payload):
            raise Bad(seq, "the row was changed")
        if seq == self.end.seq and link != self.end.hash:
            raise Bad(seq, "the row is not the one the chain ended with")
        self.seq, self.hash = seq, link

    def _erased(self, payload: str, marked: bool) -> None:
        if not marked:
            raise Bad(self.seq, "the payload is missing")
        self.erased[payload] = self.seq

    def _sealed(self, header: Header) -> None:
        """A seal covers its own event; each has one, and each is in the anchor up to where that ends."""
        seal, anchored = self.seals.pop(header.seq, None), self.anchor.pop(header.seq, None)
        for one in (seal, anchored):
            if one is not None and (one.hash, one.at) != (self.hash, header.at):
                raise Bad(self.seq, "the row is not the one that was sealed")
        if seal is None:
            if header.type == "seal.made" or anchored is not None:
                raise Bad(self.seq, "its seal is missing")
            return
        if header.type != "seal.made":
            raise Bad(self.seq, "the row that was sealed is another one")
        if self.keys:
            seal.check(self.keys)

    def finish(self, reader: Reader) -> None:
        """Each erasure needs its event; one that came while the check ran lies after the end."""
        for row in reader.rows(_ERASED_SINCE, (self.stream, self.end.seq)):
            self.named.update(_named(row["data"]))
        unnamed = [seq for payload, seq in self.erased.items() if payload not in self.named]
        for left, why in ((self.seals, "that was sealed"), (self.anchor, "that was anchored")):
            if left:
                raise Bad(_number(next(iter(left)), past_all=True), f"the row {why} is missing")
        if unnamed:
            raise Bad(min(unnamed), "the payload was erased, and no payload.erased event says so")


async def verify(db: Database, proof: Proof | None = None) -> Report:
    """Check every stream from its first row to its end, in batches; the end is fixed when the check begins.

    The anchor is read before the database, so that every seal in it has to be there.
    """
    events = 0
    try:
        keys, anchored = await asyncio.to_thread(_proven, proof)
    except Bad as bad:
        return Report(False, 0, bad.seq, f"anchor {bad.seq}: {bad.why}")
    for stream in await db.read(lambda reader: [row["stream"] for row in reader.rows(_STREAMS)]):
        walk = await db.read(partial(_begin, stream=stream))
        try:
            walk.keys, walk.anchor = keys, _covered(walk.seals, anchored.pop(stream, {}), proof)
            await _check(db, walk)
        except Bad as bad:
            return Report(False, events + walk.seq, bad.seq, f"{stream} {bad.seq}: {bad.why}")
        events += walk.seq
    for stream, seals in anchored.items():
        return Report(False, events, 1, f"{stream} 1: the anchor knows {len(seals)} seals, and no row is there")
    return Report(True, events)


def _proven(proof: Proof | None) -> tuple[Keys, dict[str, dict[int, Seal]]]:
    """Public keys, and what the anchor holds by stream and seq."""
    if proof is None:
        return {}, {}
    found: dict[str, dict[int, Seal]] = {STREAM: {}}
    keys = proof.keys()
    for seal in read_anchor(proof.anchored() or b"", keys):
        found.setdefault(seal.stream, {})[seal.seq] = seal
    return keys, {stream: seals for stream, seals in found.items() if seals}


def _covered(seals: Mapping[int, Seal], anchored: dict[int, Seal], proof: Proof | None) -> dict[int, Seal]:
    """The anchored seals, once the anchor has each seal but the last, which a crash can keep from it. Raises Bad."""
    missing = [] if proof is None else [seq for seq in seals if seq not in anchored]
    last = max(anchored, default=0)
    if missing and (len(missing) > 1 or missing[0] < last):
        raise Bad(missing[0], "its seal is missing in the anchor")
    return anchored


async def _check(db: Database, walk: _Walk) -> None:
    if walk.end.last != walk.end.seq:
        missing = walk.end.last < walk.end.seq
        why = "rows at the end are missing" if missing else "rows were added past the recorded end"
        raise Bad(min(walk.end.last, walk.end.seq) + 1, why)
    while walk.seq < walk.end.seq:
        await _read_on(db, walk)
    await db.read(walk.finish)


async def _read_on(db: Database, walk: _Walk) -> None:
    """Take the next rows; where they cannot be read, one by one up to the row that cannot."""
    try:
        await db.read(lambda reader: walk.take(_rows(reader, walk)))
    except errors.DatabaseCorrupt as exc:
        if walk.size == 1:
            raise Bad(walk.seq + 1, "the row cannot be read") from exc
        walk.size = 1


def _begin(reader: Reader, stream: str) -> _Walk:
    seals = {row["seq"]: Seal(*row) for row in reader.rows(_SEALS, (stream,))}
    return _Walk(stream, _end(reader, stream), seals=seals)


def _end(reader: Reader, stream: str) -> _End:
    last, head = reader.row(_LAST, (stream,)), reader.row(_HEAD, (stream,))
    seq, link = (head["seq"], head["hash"]) if head else (0, GENESIS)
    return _End(_number(last["last"] if last else None, past_all=True), _number(seq, past_all=False), link)


def _number(value: object, *, past_all: bool) -> int:
    """SQLite takes text for a number; it sorts past all numbers, and as the end of a chain it says nothing."""
    if value is None or isinstance(value, int):
        return value or 0
    return sys.maxsize if past_all else 0


def _is(expected: str, hashed: Callable[..., str], *parts: Any) -> bool:
    """Whether the hash is as expected; a value of another kind than was written has none."""
    try:
        return hashed(*parts) == expected
    except TypeError:
        return False


def _named(data: bytes) -> list[str]:
    hashes: list[str] = orjson.loads(data)["hashes"]
    return hashes


def _rows(reader: Reader, walk: _Walk) -> list[Row]:
    rows = reader.rows(_BATCH, (walk.stream, walk.seq, min(walk.size, walk.end.seq - walk.seq)))
    if not rows:
        raise Bad(walk.seq + 1, "the row is missing")
    return rows
