"""Read the whole chain again and say where, if anywhere, it was touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from interlock.observability import archives
from interlock.observability.archives import Archive
from interlock.observability.seal import Proof, Seal
from interlock.observability.verify import Bad, Chain, Keys, read_anchor
from interlock.observability.walk import COLUMNS, End, Walk, number, payload_of, read_on, sound
from interlock.storage.chain import GENESIS, STREAM
from interlock.storage.database import Database, Reader

__all__ = ["Report", "verify"]

_STREAMS = (
    "SELECT stream FROM ledger GROUP BY stream UNION SELECT stream FROM heads WHERE tenant = ''"
    " UNION SELECT stream FROM seals"
)
_LAST = "SELECT max(seq) AS last FROM ledger WHERE stream = ?"
_HEAD = "SELECT seq, hash FROM heads WHERE tenant = '' AND stream = ?"
_ARCHIVED = "SELECT seq FROM archives ORDER BY stream, seq"
_KEPT = f"SELECT {COLUMNS} FROM ledger WHERE stream = ? AND seq <= ? ORDER BY seq"  # noqa: S608  # ours
_SEALS = "SELECT stream, seq, hash, at, key_id, signature FROM seals WHERE stream = ? ORDER BY seq"


class Report(NamedTuple):
    """`ok`, how many events were read, and where and why the first bad one is bad."""

    ok: bool
    events: int
    first_bad: int | None = None
    why: str = ""


class _Anchored(NamedTuple):
    """What proves the chains: public keys, and what the anchor holds by stream and seq."""

    proof: Proof | None
    keys: Keys
    seals: dict[str, dict[int, Seal]]


async def verify(db: Database, proof: Proof | None = None) -> Report:
    """Check every stream from its first event to its end, archives first, then the rows in batches.

    The end is fixed when the check begins, and the anchor is read before the database, so that every seal in it has to
    be there. When rows moved into an archive meanwhile, it begins again.
    """
    while True:
        before = await db.read(_archived)
        report = await _verified(db, proof)
        if report.ok or await db.read(_archived) == before:
            return report


async def _verified(db: Database, proof: Proof | None) -> Report:
    events = 0
    try:
        anchored = await asyncio.to_thread(_proven, proof)
    except Bad as bad:
        return Report(False, 0, bad.seq, f"anchor {bad.seq}: {bad.why}")
    for stream in await db.read(lambda reader: [row["stream"] for row in reader.rows(_STREAMS)]):
        walk, left = await db.read(partial(_begin, stream=stream))
        try:
            kept = await db.read(partial(_kept, left=left)) if left else {}
            await asyncio.to_thread(_from_archives, walk, left, kept, anchored)
            await _check(db, walk)
        except Bad as bad:
            return Report(False, events + walk.seq, bad.seq, f"{stream} {bad.seq}: {bad.why}")
        events += walk.seq
    for stream, seals in anchored.seals.items():
        return Report(False, events, 1, f"{stream} 1: the anchor knows {len(seals)} seals, and no row is there")
    return Report(True, events)


def _from_archives(walk: Walk, left: Sequence[Archive], kept: Mapping[int, str], anchored: _Anchored) -> None:
    """Check what left the database, and let the walk begin where that ends. Raises Bad."""
    seals = anchored.seals.pop(walk.stream, {})
    walk.keys, end = anchored.keys, left[-1].seq if left else 0
    walk.anchor = _covered(walk.seals, {seq: seal for seq, seal in seals.items() if seq > end}, anchored.proof)
    if not left or anchored.proof is None:
        return
    past = {seq: seal for seq, seal in seals.items() if seq <= end}
    chain = Chain(walk.keys, past, max(seals, default=0), stream=walk.stream)
    try:
        archives.check(chain, anchored.proof.archives, left, kept)
        if chain.anchored:
            raise Bad(min(chain.anchored), "the anchor has a seal that the archives do not have")
    finally:
        walk.seq, walk.hash = chain.seq, chain.hash
    walk.erased, walk.named = chain.erased, chain.named


def _proven(proof: Proof | None) -> _Anchored:
    if proof is None:
        return _Anchored(None, {}, {})
    found: dict[str, dict[int, Seal]] = {STREAM: {}}
    keys = proof.keys()
    for seal in read_anchor(proof.anchored() or b"", keys):
        found.setdefault(seal.stream, {})[seal.seq] = seal
    return _Anchored(proof, keys, {stream: seals for stream, seals in found.items() if seals})


def _covered(seals: Mapping[int, Seal], anchored: dict[int, Seal], proof: Proof | None) -> dict[int, Seal]:
    """The anchored seals, once the anchor has each seal but the last, which a crash can keep from it. Raises Bad."""
    missing = [] if proof is None else [seq for seq in seals if seq not in anchored]
    last = max(anchored, default=0)
    if missing and (len(missing) > 1 or missing[0] < last):
        raise Bad(missing[0], "its seal is missing in the anchor")
    return anchored


async def _check(db: Database, walk: Walk) -> None:
    if walk.end.last != walk.end.seq:
        missing = walk.end.last < walk.end.seq
        why = "rows at the end are missing" if missing else "rows were added past the recorded end"
        raise Bad(min(walk.end.last, walk.end.seq) + 1, why)
    while walk.seq < walk.end.seq:
        await read_on(db, walk)
    await db.read(walk.finish)


def _archived(reader: Reader) -> list[int]:
    return [row["seq"] for row in reader.rows(_ARCHIVED)]


def _begin(reader: Reader, stream: str) -> tuple[Walk, list[Archive]]:
    seals = {row["seq"]: Seal(*row) for row in reader.rows(_SEALS, (stream,))}
    return Walk(stream, _end(reader, stream), seals=seals), archives.listed(reader, stream)


def _kept(reader: Reader, left: Sequence[Archive]) -> dict[int, str]:
    """The rows of open cases that stayed although an archive has them. Raises Bad when one was touched."""
    found: dict[int, str] = {}
    for row in reader.values(_KEPT, (left[-1].stream, left[-1].seq)):
        if row[1] in found or not isinstance(row[1], int) or not sound(row, payload_of(reader, row)):
            raise Bad(number(row[1], past_all=True), "the row that stayed was changed")
        found[row[1]] = row[11]
    return found


def _end(reader: Reader, stream: str) -> End:
    last, head = reader.row(_LAST, (stream,)), reader.row(_HEAD, (stream,))
    seq, link = (head["seq"], head["hash"]) if head else (0, GENESIS)
    return End(number(last["last"] if last else None, past_all=True), number(seq, past_all=False), link)
