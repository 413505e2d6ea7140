"""A real database and ledger, and a clock moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from interlock.observability.ledger import Ledger
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import START, add_case
from tests.oversight.desk import Desk


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


@pytest.fixture
async def desk(db: Database, ledger: Ledger, clock: ManualClock) -> Desk:
    await add_case(db, "c1", "waiting")
    return Desk(db, ledger, clock)
