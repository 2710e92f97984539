"""Adds grants."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "grants",
        sa.Column("grant_id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sequence", _BIG, nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("issuing_account", sa.String(), nullable=False),
        sa.Column("grantee", sa.String(), nullable=False),
        sa.Column("retiring", sa.String()),
        sa.Column("operations", sa.String(), nullable=False),
        sa.Column("context_subset", sa.String()),
        sa.Column("context_equals", sa.String()),
        sa.Column("source_arn", sa.String()),
        sa.Column("selector", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String()),
        sa.Column("parameters", sa.LargeBinary()),
        sa.Column("created_ns", _BIG, nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_grants_key_id_keys"),
        sa.PrimaryKeyConstraint("grant_id", name="pk_grants"),
        sa.UniqueConstraint("digest", name="uq_grants_digest"),
    )
    for columns in (
        ["key_id", "sequence"],
        ["key_id", "grantee", "sequence", "operations"],
        ["key_id", "grantee", "selector", "sequence", "operations"],
        ["key_id", "parameters"],
        ["retiring", "sequence"],
    ):
        op.create_index(f"ix_grants_{'_'.join(columns)}", "grants", columns)
