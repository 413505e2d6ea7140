"""The Chroma store: one collection of chunks per tenant and model. Everything here blocks.

Chroma keeps texts, vectors and provenance; which of them exist is said by the SQL database alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Any
from uuid import uuid4

import chromadb
import numpy as np
from chromadb.api.client import Client
from chromadb.api.collection_configuration import CreateCollectionConfiguration, CreateHNSWConfiguration
from chromadb.api.types import Embeddable, EmbeddingFunction, Embeddings
from chromadb.config import Settings as ChromaSettings
from chromadb.errors import ChromaError
from filelock import FileLock, Timeout

from interlock import errors
from interlock.context.embed import Vectors
from interlock.storage.scrub import scrub_file

__all__ = ["Collection", "Record", "Store"]

_log = logging.getLogger(__name__)
Record = tuple[str, str, dict[str, Any]]
_PAGE = 1_000
_DUE = "scrub.due"
# The log is read again for vectors only; records that exist keep their line as it is.
_SCRUB = (
    "UPDATE embeddings_queue SET metadata = NULL WHERE id NOT IN (SELECT embedding_id FROM embeddings)",
    "INSERT INTO embedding_fulltext_search (embedding_fulltext_search) VALUES ('optimize')",
)
_SPARE = 8
# hnswlib's header: version of the format, offset, places, places used, bytes of a place.
_INDEX = Struct("<iQQQQ")
# Wide walks over a dense graph, and more candidates than asked for: exact in practice at 5,000 random vectors.
_HNSW = CreateCollectionConfiguration(
    hnsw=CreateHNSWConfiguration(space="cosine", ef_search=2_000, ef_construction=200, max_neighbors=64)
)


class _Given(EmbeddingFunction[Embeddable]):
    """Takes the place of Chroma's default model, which would download itself: our vectors are always given."""

    def __init__(self) -> None: ...

    def __call__(self, input: Embeddable) -> Embeddings:
        raise errors.ConfigurationError("the store does not embed", "give it vectors")

    @staticmethod
    def name() -> str:
        return "interlock"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> _Given:
        return _Given()

    def get_config(self) -> dict[str, Any]:
        return {}


class Store:
    """One Chroma client and the right to be its only owner.

    With a folder it persists there; with None it lives in memory and is dropped at close. Raises DatabaseLocked
    when another Context owns the folder, DatabaseCorrupt when it is no Chroma store, DiskFull when it cannot be made.
    """

    def __init__(self, folder: Path | None) -> None:
        self._prefix, self._folder = "" if folder else uuid4().hex, folder
        self._lock = _own(folder) if folder else None
        settings = ChromaSettings(anonymized_telemetry=False)
        try:
            self._clean()
            self._client = chromadb.PersistentClient(folder, settings) if folder else chromadb.EphemeralClient(settings)
        except errors.InterlockError:
            self._release()
            raise
        except ChromaError as exc:
            self._release()
            raise errors.DatabaseCorrupt(
                f"{folder} is no readable context store: {exc}", "move it away and ingest again"
            ) from exc

    def collection(self, tenant: str, model: str) -> Collection:
        """What one tenant has under one model; made when it is not there."""
        name = self._name_prefix(tenant) + _hashed(model)
        with _translated():
            found = self._client.get_or_create_collection(name, configuration=_HNSW, embedding_function=_Given())
        return Collection(found)

    def of_tenant(self, tenant: str) -> list[Collection]:
        """All collections of a tenant, those of models used earlier included."""
        return [Collection(found) for found in self._named(self._name_prefix(tenant))]

    def scrub_later(self) -> None:
        """Leave no text of what is deleted on disk, from the close on; after a crash, from the next opening on.

        Chroma keeps it in its log, its index and in free pages. Its file is not touched while Chroma is at work: two
        copies of SQLite in one process drop each other's locks. Vectors of deleted records stay in the index files.
        """
        if self._folder is not None:
            (self._folder / _DUE).touch()

    def close(self) -> None:
        """Free the folder; a store in memory is dropped."""
        for collection in self._named(self._prefix) if self._prefix else ():
            self._client.delete_collection(collection.name)
        if isinstance(self._client, Client):
            self._client.close()
        try:
            self._clean()
        except errors.StorageError as exc:
            _log.warning("texts of erased documents stay in %s until it is opened: %s", self._folder, exc.message)
        finally:
            self._release()

    def _clean(self) -> None:
        for data in self._folder.glob("*/data_level0.bin") if self._folder is not None else ():
            _blank(data)
        if self._folder is not None and (self._folder / _DUE).exists():
            scrub_file(self._folder / "chroma.sqlite3", _SCRUB)
            (self._folder / _DUE).unlink()

    def _name_prefix(self, tenant: str) -> str:
        # Names are hashed: Chroma's alphabet is smaller than a tenant's.
        return f"{self._prefix}{_hashed(tenant)}-"

    def _named(self, prefix: str) -> list[chromadb.Collection]:
        with _translated():
            names = [collection.name for collection in self._client.list_collections()]
            return [self._client.get_collection(n, embedding_function=_Given()) for n in names if n.startswith(prefix)]

    def _release(self) -> None:
        if self._lock:
            self._lock.release()


class Collection:
    """Adds, removes and searches vectors. Raises StorageError when Chroma fails."""

    def __init__(self, chroma: chromadb.Collection) -> None:
        self._chroma = chroma

    def put(self, records: Sequence[Record], vectors: Vectors) -> None:
        """Write records (id, text, metadata), over those of the same ids."""
        for start in range(0, len(records), _PAGE):
            ids, texts, metadata = zip(*records[start : start + _PAGE], strict=True)
            with _translated():
                self._chroma.upsert(list(ids), vectors[start : start + _PAGE], list(metadata), list(texts))

    def drop(self, ids: Sequence[str]) -> None:
        """Remove records; ids that are not there are no error."""
        for start in range(0, len(ids), _PAGE):
            with _translated():
                self._chroma.delete(ids=list(ids[start : start + _PAGE]))

    def erase(self, source: str, documents: Sequence[str]) -> None:
        """Remove every record of these documents of a source, of whatever version."""
        for start in range(0, len(documents), _PAGE):
            among: Any = {"$in": list(documents[start : start + _PAGE])}
            with _translated():
                self._chroma.delete(where={"$and": [{"source": source}, {"document": among}]})

    def records(self) -> Iterator[Record]:
        """Everything that is stored."""
        offset = 0
        while True:
            with _translated():
                page = self._chroma.get(limit=_PAGE, offset=offset, include=["documents", "metadatas"])
            texts, metadata = page["documents"] or [], page["metadatas"] or []
            for id_, text, data in zip(page["ids"], texts, metadata, strict=True):
                yield id_, text, dict(data)
            if len(page["ids"]) < _PAGE:
                return
            offset += _PAGE

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The vectors of these ids, in this order. Raises StorageError when one is not there."""
        found: dict[str, Any] = {}
        for start in range(0, len(ids), _PAGE):
            with _translated():
                page = self._chroma.get(ids=list(ids[start : start + _PAGE]), include=["embeddings"])
            vectors = page["embeddings"]
            found.update(zip(page["ids"], [] if vectors is None else vectors, strict=True))
        if len(found) != len(set(ids)):
            raise errors.StorageError("the context store has lost vectors", "ingest the documents again")
        return np.array([found[id_] for id_ in ids], dtype=np.float32)

    def nearest(self, vector: Vectors, among: Sequence[str], n: int) -> dict[str, float]:
        """Cosine similarity of the nearest `n` of the ids `among`, all of them when they are fewer.

        The filter is applied inside the store, before ranking. Ids that are not there raise StorageError.
        """
        take = min(n * _SPARE, len(among))
        if take == 0:
            return {}
        with _translated():
            page = self._chroma.query(query_embeddings=vector, ids=list(among), n_results=take, include=["distances"])
        distances = page["distances"] or [[]]
        found = {id_: 1.0 - d for id_, d in zip(page["ids"][0], distances[0], strict=True)}
        if len(found) < take:
            found = self._exact(vector, among)
        return dict(sorted(found.items(), key=lambda hit: (-hit[1], hit[0]))[:n])

    def _exact(self, vector: Vectors, among: Sequence[str]) -> dict[str, float]:
        # A filtered walk of the graph may end early; then every permitted vector is compared.
        similar = self.vectors(among) @ vector
        return {id_: float(score) for id_, score in zip(among, similar, strict=True)}


def _blank(data: Path) -> None:
    """Empty the unused places of an index: Chroma writes them as they lay in memory, with whatever stood there."""
    header = data.with_name("header.bin").read_bytes()
    version, _, _, used, size = _INDEX.unpack_from(header)
    if version == 1 and data.stat().st_size > used * size:
        with data.open("r+b") as file:
            file.seek(used * size)
            file.write(bytes(data.stat().st_size - used * size))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _own(folder: Path) -> FileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(folder / "owner.lock", thread_local=False)
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise errors.DatabaseLocked(
            f"another process owns the context store {folder}", "ask through it, or stop it first"
        ) from exc
    except OSError as exc:
        raise errors.DiskFull(f"{folder} cannot be made: {exc}", "check free space and permissions") from exc
    return lock


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ChromaError as exc:
        raise errors.StorageError(f"the context store failed: {exc}", "check free space; see interlock doctor") from exc
