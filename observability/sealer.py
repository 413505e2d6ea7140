"""Seals the ledger in the background: every so many events and seconds, and when the plane closes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from interlock import errors
from interlock.clock import Clock, iso
from interlock.observability.ledger import Ledger
from interlock.observability.seal import Proof, Seal, Signer, append
from interlock.observability.verify import Bad, part_name, part_of, read_anchor
from interlock.settings import Settings
from interlock.storage.chain import STREAM
from interlock.storage.database import Database, Reader, Transaction

__all__ = ["Sealer"]

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_LAST = "SELECT seq, hash, type FROM ledger WHERE stream = ? ORDER BY seq DESC LIMIT 1"
_HEAD = "SELECT seq FROM heads WHERE tenant = '' AND stream = ?"
_SAVE = "INSERT INTO seals (tenant, stream, seq, hash, at, key_id, signature) VALUES ('', ?, ?, ?, ?, ?, ?)"
_NEWER = "SELECT stream, seq, hash, at, key_id, signature FROM seals WHERE tenant = '' AND seq > ? ORDER BY seq"
# What was sealed before may have left for an archive since then.
_SEALED = (
    "SELECT max(seq) AS seq FROM (SELECT seq FROM seals WHERE tenant = '' AND stream = ?1"
    " UNION ALL SELECT seq FROM archives WHERE tenant = '' AND stream = ?1)"
)
_SINCE = "SELECT tenant, case_id, hash FROM ledger WHERE stream = ? AND seq > ? ORDER BY seq"


class Sealer:
    """Owned by the plane. What fails is logged and tried again at the next look; no case ever waits for it.

    The seconds are real ones: how long a change could go unnoticed has nothing to do with the plane's clock.
    """

    def __init__(
        self, db: Database, ledger: Ledger, *, clock: Clock, settings: Settings, proof: Proof, tenant: str
    ) -> None:
        self._db, self._ledger, self._clock, self._settings = db, ledger, clock, settings
        self._proof, self._tenant = proof, tenant
        self._signer: Signer | None = None
        self._closing = asyncio.Event()
        self._sealed_at = time.monotonic()
        self._units = 0
        self._anchored: int | None = None
        self._unsent: Seal | None = None
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Seal what is not sealed yet, and end."""
        self._closing.set()
        await self._task
        await self._turn()

    async def _run(self) -> None:
        while not self._closing.is_set():
            try:
                await asyncio.wait_for(self._closing.wait(), min(_LOOK_S, self._settings.seal_seconds))
            except TimeoutError:
                if await self._due():
                    await self._turn()

    async def _due(self) -> bool:
        if self._unsent is not None:
            return True
        if self._db.units == self._units:
            return False
        if time.monotonic() - self._sealed_at >= self._settings.seal_seconds:
            return True
        try:
            return await self._db.read(_unsealed) >= self._settings.seal_events
        except errors.StorageError as exc:
            _log.warning("the ledger cannot be looked at for a seal: %s", exc)
            return False

    async def _turn(self) -> None:
        """Seal, then carry the seal to where the database cannot reach it; one that a crash left behind comes first."""
        units = self._db.units
        await self._carry()
        try:
            await self.seal()
            self._units, self._sealed_at = units + 1, time.monotonic()
        except (errors.InterlockError, OSError) as exc:
            _log.error("the ledger could not be sealed: %s", exc)
        await self._carry()
        await self._send()

    async def _carry(self) -> None:
        try:
            await self._anchor()
        except (errors.InterlockError, OSError) as exc:
            _log.error("the anchor %s could not be written: %s", self._proof.anchor, exc)

    async def seal(self) -> Seal | None:
        """Seal the head of the chain; None when nothing came since the last seal, or the anchor lacks that one.

        So at most one seal is ever missing in the anchor, whatever is killed. Raises StorageError.
        """
        if self._signer is None:
            if not await self._db.read(lambda tx: tx.row(_LAST, (STREAM,))):
                return None
            self._signer = await asyncio.to_thread(self._proof.signer)
        signer, at = self._signer, iso(self._clock.now())
        return await self._db.commit(lambda tx: self._sealed(tx, signer, at))

    def _sealed(self, tx: Transaction, signer: Signer, at: str) -> Seal | None:
        """The event says which head was found; the signature is over the event, so that nothing stays unsealed."""
        head = tx.row(_LAST, (STREAM,))
        since = _sealed_to(tx)
        if head is None or head["type"] == "seal.made" or (self._anchored is not None and self._anchored < since):
            return None
        data = {
            "seq": head["seq"], "hash": head["hash"], "key_id": signer.key_id, "since": since,
            "parts": _parts(tx.values(_SINCE, (STREAM, since))),
        }  # fmt: skip
        tx.append(self._ledger.event("seal.made", tenant=self._tenant, data=data, at=at))
        made = tx.row(_LAST, (STREAM,))
        assert made is not None, "appended just now"
        seal = signer.seal(STREAM, made["seq"], made["hash"], at)
        tx.execute(_SAVE, seal)
        return seal

    async def _anchor(self) -> None:
        """Append those seals that the anchor lacks: a crash can come between the commit and the file."""
        if self._anchored is None:
            self._anchored = await asyncio.to_thread(self._last_anchored)
        known = self._anchored
        seals = await self._db.read(lambda tx: [Seal(*row) for row in tx.rows(_NEWER, (known,))])
        if seals:
            await asyncio.to_thread(append, self._proof.anchor, seals)
            self._anchored = seals[-1].seq
            self._unsent = seals[-1] if self._settings.seal_command else None

    def _last_anchored(self) -> int:
        content = self._proof.anchored()
        try:
            seals = read_anchor(content, self._proof.keys()) if content else []
        except Bad as bad:
            raise errors.StorageError(f"it was changed: {bad.why}", "run `interlock audit verify`") from bad
        return seals[-1].seq if seals else 0

    async def _send(self) -> None:
        """Give the newest seal to the command; it covers every event before it, so the newest is enough."""
        seal = self._unsent
        if seal is None:
            return
        try:
            await _give(
                self._settings.seal_command, orjson.dumps(seal._asdict()) + b"\n", self._settings.seal_command_s
            )
            self._unsent = None
        except (OSError, TimeoutError, errors.InterlockError) as exc:
            _log.error("the seal command failed, it is tried again: %s", exc or type(exc).__name__)


async def _give(command: Sequence[str], content: bytes, seconds: float) -> None:
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=null, stderr=null)
    try:
        async with asyncio.timeout(seconds):
            await process.communicate(content)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise errors.StorageError(f"{command[0]} ended with {process.returncode}", "see what it says")


def _unsealed(tx: Reader) -> int:
    head = tx.row(_HEAD, (STREAM,))
    return (head["seq"] if head else 0) - _sealed_to(tx)


def _sealed_to(tx: Reader) -> int:
    row = tx.row(_SEALED, (STREAM,))
    return (row["seq"] if row else None) or 0


def _parts(rows: Iterable[tuple[str, str | None, str]]) -> dict[str, list[Any]]:
    """What of each tenant and of each case is among these rows, so that an export of it can prove that it is whole."""
    hashes: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for tenant, case_id, link in rows:
        hashes[tenant, None].append(link)
        if case_id is not None:
            hashes[tenant, case_id].append(link)
    return {part_name(*whose): part_of(some) for whose, some in hashes.items()}
