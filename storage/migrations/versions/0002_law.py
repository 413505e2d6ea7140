"""Governance in depth: delegations, escalation, compensation, objects of cases, holds, archives of the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ADDED = [
    ("cases", "object", sa.Text),
    ("cases", "ending", sa.LargeBinary),
    ("effects", "system", sa.Text),
    ("effects", "counterparty", sa.Text),
    ("effects", "compensates", sa.Text),
    ("effects", "fence", sa.Integer),
    ("inbox", "chain", sa.LargeBinary),
    ("inbox", "delegated_to", sa.Text),
]
_INDEXES = [
    ("ix_cases_object", "cases", ["tenant", "workflow", "object"]),
    ("ix_leases_case", "leases", ["tenant", "case_id"]),
    ("ix_effects_tool", "effects", ["tenant", "tool", "intent_at"]),
    ("ix_effects_system", "effects", ["tenant", "system", "intent_at"]),
]
# Indexes of the rows that have a value in the column.
_PARTIAL = [
    ("ix_cases_parent", "cases", ["tenant", "parent_id"], "parent_id"),
    ("ix_effects_currency", "effects", ["tenant", "currency", "intent_at"], "currency"),
]


def upgrade() -> None:
    for table, column, kind in _ADDED:
        op.add_column(table, sa.Column(column, kind(), nullable=True))
    for name, table, columns in _INDEXES:
        op.create_index(name, table, columns)
    for name, table, columns, column in _PARTIAL:
        some = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, table, columns, sqlite_where=some, postgresql_where=some)
    op.create_table(
        "delegations",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("giver", sa.Text(), nullable=True),
        sa.Column("taker", sa.Text(), nullable=True),
        sa.Column("authority", sa.Text(), nullable=True),
        sa.Column("from_at", sa.Text(), nullable=True),
        sa.Column("until_at", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_delegations"),
    )
    op.create_table(
        "archives",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "stream", "seq", name="pk_archives"),
    )
    op.create_table(
        "holds",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("since", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_holds"),
    )
    op.create_index("ix_holds_target", "holds", ["tenant", "target", "seq"])
    op.create_index("ix_holds_case", "holds", ["tenant", "case_id"])
    op.create_index("ix_holds_seq", "holds", ["tenant", "seq"])


def downgrade() -> None:
    op.drop_table("holds")
    op.drop_table("archives")
    op.drop_table("delegations")
    for name, table in reversed([*(one[:2] for one in _INDEXES), *(one[:2] for one in _PARTIAL)]):
        op.drop_index(name, table)
    for table, column, _ in reversed(_ADDED):
        with op.batch_alter_table(table) as batch:
            batch.drop_column(column)
