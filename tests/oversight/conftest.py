"""A real database and ledger, and a clock moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from interlock.observability.ledger import Ledger
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import START


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def db() -> AsyncIterator[Database]:
    opened = await Database.open(":memory:")
    yield opened
    await opened.close()


@pytest.fixture
def ledger(db: Database, clock: ManualClock) -> Ledger:
    return Ledger(db, clock)
