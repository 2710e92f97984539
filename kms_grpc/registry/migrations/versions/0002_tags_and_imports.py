"""Adds tags, import pairs, the latest time, and columns of keys and materials for deletion, rotation and import."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), **{"nullable": False, **more})


def _number(name: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, _BIG, **{"nullable": False, **more})


def _bytes(name: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), **{"nullable": False, **more})


def upgrade() -> None:
    _keys()
    _materials()
    _tags()
    _import_pairs()
    op.create_table(
        "latest_time",
        _number("id", autoincrement=False),
        _number("latest_ns"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("id", name="pk_latest_time"),
    )


def _keys() -> None:
    for column in (
        _text("service", nullable=True),
        _number("rotation_period_days", nullable=True),
        _number("next_rotation_ns", nullable=True),
        _number("on_demand_rotations", nullable=True),
        _number("material_missing", nullable=True),
        _number("expires_ns", nullable=True),
        _bytes("pending_material_id", nullable=True),
    ):
        op.add_column("keys", column)
    op.create_index("ix_keys_state_deletion_ns", "keys", ["state", "deletion_ns"])
    op.create_index("ix_keys_state_next_rotation_ns", "keys", ["state", "next_rotation_ns"])


def _materials() -> None:
    """Lets `wrapped` be absent, since the row of a deleted material stays. SQLite copies the table for that."""
    with op.batch_alter_table("materials") as batch:
        batch.alter_column("wrapped", existing_type=sa.LargeBinary(), nullable=True)
        batch.add_column(_number("number", nullable=True))
        batch.add_column(_number("rotated_ns", nullable=True))
        batch.add_column(_text("rotation_type", nullable=True))
        batch.add_column(_number("revision", nullable=True))
    op.create_index("ix_materials_key_id_number", "materials", ["key_id", "number"])
    op.create_index("ix_materials_expires_ns", "materials", ["expires_ns"])


def _tags() -> None:
    op.create_table(
        "tags",
        _text("key_id"),
        _text("tag_key"),
        _text("account"),
        _text("tag_value"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("key_id", "tag_key", name="pk_tags"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_tags_key_id_keys"),
    )


def _import_pairs() -> None:
    op.create_table(
        "import_pairs",
        _bytes("pair_id"),
        _text("spec"),
        _bytes("public_key"),
        _bytes("wrapped"),
        _number("created_ns"),
        _text("key_id", nullable=True),
        _text("account", nullable=True),
        _text("algorithm", nullable=True),
        _number("expires_ns", nullable=True),
        _number("failures"),
        _number("revision"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("pair_id", name="pk_import_pairs"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_import_pairs_key_id_keys"),
    )
    op.create_index("ix_import_pairs_key_id", "import_pairs", ["key_id"])
    op.create_index("ix_import_pairs_expires_ns", "import_pairs", ["expires_ns"])
    op.create_index("ix_import_pairs_spec_key_id_created_ns", "import_pairs", ["spec", "key_id", "created_ns"])
