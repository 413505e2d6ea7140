"""A chain of events that tests write, read and change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interlock.observability.ledger import Event, Ledger

START = datetime(2026, 1, 30, 22, 0, tzinfo=UTC)


def said(ledger: Ledger, what: object, case: str | None = "c", tenant: str = "default", **more: Any) -> Event:
    data = {"by": "person:ana", "comment": what}
    return ledger.event("case.resumed", tenant=tenant, case_id=case, actor="person:ana", data=data, **more)


async def exported(ledger: Ledger, **wanted: Any) -> list[dict[str, Any]]:
    return [event async for event in ledger.export(**wanted)]


async def filled(ledger: Ledger, count: int = 10) -> None:
    await ledger.record(*(said(ledger, f"event {n}", identity=f"i{n}" if n > 5 else None) for n in range(1, count + 1)))


def tamper(path: Path, *statements: str) -> None:
    """What somebody with the file and a SQL tool can do, past the plane."""
    with closing(sqlite3.connect(path, timeout=30)) as other, other:
        for sql in statements:
            other.execute(sql)
