"""The tables of a shard, for every engine. The migrations make them; a test compares the two.

A column that a later migration adds is nullable and has no default. An absent value is no part of a row's MAC
(rows.py), so the MACs of older rows still hold. Protected rows have no CHECK constraints: their MAC finds what is
wrong.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.engine import Dialect

HEAD = "0006"
"""The newest migration, stated here so that a worker whose shard is up to date need not import alembic."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Bytes(LargeBinary):
    """Bytes without conversion, so that the MAC finds a value of a wrong type on disk, and no conversion fails on
    it."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


BIG = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits on every engine. SQLite has automatic numbers for the type `INTEGER` only."""


def _text(name: str, **more: Any) -> Column[Any]:
    return Column(name, String(), nullable=False, **more)


def _number(name: str, **more: Any) -> Column[Any]:
    return Column(name, BIG, nullable=False, **more)


def _bytes(name: str, **more: Any) -> Column[Any]:
    return Column(name, Bytes(), nullable=False, **more)


shard = Table(
    "shard",
    metadata,
    _number("id", primary_key=True, autoincrement=False),
    _text("partition"),
    _text("region"),
    _text("account"),
    _text("root_fingerprint"),
    _bytes("wrapped_region_key"),
    _number("created_ns"),
    Column("hashed", BIG),
    _bytes("mac"),
)
"""One row, id 1. `hashed` is 1 once the shard has row hashes (row_hashes.py)."""

keys = Table(
    "keys",
    metadata,
    _text("key_id", primary_key=True),
    _bytes("digest", unique=True),
    _number("sequence"),
    _text("account"),
    _text("region"),
    _text("arn"),
    _text("state"),
    _text("description"),
    _number("created_ns"),
    Column("current_material_id", Bytes()),
    _text("usage"),
    _text("spec"),
    _text("origin"),
    _text("kind"),
    _number("multi_region"),
    _text("suites"),
    Column("deletion_ns", BIG),
    _number("revision"),
    Column("service", String()),
    Column("rotation_period_days", BIG),
    Column("next_rotation_ns", BIG),
    Column("on_demand_rotations", BIG),
    Column("material_missing", BIG),
    Column("expires_ns", BIG),
    Column("pending_material_id", Bytes()),
    Column("policy_digest", Bytes()),
    _bytes("mac"),
    Index(None, "account", "sequence"),
    Index(None, "state", "deletion_ns"),
    Index(None, "state", "next_rotation_ns"),
)
"""`digest` is rows.digest of the key id. It finds a row whose id was changed on disk. `policy_digest` is absent in a
key with the default policy (key_policies.py)."""

materials = Table(
    "materials",
    metadata,
    Column("key_id", String(), ForeignKey("keys.key_id"), primary_key=True),
    _bytes("material_id", primary_key=True),
    _bytes("digest", unique=True),
    _text("account"),
    Column("wrapped", Bytes()),
    _number("created_ns"),
    _text("origin"),
    _text("state"),
    Column("expires_ns", BIG, index=True),
    _text("description"),
    Column("number", BIG),
    Column("rotated_ns", BIG),
    Column("rotation_type", String()),
    Column("revision", BIG),
    _bytes("mac"),
    Index(None, "key_id", "number"),
)
"""`number` of a key's first material and `revision` of a row that was never changed are absent (materials.py)."""

tags = Table(
    "tags",
    metadata,
    Column("key_id", String(), ForeignKey("keys.key_id"), primary_key=True),
    _text("tag_key", primary_key=True),
    _text("account"),
    _text("tag_value"),
    _bytes("mac"),
)

key_policies = Table(
    "key_policies",
    metadata,
    Column("key_id", String(), ForeignKey("keys.key_id"), primary_key=True),
    _bytes("digest", unique=True),
    _text("account"),
    _text("policy"),
    _bytes("mac"),
)

import_pairs = Table(
    "import_pairs",
    metadata,
    _bytes("pair_id", primary_key=True),
    _text("spec"),
    _bytes("public_key"),
    _bytes("wrapped"),
    _number("created_ns"),
    Column("key_id", String(), ForeignKey("keys.key_id"), index=True),
    Column("account", String()),
    Column("algorithm", String()),
    Column("expires_ns", BIG, index=True),
    _number("failures"),
    _number("revision"),
    _bytes("mac"),
    Index(None, "spec", "key_id", "created_ns"),
)
"""`key_id` is absent until a pair is assigned to a key."""

latest_time = Table(
    "latest_time",
    metadata,
    _number("id", primary_key=True, autoincrement=False),
    _number("latest_ns"),
    _bytes("mac"),
)
"""One row, id 1."""

access_keys = Table(
    "access_keys",
    metadata,
    _text("access_key_id", primary_key=True),
    _text("principal"),
    _bytes("sealed_secret"),
    _number("created_ns"),
    _bytes("mac"),
)
"""Only in the shard of the default region, since access keys belong to the whole service."""

aliases = Table(
    "aliases",
    metadata,
    _text("account", primary_key=True),
    _text("name", primary_key=True),
    _bytes("digest", unique=True),
    _number("sequence"),
    _text("arn"),
    Column("target_key_id", String(), ForeignKey("keys.key_id"), nullable=False),
    _number("created_ns"),
    _number("updated_ns"),
    _number("revision"),
    _bytes("mac"),
    Index(None, "account", "sequence"),
    Index(None, "target_key_id", "sequence"),
)

grants = Table(
    "grants",
    metadata,
    _text("grant_id", primary_key=True),
    _bytes("digest", unique=True),
    _number("sequence"),
    Column("key_id", String(), ForeignKey("keys.key_id"), nullable=False),
    _text("account"),
    _text("issuing_account"),
    _text("grantee"),
    Column("retiring", String()),
    _text("operations"),
    Column("context_subset", String()),
    Column("context_equals", String()),
    Column("source_arn", String()),
    _bytes("selector"),
    Column("name", String()),
    Column("parameters", Bytes()),
    _number("created_ns"),
    _bytes("mac"),
    Index(None, "key_id", "sequence"),
    Index(None, "key_id", "grantee", "sequence", "operations"),
    Index(None, "key_id", "grantee", "selector", "sequence", "operations"),
    Index(None, "key_id", "parameters"),
    Index(None, "retiring", "sequence"),
)
"""`operations` has a comma before and after each name. `selector` and `parameters` are digests (grant_digests.py); the
latter is there where the grant has a name."""

key_counts = Table(
    "key_counts",
    metadata,
    _text("account", primary_key=True),
    _number("keys"),
)
"""The number of customer managed keys by account; see key_counts.py."""

change_log = Table(
    "change_log",
    metadata,
    _number("sequence", primary_key=True, autoincrement=True),
    _text("kind"),
    _text("name"),
    sqlite_autoincrement=True,
)

remembered_answers = Table(
    "remembered_answers",
    metadata,
    _text("account", primary_key=True),
    _text("operation", primary_key=True),
    _text("request_id", primary_key=True),
    _bytes("digest", unique=True),
    _bytes("request_digest"),
    _bytes("response"),
    _number("created_ns", index=True),
    _bytes("mac"),
)

outbox = Table(
    "outbox",
    metadata,
    _number("position", primary_key=True, autoincrement=True),
    _text("event_id", unique=True),
    _text("account"),
    _bytes("record"),
    Column("mac", Bytes()),
    sqlite_autoincrement=True,
)
"""`position` is no part of the MAC, since the engine gives it. `mac` is absent in rows that were written before
revision 0004, until the shard gets its row hashes."""

row_hashes = Table(
    "row_hashes",
    metadata,
    _number("bucket", primary_key=True, autoincrement=False),
    _number("counter"),
    _number("row_count"),
    _bytes("total"),
    _bytes("mac"),
)
"""256 rows; see row_hashes.py."""

Index(None, tags.c.mac)
"""For the bucket of a tag, which has no digest (row_hashes.py). The other tables without digests are small."""
