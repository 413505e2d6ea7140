"""Every table of the database, for migrations and for the test that compares both.

Each table carries `tenant`, and every unique index begins with it. Times are text from `clock.iso`,
JSON is canonical JSON in bytes, digests and hashes are hex. Run-time SQL is plain text elsewhere.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = ["metadata"]

metadata = MetaData()

_INTEGERS = {
    "idx", "seq", "epoch", "priority", "trusted", "paused", "visit", "stage", "token", "reserved", "settled",
    "amount", "attempt", "snapshot", "from_snapshot", "until_snapshot", "number", "schema_version",
    "fence",
}  # fmt: skip
_BYTES = {
    "checkpoint", "metadata", "value", "input", "assign", "result", "error", "reasons", "action", "need", "eligible",
    "evidence", "output_schema", "decision", "data", "args", "labels", "salt", "chain", "ending",
}  # fmt: skip
_REALS = {"seconds"}
_DEFAULTS = {
    "epoch": "0",
    "priority": "0",
    "trusted": "1",
    "paused": "0",
    "stage": "0",
    "reserved": "0",
    "settled": "0",
    "token": "0",
}


def _table(name: str, columns: str, key: str, *extra: Index | UniqueConstraint, **defaults: str) -> Table:
    """A table from column names; the names decide the types. Key columns are never null."""
    keys = key.split()
    made = [_column(column, column in keys, defaults.get(column)) for column in columns.split()]
    return Table(name, metadata, *made, PrimaryKeyConstraint(*keys, name=f"pk_{name}"), *extra)


def _column(name: str, in_key: bool, default: str | None) -> Column[object]:
    default = default if default is not None else _DEFAULTS.get(name)
    kind = Integer if name in _INTEGERS else LargeBinary if name in _BYTES else Double if name in _REALS else Text
    return Column(name, kind(), nullable=not in_key and default is None, server_default=default)


def _index(name: str, *columns: str, where: str | None = None) -> Index:
    """An index; `where` leaves out the rows for which it does not hold."""
    some = text(where) if where is not None else None
    return Index(f"ix_{name}", *columns, sqlite_where=some, postgresql_where=some)


_table(
    "checkpoints",
    "tenant thread_id checkpoint_ns checkpoint_id parent_checkpoint_id type checkpoint metadata",
    "tenant thread_id checkpoint_ns checkpoint_id",
    tenant="default",
    checkpoint_ns="",
)
_table(
    "writes",
    "tenant thread_id checkpoint_ns checkpoint_id task_id task_path idx channel type value",
    "tenant thread_id checkpoint_ns checkpoint_id task_id idx",
    tenant="default",
    checkpoint_ns="",
    task_path="",
)
_table(
    "cases",
    "tenant case_id seq workflow version graph_digest key input_digest input parent_id requester trusted status reason"
    " paused priority sequence epoch assign snapshot autonomy started_at updated_at ended_at due result error"
    " object ending",
    "tenant case_id",
    UniqueConstraint("tenant", "workflow", "key", name="uq_cases_key"),
    _index("cases_status", "tenant", "status", "seq"),
    _index("cases_workflow", "tenant", "workflow", "seq"),
    _index("cases_sequence", "tenant", "sequence", "seq"),
    _index("cases_seq", "seq"),
    _index("cases_object", "tenant", "workflow", "object"),
    _index("cases_parent", "tenant", "parent_id", where="parent_id IS NOT NULL"),
)
_table(
    "tasks",
    "tenant case_id task visit checkpoint_ns actor kind skill status reasons routed_at started_at finished_at item_id",
    "tenant case_id task visit",
    _index("tasks_actor", "tenant", "actor", "status"),
)
_table(
    "inbox",
    "tenant id seq kind case_id workflow task checkpoint_ns effect_key action digest requester authority need eligible"
    " reasons evidence evidence_hash output_schema assignee stage due status claimed_by claimed_at decision decided_by"
    " decided_at comment policy_version opened_at used_at chain delegated_to",
    "tenant id",
    _index("inbox_status", "tenant", "status", "kind", "seq"),
    _index("inbox_case", "tenant", "case_id", "status"),
    _index("inbox_effect", "tenant", "effect_key"),
    _index("inbox_seq", "seq"),
)
_table(
    "decisions",
    "tenant item_id by at decision digest comment policy_version evidence_hash",
    "tenant item_id by",
)
_table(
    "timers",
    "tenant id case_id kind due data status",
    "tenant id",
    _index("timers_due", "status", "due"),
)
_table(
    "leases",
    "tenant resource case_id epoch token taken_at expires_at",
    "tenant resource",
    _index("leases_case", "tenant", "case_id"),
)
_table(
    "holds",
    "tenant id seq case_id kind target status why since",
    "tenant id",
    _index("holds_target", "tenant", "target", "seq"),
    _index("holds_case", "tenant", "case_id"),
    _index("holds_seq", "tenant", "seq"),
)
_table("limits", "tenant bucket period currency reserved settled", "tenant bucket period currency")
_table(
    "reservations",
    "tenant effect_key bucket period currency amount status",
    "tenant effect_key bucket period currency",
)
_table(
    "effects",
    "tenant effect_key case_id checkpoint_ns task tool slot digest args actor effect status result error amount"
    " currency attempt item_id policy_version business_key by seconds intent_at outcome_at system counterparty"
    " compensates fence",
    "tenant effect_key",
    _index("effects_case", "tenant", "case_id"),
    _index("effects_status", "tenant", "status"),
    _index("effects_tool", "tenant", "tool", "intent_at"),
    _index("effects_system", "tenant", "system", "intent_at"),
    _index("effects_currency", "tenant", "currency", "intent_at", where="currency IS NOT NULL"),
)
_table(
    "facts",
    "tenant id case_id kind source version as_of trust labels hash value at",
    "tenant id",
    _index("facts_case", "tenant", "case_id"),
)
_table(
    "documents",
    "tenant source document_id content_hash from_snapshot until_snapshot version as_of at",
    "tenant source document_id from_snapshot",
)
_table("snapshots", "tenant number source at", "tenant number")
_table(
    "ledger",
    "tenant stream seq at type schema_version case_id actor payload_hash identity prev hash",
    "tenant stream seq",
    UniqueConstraint("tenant", "identity", name="uq_ledger_identity"),
    _index("ledger_stream", "stream", "seq"),
    _index("ledger_case", "tenant", "case_id", "seq"),
    _index("ledger_type", "tenant", "type", "seq"),
)
_table("heads", "tenant stream seq hash", "tenant stream")
_table("payloads", "tenant hash salt data erased_at", "tenant hash")
_table("seals", "tenant stream seq hash at key_id signature", "tenant stream seq")
_table("archives", "tenant stream seq hash file at", "tenant stream seq")
_table("delegations", "tenant id giver taker authority from_at until_at by comment at revoked_at", "tenant id")
_table("actors", "tenant id data at", "tenant id")
_table("switches", "tenant target state by comment at", "tenant target")
_table("registries", "tenant kind value labels source at", "tenant kind value")
