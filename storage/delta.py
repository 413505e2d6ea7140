"""Growing channels: what a channel got along the ancestors of a checkpoint, and which ancestors it needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from langgraph.checkpoint.base import DeltaChannelHistory, PendingWrite
from langgraph.checkpoint.serde.base import SerializerProtocol

from interlock.storage.checkpoint_rows import Place, decoded, metadata_of, read_writes
from interlock.storage.transaction import Reader

__all__ = ["history", "needed"]

_STEP = (
    "SELECT checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints"
    " WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
)
_LATEST = (
    "SELECT checkpoint_id FROM checkpoints WHERE tenant = ? AND thread_id = ? AND checkpoint_ns = ?"
    " ORDER BY checkpoint_id DESC LIMIT 1"
)
_COUNTERS = "counters_since_delta_snapshot"


def history(
    reader: Reader, place: Place, checkpoint_id: str | None, channels: Sequence[str], serde: SerializerProtocol
) -> dict[str, DeltaChannelHistory]:
    """Per channel the writes since its nearest snapshot, oldest first, and that snapshot as `seed`, if any."""
    found: dict[str, list[list[PendingWrite]]] = {channel: [] for channel in channels}
    seeds: dict[str, Any] = {}
    for ancestor, values in _ancestors(reader, place, checkpoint_id, serde):
        seeking = {channel for channel in channels if channel not in seeds}
        writes = read_writes(reader, place, ancestor, serde, seeking)
        for channel in seeking:
            found[channel].append([write for write in writes if write[1] == channel])
        seeds.update({channel: values[channel] for channel in seeking if channel in values})
        if len(seeds) == len(found):
            break
    return {channel: _entry(steps, channel, seeds) for channel, steps in found.items()}


def needed(reader: Reader, place: Place, checkpoint_id: str, serde: SerializerProtocol) -> set[str]:
    """The checkpoint and those ancestors without which its growing channels could not be rebuilt."""
    kept = {checkpoint_id}
    seeking = _unsaved(reader, place, checkpoint_id, serde)
    if not seeking:
        return kept
    for ancestor, values in _ancestors(reader, place, checkpoint_id, serde):
        kept.add(ancestor)
        seeking -= values.keys()
        if not seeking:
            break
    return kept


def _ancestors(
    reader: Reader, place: Place, checkpoint_id: str | None, serde: SerializerProtocol
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ids and channel values, parent first. A chain that was made a loop ends where it closes."""
    if checkpoint_id is None:
        latest = reader.row(_LATEST, place)
        checkpoint_id = latest["checkpoint_id"] if latest else None
    row = reader.row(_STEP, (*place, checkpoint_id))
    seen = {checkpoint_id}
    while row is not None and row["parent_checkpoint_id"] not in seen:
        row = reader.row(_STEP, (*place, row["parent_checkpoint_id"]))
        if row is not None:
            seen.add(row["checkpoint_id"])
            yield row["checkpoint_id"], decoded(serde, row["type"], row["checkpoint"])["channel_values"]


def _unsaved(reader: Reader, place: Place, checkpoint_id: str, serde: SerializerProtocol) -> set[str]:
    """Growing channels that have a value here, but no snapshot in this checkpoint."""
    row = reader.row(_STEP, (*place, checkpoint_id))
    counted: Collection[str] = metadata_of(row).get(_COUNTERS, ()) if row else ()
    if row is None or not counted:
        return set()
    checkpoint = decoded(serde, row["type"], row["checkpoint"])
    return {c for c in counted if c in checkpoint["channel_versions"] and c not in checkpoint["channel_values"]}


def _entry(steps: list[list[PendingWrite]], channel: str, seeds: dict[str, Any]) -> DeltaChannelHistory:
    writes = [write for step in reversed(steps) for write in step]
    return {"writes": writes, "seed": seeds[channel]} if channel in seeds else {"writes": writes}
