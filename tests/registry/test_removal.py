"""Removal of keys, materials and pairs: no row and no secret is left in any file."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kms_grpc.crypto.envelope import seal
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.model.key import (
    Key,
    Tag,
)
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql.library import sqlite3
from tests.registry.damaging import damaged_rows
from tests.registry.made import (
    ACCOUNT,
    NO_CONTEXT,
    add_alias,
    add_key,
    contents,
    in_another_process,
    pair,
    rotate,
    shard_file,
)


def _everywhere(folder: Path, secret: bytes) -> list[str]:
    """Returns the files of a data directory that hold these bytes."""
    return [path.name for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


def _with_rows_of_all_kinds(store: Shard) -> tuple[Key, list[bytes]]:
    """Returns a key with two materials, two aliases, a tag and an import pair, and the secrets that its rows hold."""
    key = rotate(store, add_key(store))
    for n in range(2):
        add_alias(store, f"alias/{key.key_id}-{n}", key)
    given = pair(key.key_id.encode()[:16], key_id=key.key_id, account=ACCOUNT, expires_ns=9)
    with store.writing() as transaction:
        transaction.tags.set(Tag(key.key_id, ACCOUNT, "a", "b"))
        transaction.pairs.add(given)
    wrapped = [one.wrapped for one in store.registry.materials.list_after(key.key_id, -1, 9)]
    return key, [secret for secret in (*wrapped, given.wrapped) if secret is not None]


def test_a_removed_key_leaves_no_row_and_no_secret_behind(store: Shard, folder: Path) -> None:
    key, secrets = _with_rows_of_all_kinds(store)
    other, others_secrets = _with_rows_of_all_kinds(store)
    loaded, before = store.current_material(key), store.registry.changes.last()
    assert all(_everywhere(folder, secret) for secret in secrets), "the files hold them before"
    with store.writing() as transaction:
        transaction.keys.remove(key)
    assert store.registry.erase_removed()
    assert {secret: _everywhere(folder, secret) for secret in secrets} == {secret: [] for secret in secrets}
    assert all(_everywhere(folder, secret) for secret in others_secrets)
    rows = contents(shard_file(folder))
    left = [name for name, every in rows.items() if name != "change_log" and key.key_id in repr(every)]
    assert left == []
    assert {change.name for change in store.registry.changes.list_after(before, 9)} == {
        key.key_id,
        *(f"{ACCOUNT}/alias/{key.key_id}-{n}" for n in range(2)),
    }
    assert (store.find_key(key.key_id), store.find_alias(ACCOUNT, f"alias/{key.key_id}-0")) == (None, None)
    with pytest.raises(StaleHandle):
        seal(loaded.handle, loaded.prefix, loaded.associated_prefix + NO_CONTEXT, b"p")
    assert (store.registry.keys.count(ACCOUNT), damaged_rows(store.registry)) == (1, [])
    assert store.find_key(other.key_id) == other


def test_deleted_material_and_used_pairs_are_in_no_file(store: Shard, folder: Path) -> None:
    key, secrets = _with_rows_of_all_kinds(store)
    with store.writing() as transaction:
        for material in transaction.materials.list_after(key.key_id, -1, 9):
            transaction.materials.change(replace(material, wrapped=None))
        found = transaction.pairs.find(key.key_id.encode()[:16])
        assert found is not None
        transaction.pairs.remove(found)
    assert store.registry.erase_removed()
    assert [_everywhere(folder, secret) for secret in secrets] == [[]] * len(secrets)


def test_erasing_fails_while_a_reader_is_active(store: Shard, folder: Path) -> None:
    key = add_key(store)
    with closing(sqlite3.connect(shard_file(folder), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM keys").fetchall()
        with store.writing() as transaction:
            transaction.keys.remove(key)
        assert not store.registry.erase_removed()
        reader.execute("COMMIT")
    assert store.registry.erase_removed()


KILLED: list[tuple[str, str]] = [
    ("remove_key", "t.keys.remove(key)"),
    (
        "make_current",
        "t.keys.make_current(key, replace(shard.generate_material(key.key_id, key.account, 9), rotated_ns=9))",
    ),
]


@pytest.mark.parametrize("fault", ["commit.before", "commit.after", "epoch.after"])
@pytest.mark.parametrize(("what", "write"), KILLED, ids=[what for what, _ in KILLED])
def test_a_writer_killed_around_its_commit_has_written_all_or_nothing(
    store: Shard, folder: Path, what: str, write: str, fault: str
) -> None:
    key, _ = _with_rows_of_all_kinds(store)
    before = contents(shard_file(folder))
    code = f"""
from dataclasses import replace
shard = opened(Path(argv[0])).default
with shard.writing() as t: key = t.keys.find(argv[1]); {write}
"""
    dead = in_another_process(f"exec({code!r})", folder, key.key_id, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    store.words.announce_all()
    store.catch_up()
    found = store.find_key(key.key_id)
    if fault == "commit.before":
        assert contents(shard_file(folder)) == before
    elif what == "remove_key":
        assert found is None
        assert store.registry.materials.list_after(key.key_id, -1, 9) == []
    else:
        assert found is not None
        assert found.current_material_id == store.current_material(found).material_id != key.current_material_id
    assert damaged_rows(store.registry) == []
