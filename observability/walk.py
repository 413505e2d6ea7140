"""Reading one stream of the chain, batch by batch, as fast as hashing allows: the check of `verification.py`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, repeat
from typing import Any, NamedTuple

import orjson

from interlock import errors
from interlock.observability.verify import Bad, Keys, Seal
from interlock.storage.chain import GENESIS
from interlock.storage.database import Database, Reader

__all__ = ["COLUMNS", "End", "Walk", "number", "payload_of", "read_on", "sound"]

BATCH = 500
COLUMNS = "stream, seq, at, type, schema_version, tenant, case_id, actor, identity, payload_hash, prev, hash"
_ROWS = f"SELECT {COLUMNS} FROM ledger WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608  # ours
# Payloads lie in the order of their events, so most are met by reading on; those that are not are looked up.
_PAYLOADS = "SELECT rowid, tenant, hash, salt, data, erased_at FROM payloads WHERE rowid > ? ORDER BY rowid LIMIT ?"
_PAYLOAD = "SELECT rowid, tenant, hash, salt, data, erased_at FROM payloads WHERE tenant = ? AND hash = ?"
_ERASED_SINCE = (
    "SELECT p.data AS data FROM ledger l JOIN payloads p ON p.tenant = l.tenant AND p.hash = l.payload_hash"
    " WHERE l.stream = ? AND l.seq > ? AND l.type = 'payload.erased'"
)

Stored = tuple[Any, ...]
"""What `payloads` has of an event: rowid, tenant, hash, salt, data, erased_at; empty when it has nothing."""


class End(NamedTuple):
    """The last row that is there, and what the recorded head says."""

    last: int
    seq: int
    hash: str


@dataclass
class Walk:
    """How far one stream was read, what that left to compare, and how many rows are read at once."""

    stream: str
    end: End
    seq: int = 0
    hash: str = GENESIS
    size: int = BATCH
    erased: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    seals: dict[int, Seal] = field(default_factory=dict)
    anchor: dict[int, Seal] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)
    _rowid: int = -1

    def read(self, reader: Reader) -> None:
        """Take the next rows. Raises Bad at the first one that is not as it was written."""
        size = min(self.size, self.end.seq - self.seq)
        rows = reader.values(_ROWS, (self.stream, self.seq, size))
        if not rows:
            raise Bad(self.seq + 1, "the row is missing")
        near, stored = reader.values(_PAYLOADS, (self._rowid, size)), Stored()
        for row, stored in zip(rows, chain(near, repeat(())), strict=False):
            if not stored or stored[2] != row[9] or stored[1] != row[5]:
                stored = payload_of(reader, row)
            self._take(row, stored)
        self._rowid = stored[0] if stored else self._rowid

    def _take(self, row: Stored, stored: Stored) -> None:
        _, seq, _, kind, _, _, _, _, _, payload, prev, link = row
        if seq != self.seq + 1 or prev != self.hash or not _follows(row) or seq == self.end.seq:
            self._explain(row)
        self.seq, self.hash = seq, link
        if not stored or stored[4] is None:
            self._erased(payload, stored)
        elif not _holds(payload, stored[3], stored[4]):
            raise Bad(seq, "the payload was changed")
        elif kind == "payload.erased":
            self.named.update(_named(stored[4]))
        if kind == "seal.made" or seq in self.seals or seq in self.anchor:
            self._sealed(kind, row[2])

    def _explain(self, row: Stored) -> None:
        """Raises Bad with what is wrong, unless this is the end as it was recorded."""
        seq, prev, link = row[1], row[10], row[11]
        if seq == self.seq:
            raise Bad(seq, "another row has its number")
        if seq != self.seq + 1:
            raise Bad(self.seq + 1, "the row is missing")
        if prev != self.hash:
            raise Bad(seq, "the row does not follow the one before it")
        if not _follows(row):
            raise Bad(seq, "the row was changed")
        if seq == self.end.seq and link != self.end.hash:
            raise Bad(seq, "the row is not the one the chain ended with")

    def _erased(self, payload: str, stored: Stored) -> None:
        if not stored or stored[5] is None:
            raise Bad(self.seq, "the payload is missing")
        self.erased[payload] = self.seq

    def _sealed(self, kind: str, at: str) -> None:
        """A seal covers its own event; each has one, and each is in the anchor up to where that ends."""
        seal, anchored = self.seals.pop(self.seq, None), self.anchor.pop(self.seq, None)
        for one in (seal, anchored):
            if one is not None and (one.hash, one.at) != (self.hash, at):
                raise Bad(self.seq, "the row is not the one that was sealed")
        if seal is None:
            raise Bad(self.seq, "its seal is missing")
        if kind != "seal.made":
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
                raise Bad(number(next(iter(left)), past_all=True), f"the row {why} is missing")
        if unnamed:
            raise Bad(min(unnamed), "the payload was erased, and no payload.erased event says so")


async def read_on(db: Database, walk: Walk) -> None:
    """Take the next rows; where they cannot be read, one by one up to the row that cannot."""
    try:
        await db.read(walk.read)
    except errors.DatabaseCorrupt as exc:
        if walk.size == 1:
            raise Bad(walk.seq + 1, "the row cannot be read") from exc
        walk.size = 1


def number(value: object, *, past_all: bool) -> int:
    """SQLite takes text for a number; it sorts past all numbers, and as the end of a chain it says nothing."""
    if value is None or isinstance(value, int):
        return value or 0
    return sys.maxsize if past_all else 0


def _follows(row: Stored) -> bool:
    """`chain.row_hash` of the columns as they lie; a value of another kind than was written has none."""
    try:
        return bool(sha256(orjson.dumps(row[:11])).hexdigest() == row[11])
    except TypeError:
        return False


def _holds(expected: str, salt: Any, data: Any) -> bool:
    """`chain.payload_hash` of what is stored; likewise."""
    try:
        return sha256(salt + data).hexdigest() == expected
    except TypeError:
        return False


def payload_of(reader: Reader, row: Stored) -> Stored:
    """The payload of a row, looked up."""
    found = reader.values(_PAYLOAD, (row[5], row[9]))
    return found[0] if found else ()


def sound(row: Stored, stored: Stored) -> bool:
    """Whether a row has its own hash and its payload."""
    return _follows(row) and bool(stored) and (stored[4] is None or _holds(row[9], stored[3], stored[4]))


def _named(data: bytes) -> list[str]:
    hashes: list[str] = orjson.loads(data)["hashes"]
    return hashes
