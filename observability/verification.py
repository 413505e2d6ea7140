"""Read the whole chain again and say where, if anywhere, it was touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from interlock.observability.seal import Proof, Seal
from interlock.observability.verify import Bad, Keys, read_anchor
from interlock.observability.walk import End, Walk, number, read_on
from interlock.storage.chain import GENESIS, STREAM
from interlock.storage.database import Database, Reader

__all__ = ["Report", "verify"]

_STREAMS = (
    "SELECT stream FROM ledger GROUP BY stream UNION SELECT stream FROM heads WHERE tenant = ''"
    " UNION SELECT stream FROM seals"
)
_LAST = "SELECT max(seq) AS last FROM ledger WHERE stream = ?"
_HEAD = "SELECT seq, hash FROM heads WHERE tenant = '' AND stream = ?"
_SEALS = "SELECT stream, seq, hash, at, key_id, signature FROM seals WHERE stream = ? ORDER BY seq"


class Report(NamedTuple):
    """`ok`, how many events were read, and where and why the first bad one is bad."""

    ok: bool
    events: int
    first_bad: int | None = None
    why: str = ""


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


async def _check(db: Database, walk: Walk) -> None:
    if walk.end.last != walk.end.seq:
        missing = walk.end.last < walk.end.seq
        why = "rows at the end are missing" if missing else "rows were added past the recorded end"
        raise Bad(min(walk.end.last, walk.end.seq) + 1, why)
    while walk.seq < walk.end.seq:
        await read_on(db, walk)
    await db.read(walk.finish)


def _begin(reader: Reader, stream: str) -> Walk:
    seals = {row["seq"]: Seal(*row) for row in reader.rows(_SEALS, (stream,))}
    return Walk(stream, _end(reader, stream), seals=seals)


def _end(reader: Reader, stream: str) -> End:
    last, head = reader.row(_LAST, (stream,)), reader.row(_HEAD, (stream,))
    seq, link = (head["seq"], head["hash"]) if head else (0, GENESIS)
    return End(number(last["last"] if last else None, past_all=True), number(seq, past_all=False), link)
