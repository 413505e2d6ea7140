"""Read-only connections in worker threads: queries never run on an event loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from interlock import errors
from interlock.storage.failures import CLOSED, meaning
from interlock.storage.transaction import Reader, SqliteReader

__all__ = ["Readers"]

T = TypeVar("T")
THREADS = 4


class Readers:
    """A small pool; each thread has a connection of its own, opened at its first query."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], where: str) -> None:
        self._connect = connect
        self._where = where
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="interlock-reader")

    async def read(self, query: Callable[[Reader], T]) -> T:
        return await asyncio.wrap_future(self._submit(query))

    def read_sync(self, query: Callable[[Reader], T]) -> T:
        return self._submit(query).result()

    def close(self) -> None:
        """Let running queries end, then close every connection. A second call does nothing."""
        self._pool.shutdown(wait=True)
        while self._connections:
            self._connections.pop().close()

    def _submit(self, query: Callable[[Reader], T]) -> Future[T]:
        try:
            return self._pool.submit(self._run, query)
        except RuntimeError as exc:
            raise errors.StorageError(f"{self._where} is closed", CLOSED) from exc

    def _run(self, query: Callable[[Reader], T]) -> T:
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return query(SqliteReader(connection))
            finally:
                if connection.in_transaction:  # a failing disk can end it
                    connection.execute("ROLLBACK")
        except (sqlite3.Error, StopIteration) as exc:  # a future cannot carry StopIteration
            raise meaning(exc, self._where) from exc

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._connections.append(connection)
        return connection
