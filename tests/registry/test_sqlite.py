"""The SQLite engine: files, connection settings, locks, migrations, query plans, and a change log without gaps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.registry.change import Change
from kms_grpc.registry.migrate import alembic_config
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import sqlite, writer
from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.registry.sql.registry import SqlRegistry
from kms_grpc.registry.sql.tables import HEAD, metadata
from tests.registry.made import ACCOUNT, REGION, add_alias, add_key, new_key, opened
from tests.registry.test_isolation import contest

# --- the change log: Shard.catch_up relies on numbers without gaps, in the order of commits ------------------------


def test_the_change_log_numbers_changes_without_gaps(shard: Shard) -> None:
    key = add_key(shard)
    alias = add_alias(shard, "alias/a", key)
    with shard.registry.writing() as transaction:
        transaction.keys.change(key)
        transaction.aliases.remove(transaction.aliases.change(alias))
    named = [("key", key.key_id), ("alias", f"{ACCOUNT}/alias/a")]
    expected = [*named, *named, named[1]]
    assert list(shard.registry.changes.list_after(0, 10)) == [Change(n, *what) for n, what in enumerate(expected, 1)]
    assert shard.registry.changes.list_after(4, 10) == [Change(5, *named[1])]
    assert shard.registry.changes.last() == 5


def test_a_transaction_that_was_undone_leaves_no_gap(shard: Shard) -> None:
    before = add_key(shard).sequence
    with pytest.raises(ZeroDivisionError), shard.registry.writing() as transaction:
        transaction.keys.add(*new_key(shard))
        raise ZeroDivisionError
    assert add_key(shard).sequence == before + 1


def test_concurrent_writers_leave_no_gap(shard: Shard, folder: Path) -> None:
    keys, events = contest(shard, folder)
    logged = ("switched", "alias of the key added", "created", "created in the limited account")
    changes = sum(kind in logged or kind.startswith("alias ") for kind, _ in events)
    assert shard.registry.changes.last() == len(keys) + changes


def test_the_change_log_is_trimmed(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHANGES_KEPT", 20)
    monkeypatch.setattr(writer, "_TRIM_EVERY", 10)
    key = add_key(shard)
    with shard.registry.writing() as transaction:
        for _ in range(99):
            key = transaction.keys.change(key)
    assert [change.sequence for change in shard.registry.changes.list_after(0, 100)] == list(range(81, 101))
    assert add_key(shard).sequence == 101, "numbers are never used again"


# --- failures of file and locks ----------------------------------------------------------------------------------


def _remove_from_outbox(shard: Shard) -> None:
    with shard.registry.writing() as transaction:
        transaction.outbox.remove(["event"])


def _use(shard: Shard) -> Sequence[Callable[[], object]]:
    key_id = "00000000-0000-0000-0000-000000000000"
    return (
        lambda: shard.registry.keys.find(key_id),
        lambda: shard.registry.keys.list_after(ACCOUNT, 0, 10),
        lambda: shard.registry.changes.list_after(0, 10),
        lambda: add_key(shard),
        lambda: shard.registry.outbox.oldest(10),
        lambda: _remove_from_outbox(shard),
    )


@pytest.mark.parametrize(
    ("content", "way_out"),
    [
        (b"not a database" * 1_000, "restore the file from a backup"),  # overwritten by something else
        (None, "from a backup|path and its permissions|kernel's log"),  # removed
    ],
    ids=["overwritten", "removed"],
)
def test_a_lost_file_is_refused_with_the_reason(folder: Path, content: bytes | None, way_out: str) -> None:
    shards = opened(folder)
    path = folder / "regions" / f"{REGION}.sqlite"
    shards.default.registry.close()
    for left in path.parent.iterdir():
        left.unlink()
    if content is not None:
        path.write_bytes(content)
    registry = SqlRegistry(path, "aws", REGION, 0)
    shards.default.registry = registry
    for use in _use(shards.default):
        with pytest.raises(DependencyTimeoutException, match=f"registry of region {REGION}.*({way_out})"):
            use()
    shards.close()


def test_a_write_waits_a_limited_time_for_another_process(
    shard: Shard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.3)
    key = add_key(shard)
    with closing(sqlite.connect(folder / "regions" / f"{REGION}.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DependencyTimeoutException, match="others have been writing"):
            add_key(shard)
        assert shard.registry.keys.find(key.key_id) == key, "readers do not wait for writers"
        threading.Timer(0.1, other.execute, ("ROLLBACK",)).start()
        add_key(shard)


def test_a_closed_registry_refuses(folder: Path) -> None:
    shards = opened(folder)
    shards.default.registry.close()
    for use in _use(shards.default):
        with pytest.raises(DependencyTimeoutException, match="closed"):
            use()
    shards.close()


# --- durability and migrations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),  # readers beside a writer
        ("synchronous", 2),  # FULL: a commit is on the disk when it returns
        ("secure_delete", 1),  # deleted content is overwritten
        ("foreign_keys", 1),
    ],
)
def test_every_connection_has_its_settings(folder: Path, pragma: str, value: object) -> None:
    with closing(sqlite.connect(folder / "regions" / f"{REGION}.sqlite")) as connection:
        assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)


def test_the_migrations_make_the_tables_that_the_statements_use(folder: Path) -> None:
    engine = create_engine(f"sqlite:///{folder}/regions/{REGION}.sqlite")
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]


PLANS = [
    ("key by id", "SELECT * FROM keys WHERE key_id = ?"),
    ("key by digest", "SELECT * FROM keys WHERE digest = ?"),
    ("page of keys", "SELECT * FROM keys WHERE account = ? AND sequence > ? ORDER BY sequence LIMIT 100"),
    ("page of aliases", "SELECT * FROM aliases WHERE account = ? AND sequence > ? ORDER BY sequence LIMIT 100"),
    (
        "aliases of a key",
        "SELECT * FROM aliases WHERE target_key_id = ? AND account = ? AND sequence > ? ORDER BY sequence LIMIT 9",
    ),
    ("material", "SELECT * FROM materials WHERE key_id = ? AND material_id = ?"),
    ("first materials of a key", "SELECT * FROM materials WHERE key_id = ? ORDER BY number NULLS FIRST LIMIT 9"),
    ("materials of a key", "SELECT * FROM materials WHERE key_id = ? AND number > ? ORDER BY number LIMIT 9"),
    ("last number", "SELECT number FROM materials WHERE key_id = ? ORDER BY number DESC NULLS LAST LIMIT 1"),
    ("deletions due", "SELECT * FROM keys WHERE state = ? AND deletion_ns <= ? ORDER BY deletion_ns LIMIT 9"),
    (
        "rotations due",
        "SELECT * FROM keys WHERE state = ? AND next_rotation_ns <= ? ORDER BY next_rotation_ns LIMIT 9",
    ),
    ("materials that expire", "SELECT key_id FROM materials WHERE expires_ns <= ?"),
    ("upcoming deletions", "SELECT count(*), min(deletion_ns) FROM keys WHERE state IN (?, ?)"),
    ("upcoming expiry", "SELECT min(expires_ns) FROM materials"),
    ("tags of a key", "SELECT * FROM tags WHERE key_id = ? AND tag_key > ? ORDER BY tag_key LIMIT 9"),
    ("the oldest ready pair", "SELECT * FROM import_pairs WHERE spec = ? AND key_id IS NULL ORDER BY created_ns"),
    ("pairs of a key", "DELETE FROM import_pairs WHERE key_id = ?"),
    ("pairs that expire", "DELETE FROM import_pairs WHERE expires_ns <= ?"),
    ("answers that are too old", "DELETE FROM remembered_answers WHERE created_ns < ?"),
]


@pytest.mark.parametrize(("what", "statement"), PLANS, ids=[what for what, _ in PLANS])
def test_no_statement_of_a_call_scans_a_table(folder: Path, what: str, statement: str) -> None:
    with closing(sqlite3.connect(folder / "regions" / f"{REGION}.sqlite")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", [1] * statement.count("?")).fetchall()
    steps = [row[3] for row in plan]
    assert all(step.startswith("SEARCH") for step in steps), f"{what}: {steps}"
