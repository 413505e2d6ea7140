"""What a database driver's error means, said in the errors of the plane."""

from __future__ import annotations

import sqlite3

from interlock import errors

__all__ = ["CLOSED", "meaning"]

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
CLOSED = "open it again with Database.open"


def meaning(exc: BaseException, where: str) -> Exception:
    """Our error for a driver's error (the cause stays attached); any other exception as it is."""
    if isinstance(exc, sqlite3.Error):
        error = _sqlite(exc, where)
    elif isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    else:  # a future cannot carry StopIteration, and nobody's cancellation may travel to another caller
        error = errors.StorageError(f"a unit or query raised {type(exc).__name__}", "raise an ordinary exception")
    error.__cause__ = exc
    return error


def _code(exc: sqlite3.Error) -> int:
    """SQLite's primary result code; text that is no UTF-8 is found by the driver, which gives it none."""
    if "decode to UTF-8" in str(exc):
        return sqlite3.SQLITE_CORRUPT
    return (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF


def _sqlite(exc: sqlite3.Error, where: str) -> errors.StorageError:
    code = _code(exc)
    if code in _LOCKED:
        return errors.DatabaseLocked(
            f"{where} is locked by another process", "end the other writer, or wait for it, and try again"
        )
    if code in _CORRUPT:
        return errors.DatabaseCorrupt(
            f"{where} cannot be read: {exc}", "restore a backup; keep the file for `sqlite3 FILE .recover`"
        )
    if code in _NO_ROOM:
        return errors.DiskFull(f"{where} cannot be written: {exc}", "check free space and permissions")
    return errors.StorageError(f"{where}: {exc}", "see the cause; nothing of this unit was written")
