"""A database in a file, one in memory, and a saver on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.storage.checkpoints import Checkpoints
from interlock.storage.database import Database


@pytest.fixture
async def db() -> AsyncIterator[Database]:
    opened = await Database.open(":memory:")
    yield opened
    await opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "interlock.db"


@pytest.fixture
async def filed(path: Path) -> AsyncIterator[Database]:
    """A database in a file at `path`."""
    opened = await Database.open(f"sqlite:///{path}", busy_s=0.1)
    yield opened
    await opened.close()


@pytest.fixture
def saver(db: Database) -> Checkpoints:
    return Checkpoints(db)
