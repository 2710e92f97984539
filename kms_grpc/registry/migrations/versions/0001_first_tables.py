"""Adds shard, keys, materials, aliases, counts, change log, remembered answers and outbox."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), nullable=False)


def _number(name: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, _BIG, nullable=False, **more)


def _bytes(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def upgrade() -> None:
    _shard()
    _keys()
    _materials()
    _aliases()
    _logs()


def _shard() -> None:
    op.create_table(
        "shard",
        _number("id", autoincrement=False),
        _text("partition"),
        _text("region"),
        _text("account"),
        _text("root_fingerprint"),
        _bytes("wrapped_region_key"),
        _number("created_ns"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("id", name="pk_shard"),
    )


def _keys() -> None:
    op.create_table(
        "keys",
        _text("key_id"),
        _bytes("digest"),
        _number("sequence"),
        _text("account"),
        _text("region"),
        _text("arn"),
        _text("state"),
        _text("description"),
        _number("created_ns"),
        sa.Column("current_material_id", sa.LargeBinary()),
        _text("usage"),
        _text("spec"),
        _text("origin"),
        _text("kind"),
        _number("multi_region"),
        _text("suites"),
        sa.Column("deletion_ns", _BIG),
        _number("revision"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("key_id", name="pk_keys"),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
    )
    op.create_index("ix_keys_account_sequence", "keys", ["account", "sequence"])
    op.create_table(
        "key_counts",
        _text("account"),
        _number("keys"),
        sa.PrimaryKeyConstraint("account", name="pk_key_counts"),
    )


def _materials() -> None:
    op.create_table(
        "materials",
        _text("key_id"),
        _bytes("material_id"),
        _bytes("digest"),
        _text("account"),
        _bytes("wrapped"),
        _number("created_ns"),
        _text("origin"),
        _text("state"),
        sa.Column("expires_ns", _BIG),
        _text("description"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("key_id", "material_id", name="pk_materials"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_materials_key_id_keys"),
        sa.UniqueConstraint("digest", name="uq_materials_digest"),
    )


def _aliases() -> None:
    op.create_table(
        "aliases",
        _text("account"),
        _text("name"),
        _bytes("digest"),
        _number("sequence"),
        _text("arn"),
        _text("target_key_id"),
        _number("created_ns"),
        _number("updated_ns"),
        _number("revision"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("account", "name", name="pk_aliases"),
        sa.ForeignKeyConstraint(["target_key_id"], ["keys.key_id"], name="fk_aliases_target_key_id_keys"),
        sa.UniqueConstraint("digest", name="uq_aliases_digest"),
    )
    op.create_index("ix_aliases_account_sequence", "aliases", ["account", "sequence"])
    op.create_index("ix_aliases_target_key_id_sequence", "aliases", ["target_key_id", "sequence"])


def _logs() -> None:
    op.create_table(
        "change_log",
        _number("sequence", autoincrement=True),
        _text("kind"),
        _text("name"),
        sa.PrimaryKeyConstraint("sequence", name="pk_change_log"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "remembered_answers",
        _text("account"),
        _text("operation"),
        _text("request_id"),
        _bytes("digest"),
        _bytes("request_digest"),
        _bytes("response"),
        _number("created_ns"),
        _bytes("mac"),
        sa.PrimaryKeyConstraint("account", "operation", "request_id", name="pk_remembered_answers"),
        sa.UniqueConstraint("digest", name="uq_remembered_answers_digest"),
    )
    op.create_index("ix_remembered_answers_created_ns", "remembered_answers", ["created_ns"])
    op.create_table(
        "outbox",
        _number("position", autoincrement=True),
        _text("event_id"),
        _text("account"),
        _bytes("record"),
        sa.PrimaryKeyConstraint("position", name="pk_outbox"),
        sa.UniqueConstraint("event_id", name="uq_outbox_event_id"),
        sqlite_autoincrement=True,
    )
