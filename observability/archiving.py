"""Moving the old part of the chain into files: each is written and checked first, then its rows go in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import orjson

from interlock import errors
from interlock.clock import iso
from interlock.observability import archives
from interlock.observability.archives import Archive, Draft
from interlock.observability.ledger import Ledger
from interlock.observability.seal import Proof
from interlock.observability.verify import Bad, Chain, read_anchor, read_event
from interlock.storage.chain import GENESIS, STREAM
from interlock.storage.database import Database, Reader, Transaction

__all__ = ["Archived", "archive"]

_EACH = 50_000  # Events of one file, and of one commit: nobody waits long for it.
_YOUNG = "SELECT min(seq) AS seq FROM ledger WHERE stream = ? AND at >= ?"
_CUT = (
    "SELECT seq, hash FROM seals WHERE tenant = '' AND stream = ? AND seq > ? AND seq < ?"
    " ORDER BY seq > ?, abs(seq - ?) LIMIT 1"
)
_ERASED = "SELECT 1 FROM ledger WHERE stream = ? AND seq > ? AND type = 'payload.erased' LIMIT 1"
_HEAD = "SELECT max(seq) AS seq FROM ledger WHERE stream = ?"
# Of cases that had not ended, the rows stay in the database too, until a later run finds that they have.
_GONE = (
    "stream = ? AND seq <= ? AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.tenant = ledger.tenant"
    " AND c.case_id = ledger.case_id AND (c.ended_at IS NULL OR c.ended_at >= ?))"
)
_LEAVE = (
    f"DELETE FROM payloads WHERE (tenant, hash) IN (SELECT tenant, payload_hash FROM ledger WHERE {_GONE})",  # noqa: S608  # ours
    f"DELETE FROM ledger WHERE {_GONE}",  # noqa: S608  # ours
)
_LEAVE_SEALS = "DELETE FROM seals WHERE stream = ? AND seq <= ?"
_KEPT = "SELECT count(*) AS n FROM ledger WHERE stream = ? AND seq <= ?"


class Archived(NamedTuple):
    """The files that were made, how many events they hold, and how many events of open cases lie in both places now."""

    files: list[str]
    events: int
    kept: int


class _Cut(NamedTuple):
    """From after one place in the chain to a seal; `head` is how far the ledger was when this was looked up."""

    seq: int
    hash: str
    last: int
    last_hash: str
    head: int


async def archive(db: Database, ledger: Ledger, before: datetime, *, tenant: str, by: str) -> Archived:
    """Move all events before a time, up to the last anchored seal; rows of cases that had not ended then stay as well.

    `ledger.archived` says what was moved. Raises InputError for a ledger in memory, StorageError when the chain is not
    sound, Conflict when payloads were erased meanwhile: what is moved until then stays moved.
    """
    proof = ledger.proof
    if proof is None:
        raise errors.InputError("a ledger in memory has no archive", "open a database in a file")
    done = await db.read(lambda reader: archives.listed(reader, STREAM))
    sealed = await asyncio.to_thread(_prepared, proof, done)
    made, at = dict[str, int](), iso(before)
    while (cut := await db.read(lambda reader: _cut(reader, at, sealed))) is not None:
        made[await _move(db, ledger, proof, cut, at, tenant=tenant, by=by)] = cut.last - cut.seq
    kept = await db.commit(lambda tx: _leave(tx, at))
    return Archived(list(made), sum(made.values()), kept)


def _prepared(proof: Proof, done: Sequence[Archive]) -> int:
    """Where the anchor ends: a seal that it lacks must stay where the sealer finds it."""
    archives.tidy(proof.archives, done)
    try:
        seals = read_anchor(proof.anchored() or b"", proof.keys())
    except Bad as bad:
        raise _unsound(bad.seq, bad.why) from bad
    return seals[-1].seq if seals else 0


def _leave(tx: Transaction, before: str) -> int:
    """Delete what archives have; gives how many rows of open cases are left."""
    done = archives.listed(tx, STREAM)
    end = done[-1].seq if done else 0
    for statement in _LEAVE:
        tx.execute(statement, (STREAM, end, before))
    tx.execute(_LEAVE_SEALS, (STREAM, end))
    row = tx.row(_KEPT, (STREAM, end))
    return row["n"] if row else 0


def _cut(reader: Reader, before: str, sealed: int) -> _Cut | None:
    done, head = archives.listed(reader, STREAM), reader.row(_HEAD, (STREAM,))
    begun = done[-1] if done else Archive(STREAM, 0, GENESIS, "", "")
    young = reader.row(_YOUNG, (STREAM, before))
    end = min(sealed + 1, (young["seq"] if young else None) or sealed + 1)
    if head is None or head["seq"] is None:
        return None
    wanted = begun.seq + _EACH
    row = reader.row(_CUT, (STREAM, begun.seq, end, wanted, wanted))
    return None if row is None else _Cut(begun.seq, begun.hash, row["seq"], row["hash"], head["seq"])


async def _move(db: Database, ledger: Ledger, proof: Proof, cut: _Cut, before: str, *, tenant: str, by: str) -> str:
    lines = [orjson.dumps(event) + b"\n" async for event in ledger.stretch(STREAM, cut.seq, cut.last)]
    file = await asyncio.to_thread(_written, proof, cut, lines)
    kept = Archive(STREAM, cut.last, cut.last_hash, file, iso(ledger.clock.now()))
    data = {"first": cut.seq + 1, "last": cut.last, "hash": cut.last_hash, "file": file}
    event = ledger.event("ledger.archived", tenant=tenant, actor=by, data=data, at=kept.at)

    def leave(tx: Transaction) -> None:
        if tx.row(_ERASED, (STREAM, cut.head)) is not None:
            raise errors.Conflict("payloads were erased meanwhile", "archive again")
        archives.save(tx, kept)
        _leave(tx, before)
        tx.append(event)

    await db.commit(leave)
    return file


def _written(proof: Proof, cut: _Cut, lines: Sequence[bytes]) -> str:
    """Only a piece that is proved sound leaves the database. Raises StorageError."""
    chain = Chain(proof.keys(), seq=cut.seq, hash=cut.hash, stream=STREAM)
    with Draft(proof.archives, STREAM, cut.seq + 1) as draft:
        try:
            for line in lines:
                chain.take(read_event(line, chain.seq + 1))
                draft.add(line)
        except Bad as bad:
            raise _unsound(bad.seq, bad.why) from bad
        if (chain.seq, chain.hash, chain.sealed) != (cut.last, cut.last_hash, cut.last):
            raise _unsound(cut.last, "the chain does not end with its seal")
        return draft.keep(cut.last)


def _unsound(seq: int, why: str) -> errors.StorageError:
    return errors.StorageError(f"event {seq} cannot be archived: {why}", "run `interlock audit verify`")
