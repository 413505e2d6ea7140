"""Deleting, copying and thinning out whole threads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langgraph.checkpoint.serde.base import SerializerProtocol

from interlock.storage.checkpoint_rows import Place, metadata_of
from interlock.storage.delta import needed
from interlock.storage.transaction import Reader, Transaction

__all__ = ["copy_thread", "delete_checkpoints", "keep_latest", "of_runs"]

_CHECKPOINT = "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_WRITE = "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value"
_HEADS = (
    "SELECT checkpoint_ns, max(checkpoint_id) AS head FROM checkpoints"
    " WHERE tenant = ? AND thread_id = ? GROUP BY checkpoint_ns"
)
_IDS = "SELECT checkpoint_id FROM checkpoints WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = ?"


def copy_thread(tx: Transaction, tenant: str, source: str, target: str) -> None:
    """Copy every checkpoint and write, so that the whole chain of ancestors is there."""
    for table, columns in (("checkpoints", _CHECKPOINT), ("writes", _WRITE)):
        tx.execute(
            f"INSERT INTO {table} (tenant, thread_id, {columns}) SELECT tenant, ?, {columns} FROM {table}"  # noqa: S608
            " WHERE tenant = ? AND thread_id = ? ON CONFLICT DO NOTHING",
            (target, tenant, source),
        )


def keep_latest(tx: Transaction, tenant: str, thread_id: str, serde: SerializerProtocol) -> None:
    """Delete all but the newest checkpoint of each namespace and what its growing channels are rebuilt from."""
    for head in tx.rows(_HEADS, (tenant, thread_id)):
        place = Place(tenant, thread_id, head["checkpoint_ns"])
        kept = needed(tx, place, head["head"], serde)
        delete_checkpoints(tx, [(*place, row["checkpoint_id"]) for row in tx.rows(_IDS, place)], kept)


def of_runs(reader: Reader, tenant: str, run_ids: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Keys of the checkpoints that these runs made."""
    wanted = set(run_ids)
    sql = "SELECT thread_id, checkpoint_ns, checkpoint_id, metadata FROM checkpoints WHERE tenant = ?"
    return [
        (tenant, row["thread_id"], row["checkpoint_ns"], row["checkpoint_id"])
        for row in reader.scan(sql, (tenant,))
        if metadata_of(row).get("run_id") in wanted
    ]


def delete_checkpoints(
    tx: Transaction, keys: Iterable[tuple[str, str, str, str]], kept: Iterable[str] = ()
) -> None:
    """Delete checkpoints by (tenant, thread, namespace, id), with their writes."""
    gone = [key for key in keys if key[3] not in kept]
    for table in ("checkpoints", "writes"):
        tx.executemany(
            f"DELETE FROM {table} WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",  # noqa: S608
            gone,
        )
