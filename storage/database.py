"""The one database: units are committed in groups, queries run on read-only connections."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from interlock import errors
from interlock.storage.claim import Claim
from interlock.storage.committer import Committer
from interlock.storage.connections import BUSY_S, open_reader, open_writer
from interlock.storage.failures import meaning
from interlock.storage.migrate import at_head, upgrade
from interlock.storage.readers import Readers
from interlock.storage.scrub import scrub
from interlock.storage.transaction import Reader, Row, Transaction

__all__ = ["Database", "Reader", "Row", "Transaction"]

T = TypeVar("T")
_SQLITE = "sqlite:///"


class Database:
    """Opened with `await Database.open(url)`, closed with `await db.close()`.

    `path` is None for ":memory:", which lives in a private folder that is deleted at close.
    """

    def __init__(self, path: Path, *, read_only: bool, scratch: tempfile.TemporaryDirectory[str] | None, busy_s: float):
        self.path = None if scratch else path
        self._scratch = scratch
        self._closing = threading.Lock()
        self._where = f"database {path}"
        self._readers = Readers(lambda: open_reader(path, busy_s=busy_s), self._where)
        self._committer = None if read_only else self._writer(path, busy_s)

    @classmethod
    async def open(cls, url: str, *, read_only: bool = False, busy_s: float = BUSY_S) -> Database:
        """Open "sqlite:///path" or ":memory:" and bring its schema up to date.

        `busy_s` is how many seconds to wait for another process's lock. Raises DatabaseCorrupt (no database, or
        damaged), DatabaseLocked, DiskFull (no room or no permission), NotFound (read-only, and not there),
        ConfigurationError (no such kind of URL, or a folder), StorageError (schema newer than this version).
        """
        return await asyncio.to_thread(cls._open, url, read_only, busy_s)

    @classmethod
    def _open(cls, url: str, read_only: bool, busy_s: float) -> Database:
        scratch = tempfile.TemporaryDirectory(prefix="interlock-") if url == ":memory:" else None
        path = Path(scratch.name) / "interlock.db" if scratch else _path(url)
        try:
            _refuse_folder(path)
            _check(path, busy_s) if read_only else _prepare(path, scratch is None, busy_s)
            return cls(path, read_only=read_only, scratch=scratch, busy_s=busy_s)
        except BaseException as exc:
            if scratch:
                scratch.cleanup()
            raise _opening(exc, path) from exc

    async def commit(self, apply: Callable[[Transaction], T], *, claim: Claim | None = None) -> T:
        """Run `apply(tx)` in the writer thread as one unit; returns its result once it is durable.

        The unit is queued before the first await, and a cancelled caller does not take it back. `apply` must
        not touch what the caller goes on changing. Raises what `apply` raises; Stale when the claim is poisoned or
        its epoch is no longer the case's; DiskFull, DatabaseLocked or StorageError when the batch failed.
        """
        return cast(T, await self._writing().commit(apply, claim))

    def commit_sync(self, apply: Callable[[Transaction], T], *, claim: Claim | None = None) -> T:
        """`commit` for worker threads; blocks the thread it is called in."""
        return cast(T, self._writing().commit_sync(apply, claim))

    async def scrub(self) -> None:
        """Leave no byte of deleted content in the file and its log: it is written anew, and nobody writes meanwhile.

        Raises DatabaseLocked when a long read holds the log; what was deleted stays deleted, call it again.
        """
        await self._writing().between(scrub)

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run `query(reader)` in a worker thread, on one consistent state of the database."""
        return await self._readers.read(query)

    def read_sync(self, query: Callable[[Reader], T]) -> T:
        return self._readers.read_sync(query)

    @property
    def units(self) -> int:
        """How many units this process made durable."""
        return self._committer.units if self._committer else 0

    @property
    def commits(self) -> int:
        """In how many transactions it did so."""
        return self._committer.commits if self._committer else 0

    async def close(self) -> None:
        """Commit what is queued, end the threads, close every connection. A second call does nothing."""
        await asyncio.shield(asyncio.to_thread(self.close_sync))

    def close_sync(self) -> None:
        """`close` for worker threads and scripts without a loop."""
        with self._closing:
            self._readers.close()
            if self._committer:
                self._committer.close()
            if self._scratch:
                self._scratch.cleanup()

    def _writer(self, path: Path, busy_s: float) -> Committer:
        durable = self._scratch is None
        return Committer(lambda: open_writer(path, durable=durable, busy_s=busy_s), self._where)

    def _writing(self) -> Committer:
        if self._committer is None:
            raise errors.StorageError(f"{self._where} was opened read-only", "open it without read_only=True")
        return self._committer


def _path(url: str) -> Path:
    if not url.startswith(_SQLITE) or not url.removeprefix(_SQLITE) or "\0" in url:
        raise errors.ConfigurationError(f"{url!r} is no database URL", "write sqlite:///PATH or :memory:")
    return Path(url.removeprefix(_SQLITE))


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise errors.ConfigurationError(f"{path} is a folder", "name the file in it, as sqlite:///DIR/interlock.db")


def _prepare(path: Path, durable: bool, busy_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    upgrade(lambda: open_writer(path, durable=durable, busy_s=busy_s))


def _check(path: Path, busy_s: float) -> None:
    if not path.exists():
        raise errors.NotFound(f"there is no database {path}", "start with `interlock demo` or `interlock run`")
    connection = open_reader(path, busy_s=busy_s)
    try:
        known = at_head(connection)
    finally:
        connection.close()
    if not known:
        raise errors.StorageError(
            f"{path} has no schema of this version", "open it for writing once, or upgrade interlock"
        )


def _opening(exc: BaseException, path: Path) -> BaseException:
    if isinstance(exc, OSError):
        return errors.DiskFull(f"{path} cannot be opened: {exc}", "check free space and permissions")
    return meaning(exc, str(path)) if isinstance(exc, sqlite3.Error) else exc
