"""How LangGraph's checkpoints and writes lie in the database: SQL and decoding, in the stock savers' columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from interlock import errors
from interlock.storage.claim import Apply, Claim
from interlock.storage.transaction import Reader, Row, Transaction

__all__ = [
    "Listing",
    "Place",
    "configurable",
    "delete_thread",
    "guarded",
    "load",
    "page",
    "put",
    "put_writes",
    "read_writes",
    "refuse_governed",
    "together",
]

PAGE = 100
_KEY = "tenant = ? AND thread_id = ? AND checkpoint_ns = ?"
_COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_LATEST = f"SELECT {_COLUMNS} FROM checkpoints WHERE {_KEY} ORDER BY checkpoint_id DESC LIMIT 1"  # noqa: S608  # constants only
_ONE = f"SELECT {_COLUMNS} FROM checkpoints WHERE {_KEY} AND checkpoint_id = ?"  # noqa: S608  # constants only
_WRITES = f"SELECT task_id, channel, type, value, task_path, idx FROM writes WHERE {_KEY} AND checkpoint_id = ?"  # noqa: S608  # constants
_PUT = (
    "INSERT INTO checkpoints (tenant, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,"
    " metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, thread_id, checkpoint_ns, checkpoint_id) DO UPDATE"
    " SET parent_checkpoint_id = excluded.parent_checkpoint_id, type = excluded.type, checkpoint = excluded.checkpoint,"
    " metadata = excluded.metadata"
)
_PUT_WRITE = (
    "INSERT INTO writes (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,"
    " value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)"
)
_KEEP_FIRST = f"{_PUT_WRITE} DO NOTHING"
_KEEP_LAST = (
    f"{_PUT_WRITE} DO UPDATE SET task_path = excluded.task_path, channel = excluded.channel, type = excluded.type,"
    " value = excluded.value"
)
_GOVERNED = "SELECT 1 FROM cases WHERE tenant = ? AND case_id = ?"


def configurable(config: RunnableConfig | None) -> dict[str, Any]:
    """What a run's config says of thread, namespace and checkpoint."""
    return config.get("configurable", {}) if config else {}


class Place(NamedTuple):
    """Where a checkpoint belongs."""

    tenant: str
    thread_id: str
    ns: str

    @classmethod
    def of(cls, tenant: str, config: RunnableConfig) -> Place:
        own = configurable(config)
        return cls(tenant, str(own["thread_id"]), str(own.get("checkpoint_ns") or ""))

    def config(self, checkpoint_id: str) -> RunnableConfig:
        return {"configurable": {"thread_id": self.thread_id, "checkpoint_ns": self.ns, "checkpoint_id": checkpoint_id}}


class Listing(NamedTuple):
    """Which checkpoints a list wants."""

    where: str
    params: tuple[Any, ...]
    metadata: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        tenant: str,
        config: RunnableConfig | None,
        metadata: Mapping[str, Any] | None,
        before: RunnableConfig | None,
    ) -> Listing:
        own = configurable(config)
        wanted = {
            "tenant = ?": tenant,
            "thread_id = ?": own.get("thread_id"),
            "checkpoint_ns = ?": own.get("checkpoint_ns"),
            "checkpoint_id = ?": own.get("checkpoint_id"),
            "checkpoint_id < ?": configurable(before).get("checkpoint_id"),
        }
        chosen = {sql: str(value) for sql, value in wanted.items() if value is not None}
        return cls(" AND ".join(chosen), tuple(chosen.values()), metadata or {})


def put(
    place: Place,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    serde: SerializerProtocol,
) -> Callable[[Transaction], None]:
    """Encode now, store when the returned function is called."""
    kind, blob = encoded(serde, checkpoint, "the checkpoint")
    about = _metadata_bytes(get_checkpoint_metadata(config, metadata))
    parent = configurable(config).get("checkpoint_id")
    row = (*place, checkpoint["id"], parent, kind, blob, about)
    return lambda tx: _execute(tx, _PUT, row)


def put_writes(
    place: Place,
    checkpoint_id: str,
    task: tuple[str, str],
    writes: Sequence[tuple[str, Any]],
    serde: SerializerProtocol,
) -> Callable[[Transaction], None]:
    """Encode now, store later: the first of an ordinary write stays, the last of a special one."""
    first: list[tuple[Any, ...]] = []
    last: list[tuple[Any, ...]] = []
    for number, (channel, value) in enumerate(writes):
        idx = WRITES_IDX_MAP.get(channel, number)
        kind, blob = encoded(serde, value, f"the write to {channel!r}")
        (last if channel in WRITES_IDX_MAP else first).append((*place, checkpoint_id, *task, idx, channel, kind, blob))

    def store(tx: Transaction) -> None:
        if first:
            tx.executemany(_KEEP_FIRST, first)
        if last:
            tx.executemany(_KEEP_LAST, last)

    return store


def load(reader: Reader, place: Place, checkpoint_id: str | None, serde: SerializerProtocol) -> CheckpointTuple | None:
    """One checkpoint, the latest without an id, with its pending writes in the order of execution."""
    row = reader.row(_ONE, (*place, checkpoint_id)) if checkpoint_id else reader.row(_LATEST, place)
    return None if row is None else _tuple(reader, place.tenant, row, serde)


def read_writes(
    reader: Reader, place: Place, checkpoint_id: str, serde: SerializerProtocol, channels: Iterable[str] | None = None
) -> list[PendingWrite]:
    """The writes of a checkpoint, all or those of some channels, in the order of execution."""
    rows = reader.rows(_WRITES, (*place, checkpoint_id))
    wanted = rows if channels is None else [row for row in rows if row["channel"] in channels]
    wanted.sort(key=lambda row: writes_sort_key(row["task_path"], row["task_id"], row["idx"]))
    return [(row["task_id"], row["channel"], decoded(serde, row["type"], row["value"])) for row in wanted]


def page(
    reader: Reader, listing: Listing, after: tuple[str, str, str] | None, serde: SerializerProtocol
) -> tuple[list[CheckpointTuple], tuple[str, str, str] | None]:
    """The next checkpoints, newest first, and where the page after them begins (None at the end)."""
    further = " AND (checkpoint_id, thread_id, checkpoint_ns) < (?, ?, ?)" if after else ""
    sql = (
        f"SELECT {_COLUMNS} FROM checkpoints WHERE {listing.where}{further}"  # noqa: S608  # constants only
        " ORDER BY checkpoint_id DESC, thread_id DESC, checkpoint_ns DESC LIMIT ?"
    )
    rows = reader.rows(sql, (*listing.params, *(after or ()), PAGE))
    found = [row for row in rows if _matches(row, listing.metadata)]
    end = rows[-1] if len(rows) == PAGE else None
    border = (end["checkpoint_id"], end["thread_id"], end["checkpoint_ns"]) if end else None
    return [_tuple(reader, listing.params[0], row, serde) for row in found], border


def delete_thread(tx: Transaction, tenant: str, thread_id: str) -> None:
    for table in ("checkpoints", "writes"):
        tx.execute(f"DELETE FROM {table} WHERE tenant = ? AND thread_id = ?", (tenant, thread_id))  # noqa: S608  # two names


def refuse_governed(tx: Reader, tenant: str, thread_id: str) -> None:
    """Raises Stale when the thread is a case: only the holder of its claim may write it."""
    if tx.row(_GOVERNED, (tenant, thread_id)) is not None:
        raise errors.Stale(
            f"thread {thread_id} is a governed case, and this caller holds no claim on it",
            "drive it through the plane; a fork is a new case",
        )


def guarded(apply: Apply, claim: Claim | None, place: Place) -> Apply:
    """Without a claim only a thread that is no case may be written; that is known inside the transaction."""
    if claim is not None:
        return apply
    return together([lambda tx: refuse_governed(tx, place.tenant, place.thread_id), apply])


def together(applies: Sequence[Apply]) -> Apply:
    """What does one after the other, as one unit."""

    def unit(tx: Transaction) -> None:
        for apply in applies:
            apply(tx)

    return unit


def encoded(serde: SerializerProtocol, value: Any, what: str) -> tuple[str, bytes]:
    try:
        return serde.dumps_typed(value)
    except Exception as exc:
        raise errors.StorageError(
            f"{what} cannot be stored: {exc}", "keep plain data, dataclasses or pydantic models in the state"
        ) from exc


def decoded(serde: SerializerProtocol, kind: str, blob: bytes) -> Any:
    try:
        return serde.loads_typed((kind, blob))
    except Exception as exc:
        raise errors.StorageError(
            f"a stored value of type {kind!r} cannot be read: {exc}", "check the encryption key and the allow-list"
        ) from exc


def metadata_of(row: Row) -> dict[str, Any]:
    stored = row["metadata"]
    found: dict[str, Any] = json.loads(stored) if stored else {}
    return found


def _tuple(reader: Reader, tenant: str, row: Row, serde: SerializerProtocol) -> CheckpointTuple:
    place = Place(tenant, row["thread_id"], row["checkpoint_ns"])
    parent = row["parent_checkpoint_id"]
    return CheckpointTuple(
        place.config(row["checkpoint_id"]),
        decoded(serde, row["type"], row["checkpoint"]),
        metadata_of(row),  # type: ignore[arg-type]  # a TypedDict whose keys the reader cannot know
        place.config(parent) if parent else None,
        read_writes(reader, place, row["checkpoint_id"], serde),
    )


def _matches(row: Row, wanted: Mapping[str, Any]) -> bool:
    if not wanted:
        return True
    metadata = metadata_of(row)
    return all(metadata.get(key) == value for key, value in wanted.items())


def _metadata_bytes(metadata: CheckpointMetadata) -> bytes:
    try:
        return orjson.dumps(metadata, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # large integers, lone surrogates: slower, and takes them
        return _slow_metadata_bytes(metadata)


def _slow_metadata_bytes(metadata: CheckpointMetadata) -> bytes:
    try:
        return json.dumps(metadata).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise errors.StorageError(
            f"checkpoint metadata cannot be stored: {exc}", "keep strings and numbers in the run's config"
        ) from exc


def _execute(tx: Transaction, sql: str, row: Sequence[Any]) -> None:
    tx.execute(sql, row)
