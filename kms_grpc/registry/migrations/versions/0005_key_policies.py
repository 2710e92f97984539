"""Adds the key policies that callers store, and the digest of each in its key's row. A key without one has the default
policy."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("keys", sa.Column("policy_digest", sa.LargeBinary()))
    op.create_table(
        "key_policies",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_key_policies"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_key_policies_key_id_keys"),
        sa.UniqueConstraint("digest", name="uq_key_policies_digest"),
    )
