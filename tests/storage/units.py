"""Small units and rows for the tests of storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interlock.storage.chain import Event
from interlock.storage.claim import Claim
from interlock.storage.database import Database, Reader, Transaction

AT = "2026-01-30T22:00:00.000000Z"
_CASE = "INSERT INTO cases (tenant, case_id, key, epoch, status) VALUES (?, ?, ?, ?, 'running')"
_SWITCH = (
    "INSERT INTO switches (tenant, target, state) VALUES ('default', ?, ?)"
    " ON CONFLICT (tenant, target) DO UPDATE SET state = excluded.state"
)


def event(case: str | None = None, identity: str | None = None, tenant: str = "default", **data: Any) -> Event:
    return Event("case.resumed", tenant, case, "person:ana", data, AT, identity)


def statement(sql: str, *params: object) -> Callable[[Transaction], int]:
    """A unit of one statement."""
    return lambda tx: tx.execute(sql, params)


def put(target: str, state: object = "on") -> Callable[[Transaction], str]:
    """A unit that writes one row and gives the row's name."""

    def unit(tx: Transaction) -> str:
        tx.execute(_SWITCH, (target, state))
        return target

    return unit


def failing(error: BaseException, target: str = "never") -> Callable[[Transaction], None]:
    """A unit that writes, chains, and then fails."""

    def unit(tx: Transaction) -> None:
        tx.execute(_SWITCH, (target, "on"))
        tx.append(event(of=target))
        raise error

    return unit


def big_rows(count: int) -> Callable[[Transaction], None]:
    """A unit that fills about as many pages as it writes rows."""
    rows = [(f"t{n}", "x" * 3000) for n in range(count)]
    sql = "INSERT INTO switches (tenant, target, comment) VALUES ('default', ?, ?)"
    return lambda tx: tx.executemany(sql, rows)


def targets(reader: Reader) -> list[str]:
    return [row["target"] for row in reader.rows("SELECT target FROM switches ORDER BY rowid")]


def ledger_rows(reader: Reader) -> list[dict[str, Any]]:
    return [dict(row) for row in reader.rows("SELECT * FROM ledger ORDER BY seq")]


async def claimed(db: Database, case: str, epoch: int = 1, tenant: str = "default") -> Claim:
    """A case and the claim of its present epoch."""
    await db.commit(lambda tx: tx.execute(_CASE, (tenant, case, f"key of {case}", epoch)))
    return Claim(tenant, case, epoch)


async def reclaimed(db: Database, claim: Claim) -> Claim:
    """The next claim of the same case; the old one is stale from here on."""
    sql = "UPDATE cases SET epoch = epoch + 1 WHERE tenant = ? AND case_id = ?"
    await db.commit(lambda tx: tx.execute(sql, (claim.tenant, claim.case_id)))
    return Claim(claim.tenant, claim.case_id, claim.epoch + 1)
