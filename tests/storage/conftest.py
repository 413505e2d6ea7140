"""A database in a file, one in memory, a saver and a ledger on it, and the claim of a case."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from interlock.observability.ledger import Ledger
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.claim import Claim
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.storage.driving import CASE
from tests.storage.units import claimed


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


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db, ManualClock(datetime(2026, 1, 30, tzinfo=UTC)))


@pytest.fixture
async def claim(db: Database) -> Claim:
    return await claimed(db, CASE)
