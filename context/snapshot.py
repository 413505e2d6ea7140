"""Numbered snapshots: which version of which document exists from where to where.

The SQL rows decide. A version counts from the commit of its snapshot row on; chunks in the store without a
row are leftovers of an ingest that did not end, and are never seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from interlock import errors
from interlock.context.document import Chunk
from interlock.storage.chain import Event
from interlock.storage.claim import Apply
from interlock.storage.database import Reader, Row, Transaction

__all__ = ["Catalogue", "Change", "Edition", "Key", "Place", "current_number", "edition_rows", "number_at"]

Key = tuple[str, str]
"""(source, document id)"""
Place = tuple[str, str, int, str]
"""(source, document id, since, content hash): one version of a document."""

_CURRENT = "SELECT max(number) AS number FROM snapshots WHERE tenant = ?"
_AT = "SELECT max(number) AS number FROM snapshots WHERE tenant = ? AND at <= ?"
_EDITIONS = (
    "SELECT source, document_id, content_hash, from_snapshot, until_snapshot FROM documents WHERE tenant = ?"
    " ORDER BY source, document_id, from_snapshot"
)
_ADD_SNAPSHOT = "INSERT INTO snapshots (tenant, number, source, at) VALUES (?, ?, ?, ?)"
_CLOSE = (
    "UPDATE documents SET until_snapshot = ?"
    " WHERE tenant = ? AND source = ? AND document_id = ? AND until_snapshot IS NULL"
)
_ADD = (
    "INSERT INTO documents (tenant, source, document_id, content_hash, from_snapshot, until_snapshot, version,"
    " as_of, at) VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?)"
)
_ERASE = "DELETE FROM documents WHERE tenant = ? AND source = ? AND document_id = ?"


@dataclass(frozen=True, slots=True)
class Edition:
    """One version of a document, visible in snapshots `since` <= n < `until` (None: still open)."""

    source: str
    document_id: str
    content_hash: str
    since: int
    until: int | None
    chunks: tuple[Chunk, ...]

    @property
    def key(self) -> Key:
        return self.source, self.document_id

    def visible(self, number: int) -> bool:
        return self.since <= number and (self.until is None or number < self.until)


@dataclass(frozen=True, slots=True)
class Change:
    """What one snapshot changes: versions added, documents closed, documents erased."""

    source: str
    added: Sequence[Edition] = ()
    closed: frozenset[Key] = frozenset()
    erased: frozenset[Key] = frozenset()

    @property
    def empty(self) -> bool:
        return not (self.added or self.closed or self.erased)

    def commit(self, tenant: str, number: int, event: Event) -> Apply:
        """The unit that makes this change snapshot `number`, together with its ledger event."""

        def apply(tx: Transaction) -> None:
            if current_number(tx, tenant) != number - (not self.empty):
                raise errors.Stale("the context changed under this ingest", "ingest again")
            if not self.empty:
                self._write(tx, tenant, number, event.at)
            tx.append(event)

        return apply

    def _write(self, tx: Transaction, tenant: str, number: int, at: str) -> None:
        tx.execute(_ADD_SNAPSHOT, (tenant, number, self.source, at))
        tx.executemany(_CLOSE, [(number, tenant, *key) for key in sorted(self.closed)])
        tx.executemany(_ERASE, [(tenant, *key) for key in sorted(self.erased)])
        tx.executemany(_ADD, [(tenant, *_row(edition), at) for edition in self.added])


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every version of every document of a tenant, as of its newest snapshot `number`. Never changed in place."""

    number: int = 0
    editions: tuple[Edition, ...] = ()
    open: Mapping[Key, Edition] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, editions: Iterable[Edition]) -> Catalogue:
        kept = tuple(editions)
        return cls(number, kept, {edition.key: edition for edition in kept if edition.until is None})

    @classmethod
    def load(cls, number: int, rows: Sequence[Row], chunks: Mapping[Place, list[Chunk]]) -> Catalogue:
        """Join the SQL rows with the chunks of the store."""
        return cls.of(number, [_edition(row, chunks) for row in rows])

    def after(self, number: int, change: Change) -> Catalogue:
        """The catalogue once `change` is snapshot `number`."""
        kept = [edition for edition in self.editions if edition.key not in change.erased]
        closed = [
            replace(edition, until=number) if edition.until is None and edition.key in change.closed else edition
            for edition in kept
        ]
        return Catalogue.of(number, [*closed, *change.added])

    def visible(self, number: int) -> list[Chunk]:
        """The chunks of a snapshot, by id."""
        found = [chunk for edition in self.editions if edition.visible(number) for chunk in edition.chunks]
        return sorted(found, key=lambda chunk: chunk.id)

    def chunk_ids(self) -> set[str]:
        return {chunk.id for edition in self.editions for chunk in edition.chunks}


def current_number(reader: Reader, tenant: str) -> int:
    """The newest snapshot; 0 before the first."""
    return _number(reader.row(_CURRENT, (tenant,)))


def number_at(reader: Reader, tenant: str, at: str) -> int:
    """The newest snapshot at a time (from `clock.iso`); 0 before the first."""
    return _number(reader.row(_AT, (tenant, at)))


def edition_rows(reader: Reader, tenant: str) -> tuple[int, list[Row]]:
    """The newest snapshot and the rows of all versions, from one state of the database."""
    return current_number(reader, tenant), reader.rows(_EDITIONS, (tenant,))


def _number(row: Row | None) -> int:
    return 0 if row is None or row["number"] is None else int(row["number"])


def _row(edition: Edition) -> tuple[str, str, str, int, str, str]:
    first = edition.chunks[0]
    return (*edition.key, edition.content_hash, edition.since, first.version, first.as_of)


def _edition(row: Row, chunks: Mapping[Place, list[Chunk]]) -> Edition:
    source, document_id, content_hash, since, until = row
    found = chunks.get((source, document_id, since, content_hash), [])
    return Edition(source, document_id, content_hash, since, until, tuple(found))
