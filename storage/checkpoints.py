"""LangGraph's checkpointer on the group committer.

A thread that is a case can be written only under its claim (`CLAIM`, set before the graph is invoked): the
epoch is checked in the commit, and the rows that wait for a task are committed with that task's writes.
Any other thread is stored as by a stock saver.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
)
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from interlock import errors
from interlock.storage import checkpoint_rows, delta, thread_care
from interlock.storage.checkpoint_rows import Listing, Place
from interlock.storage.claim import CLAIM, TENANT, Apply, Claim
from interlock.storage.database import Database
from interlock.storage.transaction import Transaction

__all__ = ["Checkpoints", "strict_serializer"]

_COLLECTING: ContextVar[list[Apply] | None] = ContextVar("interlock_collecting", default=None)


def strict_serializer(
    allow: Collection[type | tuple[str, str]] = (), cipher: CipherProtocol | None = None
) -> SerializerProtocol:
    """Loads LangGraph's safe types and those allowed (a class, or its module and name); encrypts with a cipher."""
    strict = JsonPlusSerializer(allowed_msgpack_modules=cast(Any, tuple(allow) or None))
    return EncryptedSerializer(cipher, strict) if cipher else strict


class Checkpoints(BaseCheckpointSaver[str]):
    """A saver for graphs on `db`, for async and sync use.

    Raises ConfigurationError for a serializer without an allow-list. Every write may raise Stale (no claim, an
    old one, a poisoned one), DiskFull, DatabaseLocked or StorageError.
    """

    def __init__(self, db: Database, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde or strict_serializer())
        inner = self.serde.serde if isinstance(self.serde, EncryptedSerializer) else self.serde
        if getattr(inner, "_allowed_msgpack_modules", None) is True:
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
            found, after = await self._db.read(partial(_page, listing=listing, after=after, serde=self.serde))
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
            found, after = self._db.read_sync(partial(_page, listing=listing, after=after, serde=self.serde))
            yield from found[:left]
            left = None if left is None else left - len(found)
            more = after is not None and (left is None or left > 0)
