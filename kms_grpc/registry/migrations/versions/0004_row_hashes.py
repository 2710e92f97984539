"""Adds the hashes over all rows, and MACs of outbox rows. `prepare` fills both once every MAC was verified."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("shard", sa.Column("hashed", _BIG))
    op.add_column("outbox", sa.Column("mac", sa.LargeBinary()))
    op.create_table(
        "row_hashes",
        sa.Column("bucket", _BIG, nullable=False, autoincrement=False),
        sa.Column("counter", _BIG, nullable=False),
        sa.Column("row_count", _BIG, nullable=False),
        sa.Column("total", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name="pk_row_hashes"),
    )
    op.create_index("ix_tags_mac", "tags", ["mac"])
