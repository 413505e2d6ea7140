"""A full disk, a locked file, a failing device: at the commit of one kind of row, while a case runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from interlock import errors
from interlock.storage.transaction import SqliteTransaction

__all__ = ["CODES", "ROWS", "Fault", "failing"]

# What a commit holds, by the beginning of its statement; the outcome's is the one that does not say `intent`.
ROWS = {
    "intent": "INSERT INTO effects",
    "outcome": "UPDATE effects SET status = ?",
    "checkpoint": "INSERT INTO checkpoints",
    "inbox item": "INSERT INTO inbox",
}
CODES: dict[int, type[errors.StorageError]] = {
    sqlite3.SQLITE_FULL: errors.DiskFull,
    sqlite3.SQLITE_BUSY: errors.DatabaseLocked,
    sqlite3.SQLITE_IOERR_WRITE: errors.StorageError,
}


@dataclass
class Fault:
    """Rows that cannot be written, the `turn`-th time, and ever after if `lasting`: in the statement or the COMMIT."""

    rows: str
    turn: int
    code: int
    in_commit: bool
    lasting: bool
    seen: int = 0
    times: int = 0

    def at(self, tx: SqliteTransaction, sql: str) -> bool:
        """Whether this statement fails."""
        if sql.startswith(ROWS[self.rows]):
            self.seen += 1
            vars(tx)["fails"] = self.seen == self.turn or (self.lasting and self.seen > self.turn)
            return not self.in_commit and self._now(tx)
        return self.in_commit and sql == "COMMIT" and self._now(tx)

    def _now(self, tx: SqliteTransaction) -> bool:
        fails = bool(vars(tx).get("fails"))
        self.times += fails
        return fails

    def error(self) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("the fault of the test")
        error.sqlite_errorcode = self.code
        return error


@contextmanager
def failing(fault: Fault) -> Iterator[None]:
    """While entered, statements fail as the fault says; some errors of SQLite end the whole transaction as well."""
    execute = SqliteTransaction.execute

    def failing(tx: SqliteTransaction, sql: str, params: Any = ()) -> int:
        if fault.at(tx, sql):
            if fault.code != sqlite3.SQLITE_BUSY and not fault.in_commit:
                tx._connection.execute("ROLLBACK")
            raise fault.error()
        return execute(tx, sql, params)

    with patch.object(SqliteTransaction, "execute", failing):
        yield
