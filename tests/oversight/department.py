"""A small buying department: its actions, requests, people, cases, and what its ledger says."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from interlock.observability.ledger import Ledger
from interlock.oversight.policy import ActionSpec, Policies, Request
from interlock.storage.database import Database

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)

PO = ActionSpec(
    "erp.create_po",
    "write",
    "erp",
    "po:write",
    {
        "type": "object",
        "properties": {
            "total": {"type": "integer"},
            "vendor": {"type": "string"},
            "note": {"type": "string"},
            "rate": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["total", "vendor"],
    },
)
GET = ActionSpec("erp.get_po", "read", "erp", "po:read", {"type": "object", "properties": {"id": {"type": "string"}}})
GATE = ActionSpec("buying.approve", "gate")
ACTIONS = (PO, GET, GATE)


def bound(
    text: str,
    actions: Iterable[ActionSpec] = ACTIONS,
    *,
    roles: Collection[str] = ("buyer",),
    authorities: Collection[str] = ("purchasing", "cfo"),
) -> Policies:
    """Policies of one text, together with the shipped built-in ones."""
    policies = Policies({"t.cedar": text})
    policies.bind(actions, roles, authorities)
    return policies


def ask(
    policies: Policies,
    amount: int = 0,
    *,
    action: str = "erp.create_po",
    by: str = "agent:buyer",
    roles: Iterable[str] = ("buyer",),
    currency: str = "EUR",
    **context: Any,
) -> Request:
    """A complete request; `context` overrides what is told here."""
    told = {"amount": amount, "currency": currency, "now": START, "requester": "person:ana"}
    told["args"] = {"total": amount, "vendor": "v1"} if action == "erp.create_po" else {}
    full = policies.complete_context(action, {**told, **context})
    return Request(action, by, frozenset(roles), "erp", full)


async def events(ledger: Ledger, *types: str) -> list[dict[str, Any]]:
    """What the ledger holds, of some types or all; the chain is verified on the way."""
    report = await ledger.verify()
    assert report.ok, report.why
    return [event async for event in ledger.export() if not types or event["type"] in types]


async def add_case(db: Database, case_id: str, status: str = "running", *, tenant: str = "default") -> None:
    sql = "INSERT INTO cases (tenant, case_id, seq, workflow, key, status) VALUES (?, ?, 1, 'buying', ?, ?)"
    await db.commit(lambda tx: tx.execute(sql, (tenant, case_id, case_id, status)))


async def set_case(db: Database, case_id: str, status: str, *, tenant: str = "default") -> None:
    sql = "UPDATE cases SET status = ? WHERE tenant = ? AND case_id = ?"
    await db.commit(lambda tx: tx.execute(sql, (status, tenant, case_id)))


async def status_of(db: Database, case_id: str, *, tenant: str = "default") -> str:
    sql = "SELECT status FROM cases WHERE tenant = ? AND case_id = ?"
    row = await db.read(lambda tx: tx.row(sql, (tenant, case_id)))
    assert row is not None
    return str(row["status"])
