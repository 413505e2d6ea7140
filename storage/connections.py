"""How SQLite connections are opened, for writing and for reading."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

__all__ = ["open_reader", "open_writer"]

BUSY_S = 5.0
_STATEMENTS = 512


def open_writer(path: Path, *, durable: bool = True, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """WAL, and a commit that survives a power cut; `durable=False` for databases that die with the process."""
    connection = _open(f"{path.absolute().as_uri()}?mode=rwc", busy_s)
    try:
        _use_wal(connection, busy_s)
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    """SQLite does not wait by itself where two processes turn a new database to WAL at once."""
    deadline = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def open_reader(path: Path, *, busy_s: float = BUSY_S) -> sqlite3.Connection:
    return _open(f"{path.absolute().as_uri()}?mode=ro", busy_s)


def _open(uri: str, busy_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
    )
    connection.row_factory = sqlite3.Row
    return connection
