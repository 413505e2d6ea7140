"""A ledger on a database in a file, and a clock moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.observability.ledger import Ledger
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.observability.chain import START


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "interlock.db"


@pytest.fixture
async def db(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(f"sqlite:///{path}", busy_s=30)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def ledger(db: Database, clock: ManualClock) -> Ledger:
    return Ledger(db, clock)
