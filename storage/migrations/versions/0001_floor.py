"""The floor: every table of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "actors",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_actors"),
    )
    op.create_table(
        "cases",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("graph_digest", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("input_digest", sa.Text(), nullable=True),
        sa.Column("input", sa.LargeBinary(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("requester", sa.Text(), nullable=True),
        sa.Column("trusted", sa.Integer(), server_default="1", nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("paused", sa.Integer(), server_default="0", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sequence", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("assign", sa.LargeBinary(), nullable=True),
        sa.Column("snapshot", sa.Integer(), nullable=True),
        sa.Column("autonomy", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("due", sa.Text(), nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "case_id", name="pk_cases"),
        sa.UniqueConstraint("tenant", "workflow", "key", name="uq_cases_key"),
    )
    op.create_index("ix_cases_seq", "cases", ["seq"], unique=False)
    op.create_index("ix_cases_sequence", "cases", ["tenant", "sequence", "seq"], unique=False)
    op.create_index("ix_cases_status", "cases", ["tenant", "status", "seq"], unique=False)
    op.create_index("ix_cases_workflow", "cases", ["tenant", "workflow", "seq"], unique=False)
    op.create_table(
        "checkpoints",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("checkpoint_ns", sa.Text(), server_default="", nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=False),
        sa.Column("parent_checkpoint_id", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("checkpoint", sa.LargeBinary(), nullable=True),
        sa.Column("metadata", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "thread_id", "checkpoint_ns", "checkpoint_id", name="pk_checkpoints"),
    )
    op.create_table(
        "decisions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=True),
        sa.Column("decision", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("evidence_hash", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "item_id", "by", name="pk_decisions"),
    )
    op.create_table(
        "documents",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("from_snapshot", sa.Integer(), nullable=False),
        sa.Column("until_snapshot", sa.Integer(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("as_of", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "source", "document_id", "from_snapshot", name="pk_documents"),
    )
    op.create_table(
        "effects",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("effect_key", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("checkpoint_ns", sa.Text(), nullable=True),
        sa.Column("task", sa.Text(), nullable=True),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("slot", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("args", sa.LargeBinary(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("effect", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("amount", sa.Integer(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("intent_at", sa.Text(), nullable=True),
        sa.Column("outcome_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "effect_key", name="pk_effects"),
    )
    op.create_index("ix_effects_case", "effects", ["tenant", "case_id"], unique=False)
    op.create_index("ix_effects_status", "effects", ["tenant", "status"], unique=False)
    op.create_table(
        "facts",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("as_of", sa.Text(), nullable=True),
        sa.Column("trust", sa.Text(), nullable=True),
        sa.Column("labels", sa.LargeBinary(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_facts"),
    )
    op.create_index("ix_facts_case", "facts", ["tenant", "case_id"], unique=False)
    op.create_table(
        "heads",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "stream", name="pk_heads"),
    )
    op.create_table(
        "inbox",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("task", sa.Text(), nullable=True),
        sa.Column("checkpoint_ns", sa.Text(), nullable=True),
        sa.Column("effect_key", sa.Text(), nullable=True),
        sa.Column("action", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("requester", sa.Text(), nullable=True),
        sa.Column("authority", sa.Text(), nullable=True),
        sa.Column("need", sa.LargeBinary(), nullable=True),
        sa.Column("eligible", sa.LargeBinary(), nullable=True),
        sa.Column("reasons", sa.LargeBinary(), nullable=True),
        sa.Column("evidence", sa.LargeBinary(), nullable=True),
        sa.Column("evidence_hash", sa.Text(), nullable=True),
        sa.Column("output_schema", sa.LargeBinary(), nullable=True),
        sa.Column("assignee", sa.Text(), nullable=True),
        sa.Column("stage", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.Text(), nullable=True),
        sa.Column("decision", sa.LargeBinary(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.Text(), nullable=True),
        sa.Column("used_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_case", "inbox", ["tenant", "case_id", "status"], unique=False)
    op.create_index("ix_inbox_effect", "inbox", ["tenant", "effect_key"], unique=False)
    op.create_index("ix_inbox_seq", "inbox", ["seq"], unique=False)
    op.create_index("ix_inbox_status", "inbox", ["tenant", "status", "kind", "seq"], unique=False)
    op.create_table(
        "leases",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("token", sa.Integer(), server_default="0", nullable=False),
        sa.Column("taken_at", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "resource", name="pk_leases"),
    )
    op.create_table(
        "ledger",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("schema_version", sa.Integer(), nullable=True),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("payload_hash", sa.Text(), nullable=True),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("prev", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "stream", "seq", name="pk_ledger"),
        sa.UniqueConstraint("tenant", "identity", name="uq_ledger_identity"),
    )
    op.create_index("ix_ledger_case", "ledger", ["tenant", "case_id", "seq"], unique=False)
    op.create_index("ix_ledger_stream", "ledger", ["stream", "seq"], unique=False)
    op.create_index("ix_ledger_type", "ledger", ["tenant", "type", "seq"], unique=False)
    op.create_table(
        "limits",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reserved", sa.Integer(), server_default="0", nullable=False),
        sa.Column("settled", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("tenant", "bucket", "period", "currency", name="pk_limits"),
    )
    op.create_table(
        "payloads",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("erased_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "hash", name="pk_payloads"),
    )
    op.create_table(
        "registries",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "kind", "value", name="pk_registries"),
    )
    op.create_table(
        "reservations",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("effect_key", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "effect_key", "bucket", "period", "currency", name="pk_reservations"),
    )
    op.create_table(
        "seals",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "stream", "seq", name="pk_seals"),
    )
    op.create_table(
        "snapshots",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "number", name="pk_snapshots"),
    )
    op.create_table(
        "switches",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "target", name="pk_switches"),
    )
    op.create_table(
        "tasks",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("checkpoint_ns", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("skill", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("reasons", sa.LargeBinary(), nullable=True),
        sa.Column("routed_at", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "case_id", "task", "visit", name="pk_tasks"),
    )
    op.create_index("ix_tasks_actor", "tasks", ["tenant", "actor", "status"], unique=False)
    op.create_table(
        "timers",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("due", sa.Text(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_timers"),
    )
    op.create_index("ix_timers_due", "timers", ["status", "due"], unique=False)
    op.create_table(
        "writes",
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("checkpoint_ns", sa.Text(), server_default="", nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("task_path", sa.Text(), server_default="", nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint(
            "tenant", "thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx", name="pk_writes"
        ),
    )


def downgrade() -> None:
    for table in [
        "actors",
        "cases",
        "checkpoints",
        "decisions",
        "documents",
        "effects",
        "facts",
        "heads",
        "inbox",
        "leases",
        "ledger",
        "limits",
        "payloads",
        "registries",
        "reservations",
        "seals",
        "snapshots",
        "switches",
        "tasks",
        "timers",
        "writes",
    ]:
        op.drop_table(table)
