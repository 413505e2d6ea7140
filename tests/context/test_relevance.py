"""A small check that the real model and the word index together find what is meant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.context.context import Context
from interlock.observability.ledger import Ledger
from interlock.settings import Settings
from interlock.storage.database import Database

from .conftest import HandClock

PAGES = {
    "fouling": "Condenser fouling: deposits in the tubes lower heat transfer and raise the head pressure.",
    "refrigerant": "Low refrigerant charge shows as low suction pressure and frost on the evaporator.",
    "bearing": "Worn bearings make a compressor vibrate; grease them, or replace them when the noise stays.",
    "sensor": "A drifting temperature sensor gives readings that differ from a hand-held thermometer.",
    "travel": "Employees book train tickets themselves; flights need the consent of the department head.",
    "expenses": "Receipts are handed in within thirty days, or the money is not paid back.",
    "procurement": "Orders above ten thousand euros need a second signature from finance.",
    "vendor": "A new supplier is screened against the sanctions list before the first payment.",
    "returns": "Customers may send back unopened goods within fourteen days for a full refund.",
    "warranty": "Error code E-4711 on the display means the warranty seal of the drive is broken.",
    "holiday": "Leave is requested in the portal at least two weeks ahead.",
    "onboarding": "A laptop and a badge are ready on the first day of a new colleague.",
}
ASKED = {
    "the machine shakes and is loud": "bearing",
    "ice on the cooling coil": "refrigerant",
    "dirt in the pipes makes the cooler worse": "fouling",
    "E-4711": "warranty",
    "who has to approve a big purchase": "procurement",
    "can I get my money back for something I bought": "returns",
    "checking a new business partner for embargoes": "vendor",
    "vacation": "holiday",
    "thermometer shows another value": "sensor",
    "what does a new employee get": "onboarding",
}


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Context]:
    clock = HandClock()
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    context = Context(db, Ledger(db, clock), clock, Settings.load(), tmp_path)
    await context.ingest("wiki", [{"id": id_, "title": id_, "text": text} for id_, text in PAGES.items()])
    yield context
    await context.close()
    await db.close()


async def test_what_is_meant_is_found(real: Context) -> None:
    ranks = [
        [fact.document_id for fact in await real.query(asked, k=3)].index(wanted) for asked, wanted in ASKED.items()
    ]

    assert sum(1 / (rank + 1) for rank in ranks) / len(ranks) >= 0.8
