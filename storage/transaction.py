"""Reading and writing inside one transaction: the interface every layer uses, and its SQLite form."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from interlock import errors
from interlock.storage.chain import SALT_BYTES, STREAM, Event, Head, Header, payload_hash, row_hash

__all__ = ["Reader", "Row", "SqliteReader", "SqliteTransaction", "Transaction"]

Params = Sequence[Any]

_LOAD_HEAD = "SELECT seq, hash FROM heads WHERE tenant = '' AND stream = ?"
_SAVE_HEAD = (
    "INSERT INTO heads (tenant, stream, seq, hash) VALUES ('', ?, ?, ?)"
    " ON CONFLICT (tenant, stream) DO UPDATE SET seq = excluded.seq, hash = excluded.hash"
)
_ADD_EVENT = (
    "INSERT INTO ledger (stream, seq, at, type, schema_version, tenant, case_id, actor, identity,"
    " payload_hash, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (tenant, identity) DO NOTHING"
)
_ADD_PAYLOAD = "INSERT INTO payloads (tenant, hash, salt, data) VALUES (?, ?, ?, ?)"


class Row(Protocol):
    """One result row: `row["name"]`; iterates over its values; `dict(row)` works."""

    def __getitem__(self, key: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> Iterable[str]: ...


class Reader(Protocol):
    """Queries on one consistent state of the database. Use it only inside the function it is given to."""

    def rows(self, sql: str, params: Params = ()) -> list[Row]: ...

    def row(self, sql: str, params: Params = ()) -> Row | None: ...

    def values(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """Rows as plain tuples: for long reads, where names would cost more than the rest."""
        ...

    def scan(self, sql: str, params: Params = ()) -> Iterator[Row]: ...


class Transaction(Reader, Protocol):
    """Queries and changes that become durable together, or not at all."""

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; gives the number of rows it changed."""
        ...

    def executemany(self, sql: str, rows: Iterable[Params]) -> None: ...

    def append(self, event: Event) -> int | None:
        """Chain an event: its seq, or None (nothing written) when its identity is already there."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """What is done inside is undone when it raises, and the rest of the unit stands."""
        ...


class SqliteReader:
    """`Reader` on a connection whose row factory is `sqlite3.Row`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        return self._cursor.execute(sql, params).fetchall()

    def row(self, sql: str, params: Params = ()) -> Row | None:
        found: Row | None = self._cursor.execute(sql, params).fetchone()
        return found

    def values(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        plain = self._connection.cursor()
        plain.row_factory = None
        return plain.execute(sql, params).fetchall()

    def scan(self, sql: str, params: Params = ()) -> Iterator[Row]:
        yield from self._connection.execute(sql, params)


class SqliteTransaction(SqliteReader):
    """`Transaction` of the committer. The chain's head is read once per transaction, at its first append."""

    head: Head | None = None

    def execute(self, sql: str, params: Params = ()) -> int:
        self._refuse_ended()
        return self._cursor.execute(sql, params).rowcount

    def executemany(self, sql: str, rows: Iterable[Params]) -> None:
        self._refuse_ended()
        self._cursor.executemany(sql, rows)

    def append(self, event: Event) -> int | None:
        head = self.head or self._load_head()
        salt = os.urandom(SALT_BYTES)
        payload = payload_hash(salt, event.body)
        header = _header(event, head.seq + 1)
        link = row_hash(head.hash, header, payload)
        if not self.execute(_ADD_EVENT, (*header, payload, head.hash, link)):
            return None
        self.execute(_ADD_PAYLOAD, (event.tenant, payload, salt, event.body))
        self.head = Head(header.seq, link)
        return header.seq

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        head = self.head
        self.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk can end the whole transaction
                self.execute("ROLLBACK TO part")
                self.execute("RELEASE part")
            self.head = head
            raise
        self.execute("RELEASE part")

    def save_head(self) -> None:
        """Write down where the chain ends, so that a cut-off end is seen."""
        if self.head is not None:
            self.execute(_SAVE_HEAD, (STREAM, *self.head))

    def _refuse_ended(self) -> None:
        """A full disk can end the transaction: whoever goes on after that error must not write without one."""
        if not self._connection.in_transaction:
            raise errors.StorageError(
                "the transaction was ended by an earlier error", "see the first error of the unit"
            )

    def _load_head(self) -> Head:
        row = self.row(_LOAD_HEAD, (STREAM,))
        return Head() if row is None else Head(row["seq"], row["hash"])


def _header(event: Event, seq: int) -> Header:
    about = event.at, event.type, event.schema_version, event.tenant, event.case_id, event.actor, event.identity
    return Header(STREAM, seq, *about)
