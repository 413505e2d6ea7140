"""What cases hold of people, in every table, and how it is found and taken out. The ledger is not among them."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from interlock.oversight import limits
from interlock.storage.database import Reader, Transaction

__all__ = ["blank_case", "descendants", "holding"]

# What stays says that there was a case, of which workflow, when, who acted, and how it ended; ids stay everywhere.
# A start with the same business key meets the case by its id, and is told that its input is another one.
_BLANK = (
    "UPDATE cases SET input = x'6e756c6c', input_digest = '', key = iif(key IS NULL, NULL, 'erased/' || case_id),"
    " result = NULL, error = NULL, reason = NULL, assign = x'7b7d', sequence = NULL, object = NULL, ending = NULL"
    " WHERE tenant = ?1 AND case_id = ?2",
    "DELETE FROM checkpoints WHERE tenant = ?1 AND thread_id = ?2",
    "DELETE FROM writes WHERE tenant = ?1 AND thread_id = ?2",
    "UPDATE tasks SET reasons = NULL WHERE tenant = ?1 AND case_id = ?2",
    "UPDATE decisions SET decision = NULL, comment = NULL WHERE tenant = ?1"
    " AND item_id IN (SELECT id FROM inbox WHERE tenant = ?1 AND case_id = ?2)",
    "UPDATE inbox SET action = x'7b7d', reasons = NULL, evidence = NULL, decision = NULL, comment = ''"
    " WHERE tenant = ?1 AND case_id = ?2",
    "UPDATE effects SET args = x'7b7d', result = NULL, error = NULL, slot = NULL, counterparty = NULL,"
    " business_key = NULL WHERE tenant = ?1 AND case_id = ?2",
    "DELETE FROM facts WHERE tenant = ?1 AND case_id = ?2",
    "DELETE FROM timers WHERE tenant = ?1 AND case_id = ?2",
    "DELETE FROM holds WHERE tenant = ?1 AND case_id = ?2",
)
_CHILDREN = "SELECT case_id FROM cases WHERE tenant = ? AND parent_id = ?"
_TEXTS = (
    ("cases", "case_id", "key reason sequence object"),
    ("inbox", "case_id", "comment"),
    ("effects", "case_id", "slot counterparty business_key"),
    ("holds", "case_id", "target why"),
)
_BYTES = (
    ("cases", "case_id", "input result error ending assign"),
    ("checkpoints", "thread_id", "checkpoint metadata"),
    ("writes", "thread_id", "value"),
    ("tasks", "case_id", "reasons"),
    ("inbox", "case_id", "action reasons evidence decision"),
    ("effects", "case_id", "args result error"),
    ("facts", "case_id", "value"),
    ("timers", "case_id", "data"),
)
_PAYLOADS = (
    "SELECT DISTINCT l.case_id AS case_id FROM ledger l JOIN payloads p ON p.tenant = l.tenant"
    " AND p.hash = l.payload_hash WHERE l.tenant = ?1 AND l.case_id IS NOT NULL AND instr(p.data, ?2)"
)


def blank_case(tx: Transaction, tenant: str, case_id: str, at: str) -> None:
    """Take out what a case holds besides its place in the world."""
    limits.forget(tx, tenant, case_id, at)
    for statement in _BLANK:
        tx.execute(statement, (tenant, case_id))


def descendants(tx: Reader, tenant: str, case_ids: Iterable[str]) -> list[str]:
    """These cases, and those that were started or forked by them: they were given what the cases held."""
    found: dict[str, None] = {}
    left = list(case_ids)
    while left:
        case_id = left.pop()
        if case_id not in found:
            found[case_id] = None
            left += [row["case_id"] for row in tx.rows(_CHILDREN, (tenant, case_id))]
    return list(found)


def holding(tx: Reader, tenant: str, text: str) -> set[str]:
    """The cases that hold a text anywhere, as it is written or as JSON writes it. Encrypted checkpoints say nothing."""
    written, escaped = text.encode(), orjson.dumps(text)[1:-1]
    found = {row["case_id"] for form in {written, escaped} for row in tx.rows(_PAYLOADS, (tenant, form))}
    for table, column, names in _BYTES:
        sql = _search(table, column, names)
        found |= {row["case_id"] for form in {written, escaped} for row in tx.rows(sql, (tenant, form))}
    for table, column, names in _TEXTS:
        found |= {row["case_id"] for row in tx.rows(_search(table, column, names), (tenant, text))}
    return found


def _search(table: str, column: str, names: str) -> str:
    among = " OR ".join(f"instr({name}, ?2)" for name in names.split())
    return f"SELECT DISTINCT {column} AS case_id FROM {table} WHERE tenant = ?1 AND ({among})"  # noqa: S608  # ours
