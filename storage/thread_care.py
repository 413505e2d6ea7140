"""Deleting, copying and thinning out whole threads."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from langgraph.checkpoint.serde.base import SerializerProtocol

from interlock import errors
from interlock.storage.checkpoint_rows import Place, metadata_of, refuse_governed
from interlock.storage.delta import needed
from interlock.storage.transaction import Reader, Transaction

__all__ = ["copy_thread", "forget_runs", "keep_latest"]

Key = tuple[str, str, str, str]  # tenant, thread, namespace, checkpoint

_CHECKPOINT = "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_WRITE = "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value"
_HEADS = (
    "SELECT checkpoint_ns, max(checkpoint_id) AS head FROM checkpoints"
    " WHERE tenant = ? AND thread_id = ? GROUP BY checkpoint_ns"
)
_CHILDREN = (
    "SELECT checkpoint_id FROM checkpoints"
    " WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = ? AND parent_checkpoint_id = ?"
)
_IDS = "SELECT checkpoint_id FROM checkpoints WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = ?"


def copy_thread(tx: Transaction, tenant: str, source: str, target: str) -> None:
    """Copy every checkpoint and write, so that the whole chain of ancestors is there."""
    for table, columns in (("checkpoints", _CHECKPOINT), ("writes", _WRITE)):
        tx.execute(
            f"INSERT INTO {table} (tenant, thread_id, {columns}) SELECT tenant, ?, {columns} FROM {table}"  # noqa: S608  # ours
            " WHERE tenant = ? AND thread_id = ? ON CONFLICT DO NOTHING",
            (target, tenant, source),
        )


def keep_latest(tx: Transaction, tenant: str, thread_id: str, serde: SerializerProtocol) -> None:
    """Delete all but the newest checkpoint of each namespace and what its growing channels are rebuilt from."""
    for head in tx.rows(_HEADS, (tenant, thread_id)):
        place = Place(tenant, thread_id, head["checkpoint_ns"])
        kept = needed(tx, place, head["head"], serde)
        _delete_checkpoints(
            tx, [(tenant, thread_id, place.ns, row["checkpoint_id"]) for row in tx.rows(_IDS, place)], kept
        )


def forget_runs(tx: Transaction, tenant: str, run_ids: Collection[str], serde: SerializerProtocol) -> None:
    """Delete what runs stored. Raises Stale for a case, StorageError when a checkpoint that stays is built on it."""
    gone = _of_runs(tx, tenant, run_ids)
    for thread_id in {key[1] for key in gone}:
        refuse_governed(tx, tenant, thread_id)
    for key in gone:
        _refuse_needed(tx, key, gone, serde)
    _delete_checkpoints(tx, gone)


def _delete_checkpoints(tx: Transaction, keys: Iterable[Key], kept: Iterable[str] = ()) -> None:
    """Delete checkpoints by (tenant, thread, namespace, id), with their writes."""
    gone = [key for key in keys if key[3] not in kept]
    for table in ("checkpoints", "writes"):
        tx.executemany(
            f"DELETE FROM {table} WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",  # noqa: S608  # ours
            gone,
        )


def _of_runs(reader: Reader, tenant: str, run_ids: Collection[str]) -> set[Key]:
    sql = "SELECT thread_id, checkpoint_ns, checkpoint_id, metadata FROM checkpoints WHERE tenant = ?"
    return {
        (tenant, row["thread_id"], row["checkpoint_ns"], row["checkpoint_id"])
        for row in reader.scan(sql, (tenant,))
        if metadata_of(row).get("run_id") in run_ids
    }


def _refuse_needed(reader: Reader, key: Key, gone: Collection[Key], serde: SerializerProtocol) -> None:
    place = Place(*key[:3])
    stay = [row["checkpoint_id"] for row in reader.rows(_CHILDREN, key) if (*place, row["checkpoint_id"]) not in gone]
    if any(len(needed(reader, place, child, serde)) > 1 for child in stay):
        raise errors.StorageError(
            f"a later checkpoint of thread {place.thread_id} is rebuilt from what this run stored",
            "delete the later runs too, or prune the thread",
        )
