"""An outside system with a database of its own: what happened there stays when the process that asked for it dies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAKE = (
    "CREATE TABLE IF NOT EXISTS effects (kind TEXT, about TEXT, key TEXT, refused INTEGER DEFAULT 0,"
    " UNIQUE (kind, key))"
)
_FIRST = "INSERT INTO effects (kind, about, key) VALUES (?, ?, ?)"
_REFUSE = "UPDATE effects SET refused = refused + 1 WHERE kind = ? AND key = ?"


class Outside:
    """Each effect is a row; `order` knows its keys, `post` and `pay` do not and would happen twice."""

    def __init__(self, home: Path) -> None:
        self._file = home / "outside.db"
        with self._open() as connection:
            connection.execute(_MAKE)

    def order(self, about: str, key: str) -> str:
        """Idempotent: a key that is known is refused, and the first order is given back."""
        with self._open() as connection:
            if self._known(connection, "order", key):
                connection.execute(_REFUSE, ("order", key))
            else:
                connection.execute(_FIRST, ("order", about, key))
        return f"order of {about}"

    def happen(self, kind: str, about: str, key: str) -> str:
        """Happens whenever it is asked for; `key` is the mark by which a probe finds it."""
        with self._open() as connection:
            times = len(
                connection.execute("SELECT 1 FROM effects WHERE kind = ? AND about = ?", (kind, about)).fetchall()
            )
            connection.execute(_FIRST, (kind, about, f"{key}/{times}"))
        return f"{kind} of {about}"

    def has(self, kind: str, about: str) -> bool:
        return any(row[:2] == (kind, about) for row in self.effects())

    def effects(self) -> list[tuple[str, str]]:
        """Kind and subject of everything that happened, doubles included."""
        with self._open() as connection:
            return connection.execute("SELECT kind, about FROM effects ORDER BY kind, about").fetchall()

    def refused(self) -> int:
        """How often an order was made again."""
        with self._open() as connection:
            return int(connection.execute("SELECT COALESCE(sum(refused), 0) FROM effects").fetchone()[0])

    @staticmethod
    def _known(connection: sqlite3.Connection, kind: str, key: str) -> bool:
        return bool(connection.execute("SELECT 1 FROM effects WHERE kind = ? AND key = ?", (kind, key)).fetchall())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._file, timeout=10)
        connection.execute("PRAGMA synchronous = OFF")  # it has to survive a killed process, and no power cut
        try:
            with connection:
                yield connection
        finally:
            connection.close()
