"""LangGraph's checkpointer on the group committer.

A thread that is a case can be written only under its claim (`CLAIM`, set before the graph is invoked): the
epoch is checked in the commit, and the rows that wait for a task are committed with that task's writes.
Any other thread is stored as by a stock saver.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from interlock import errors
from interlock.storage import checkpoint_rows, delta
from interlock.storage.checkpoint_rows import Listing, Place, configurable, guarded, page, together
from interlock.storage.claim import CLAIM, TENANT, Apply, Claim
from interlock.storage.database import Database
from interlock.storage.retried import refuse_moved
from interlock.storage.thread_care import copy_thread, forget_runs, keep_latest
from interlock.storage.transaction import Reader

__all__ = ["Checkpoints", "strict_serializer"]

_COLLECTING: ContextVar[list[Apply] | None] = ContextVar("interlock_collecting", default=None)


def strict_serializer(
    allow: Collection[type | tuple[str, str]] = (), cipher: CipherProtocol | None = None
) -> SerializerProtocol:
    """Loads LangGraph's safe types and those allowed (a class, or its module and name); encrypts with a cipher."""
    strict = JsonPlusSerializer(allowed_msgpack_modules=cast(Any, tuple(allow) or None))
    return EncryptedSerializer(cipher, strict) if cipher else strict


class Checkpoints(BaseCheckpointSaver[str]):
    """A saver for graphs on `db`, for async and sync use; cases are driven by `ainvoke`, which keeps their order.

    Raises ConfigurationError for a serializer that loads any type or unpickles. Every write may raise Stale (no
    claim, an old one, a poisoned one), DiskFull, DatabaseLocked or StorageError.
    """

    def __init__(self, db: Database, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde or strict_serializer())
        inner = self.serde.serde if isinstance(self.serde, EncryptedSerializer) else self.serde
        if getattr(inner, "_allowed_msgpack_modules", None) is True or getattr(inner, "pickle_fallback", False):
            raise errors.ConfigurationError(
                "this serializer loads any type", "use strict_serializer(allow=[...]) of interlock.storage.checkpoints"
            )
        self._db = db

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Checkpoints:
        """The same saver, which also loads these types."""
        return cast(Checkpoints, super().with_allowlist(extra_allowlist))

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[list[Apply]]:
        """Inside, puts are not committed but collected, for a unit of the caller's that holds more than they do."""
        applies: list[Apply] = []
        token = _COLLECTING.set(applies)
        try:
            yield applies
        finally:
            _COLLECTING.reset(token)

    # writing

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        claim, place = _claimed(config)
        await self._commit(self._putting(claim, place, config, checkpoint, metadata), claim, place)
        return place.config(checkpoint["id"])

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        claim, place = _claimed(config)
        self._commit_sync(self._putting(claim, place, config, checkpoint, metadata), claim, place)
        return place.config(checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        claim, place = _claimed(config)
        await self._commit(self._writing(claim, place, config, writes, (task_id, task_path)), claim, place)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        claim, place = _claimed(config)
        self._commit_sync(self._writing(claim, place, config, writes, (task_id, task_path)), claim, place)

    # reading

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._db.read(self._load(config))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._db.read_sync(self._load(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        listing = Listing.of(_tenant(), config, filter, before)
        left, after, more = limit, None, True
        while more:
            found, after = await self._db.read(partial(page, listing=listing, after=after, serde=self.serde))
            for one in found[:left]:
                yield one
            left = None if left is None else left - len(found)
            more = after is not None and (left is None or left > 0)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        listing = Listing.of(_tenant(), config, filter, before)
        left, after, more = limit, None, True
        while more:
            found, after = self._db.read_sync(partial(page, listing=listing, after=after, serde=self.serde))
            yield from found[:left]
            left = None if left is None else left - len(found)
            more = after is not None and (left is None or left > 0)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._db.read(self._history(config, channels))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return self._db.read_sync(self._history(config, channels))

    # whole threads

    async def adelete_thread(self, thread_id: str) -> None:
        await self._commit(*_deleting(thread_id))

    def delete_thread(self, thread_id: str) -> None:
        self._commit_sync(*_deleting(thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._commit(*_copying(source_thread_id, target_thread_id))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._commit_sync(*_copying(source_thread_id, target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Thin out threads ("keep_latest", "delete"); what a growing channel is rebuilt from stays."""
        for thread_id in thread_ids:
            await self._commit(*self._pruning(thread_id, strategy))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        for thread_id in thread_ids:
            self._commit_sync(*self._pruning(thread_id, strategy))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete what runs stored; all or nothing. Raises StorageError when a later checkpoint is built on it."""
        await self._db.commit(self._forgetting(run_ids))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._db.commit_sync(self._forgetting(run_ids))

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """Versions are text that sorts by age; two made from the same one differ."""
        number = int(str(current).partition(".")[0]) if current is not None else 0
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311  # no secret

    async def _commit(self, apply: Apply, claim: Claim | None, place: Place) -> None:
        collected = _COLLECTING.get()
        if collected is None:
            await self._db.commit(guarded(apply, claim, place), claim=claim)
        else:
            collected.append(apply)

    def _commit_sync(self, apply: Apply, claim: Claim | None, place: Place) -> None:
        collected = _COLLECTING.get()
        if collected is None:
            self._db.commit_sync(guarded(apply, claim, place), claim=claim)
        else:
            collected.append(apply)

    def _putting(
        self,
        claim: Claim | None,
        place: Place,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
    ) -> Apply:
        with _poisoning(claim):
            return checkpoint_rows.put(place, config, checkpoint, metadata, self.serde)

    def _writing(
        self,
        claim: Claim | None,
        place: Place,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task: tuple[str, str],
    ) -> Apply:
        with _poisoning(claim):
            store = checkpoint_rows.put_writes(
                place, str(configurable(config)["checkpoint_id"]), task, writes, self.serde
            )
        return together([store, *(claim.take(task[0]) if claim else ())])

    def _load(self, config: RunnableConfig) -> Callable[[Reader], CheckpointTuple | None]:
        refuse_moved(config)
        place, checkpoint_id = Place.of(_tenant(), config), get_checkpoint_id(config)
        return lambda reader: checkpoint_rows.load(reader, place, checkpoint_id, self.serde)

    def _history(
        self, config: RunnableConfig, channels: Sequence[str]
    ) -> Callable[[Reader], Mapping[str, DeltaChannelHistory]]:
        place, checkpoint_id = Place.of(_tenant(), config), get_checkpoint_id(config)
        return lambda reader: delta.history(reader, place, checkpoint_id, channels, self.serde)

    def _pruning(self, thread_id: str, strategy: str) -> tuple[Apply, Claim | None, Place]:
        if strategy == "delete":
            return _deleting(thread_id)
        if strategy != "keep_latest":
            raise errors.InputError(f"{strategy!r} is no way to prune", "use 'keep_latest' or 'delete'")
        claim, place = _claimed(_thread(thread_id))
        return lambda tx: keep_latest(tx, place.tenant, place.thread_id, self.serde), claim, place

    def _forgetting(self, run_ids: Sequence[str]) -> Apply:
        tenant, runs = _tenant(), frozenset(map(str, run_ids))
        return lambda tx: forget_runs(tx, tenant, runs, self.serde)


def _tenant() -> str:
    claim = CLAIM.get()
    return TENANT.get() if claim is None else claim.tenant


def _claimed(config: RunnableConfig) -> tuple[Claim | None, Place]:
    """Where a write goes, and the claim that covers it; one on another case does not."""
    claim, place = CLAIM.get(), Place.of(_tenant(), config)
    return (claim if claim is not None and claim.case_id == place.thread_id else None), place


def _thread(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id}}


def _deleting(thread_id: str) -> tuple[Apply, Claim | None, Place]:
    claim, place = _claimed(_thread(thread_id))
    return lambda tx: checkpoint_rows.delete_thread(tx, place.tenant, place.thread_id), claim, place


def _copying(source: str, target: str) -> tuple[Apply, Claim | None, Place]:
    claim, place = _claimed(_thread(target))
    return lambda tx: copy_thread(tx, place.tenant, str(source), place.thread_id), claim, place


@contextmanager
def _poisoning(claim: Claim | None) -> Iterator[None]:
    """LangGraph does not wait for writes: one that cannot even be queued must stop the steps after it too."""
    try:
        yield
    except Exception as exc:
        if claim is not None:
            claim.fail(exc)
        raise
