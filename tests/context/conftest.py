"""A context on a real database and a real Chroma store, with a small model that counts its calls."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from interlock.context.context import Context
from interlock.context.embed import Vectors
from interlock.observability.ledger import Ledger
from interlock.settings import Settings
from interlock.storage.database import Database


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def move(self, hours: float) -> datetime:
        self.time += timedelta(hours=hours)
        return self.time

    async def sleep_until(self, t: datetime) -> None:
        self.time = max(self.time, t)


class WordModel:
    """Hashed bags of words: near enough to a model for tests, and it remembers what it was given."""

    name = "words"

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fail_on = ""

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.seen += texts
        if self.fail_on and any(self.fail_on in text for text in texts):
            raise RuntimeError("the model stopped")
        return np.stack([_bag(text) for text in texts]) if texts else np.zeros((0, 64), dtype=np.float32)

    def close(self) -> None:
        self.seen.clear()


def _bag(text: str) -> Vectors:
    vector = np.full(64, 0.01, dtype=np.float32)
    for word in re.findall(r"\w+", text.lower()):
        vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 64] += 1
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


Open = Callable[[], Awaitable[Context]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def model() -> WordModel:
    return WordModel()


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    yield opened
    await opened.close()


@pytest.fixture
async def reopen(db: Database, clock: HandClock, model: WordModel, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the context of the home, closing the one opened before."""
    opened: list[Context] = []

    async def again() -> Context:
        for one in opened:
            await one.close()
        opened.append(Context(db, Ledger(db, clock), clock, Settings.load(), tmp_path, embedder=model))
        return opened[-1]

    yield again
    for one in opened:
        await one.close()


@pytest.fixture
async def context(reopen: Open) -> Context:
    return await reopen()
