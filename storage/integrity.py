"""Whether a database file can be read as a whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from interlock.storage.connections import open_reader

__all__ = ["damage"]

_MOST = 20


def damage(path: Path) -> list[str]:
    """What SQLite finds broken in a file, at most 20 lines; empty when it is sound. The file is not changed."""
    try:
        connection = open_reader(path)
        try:
            found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MOST})")]
        finally:
            connection.close()
    except sqlite3.Error as exc:
        return [str(exc)]
    return [] if found == ["ok"] else found
