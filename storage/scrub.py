"""Leaving no byte of deleted content in a SQLite file: a free page keeps what it held until the file is made anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from interlock import errors
from interlock.storage.failures import meaning

__all__ = ["scrub", "scrub_file"]


def scrub(connection: sqlite3.Connection) -> None:
    """Write the whole database anew, and empty its log. Raises DatabaseLocked when somebody reads on."""
    connection.execute("VACUUM")
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise errors.DatabaseLocked("somebody reads the log of the database", "erase once more: it is emptied then")


def scrub_file(path: Path, statements: Sequence[str]) -> None:
    """Run statements on the database of another program, which is not at work, and scrub it. Raises StorageError."""
    try:
        with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
            scrub(connection)
    except sqlite3.Error as exc:
        raise meaning(exc, str(path)) from exc
