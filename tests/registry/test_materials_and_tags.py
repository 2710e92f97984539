"""The registry's contract for materials, due work, tags, import pairs, AWS owned keys and deletion."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kms_grpc.crypto.envelope import open_blob, seal
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import AlreadyExistsException, ConflictException, KeyUnavailableException, KMSInternalException
from kms_grpc.model.key import (
    ImportPair,
    Key,
    KeyKind,
    KeyState,
    Material,
    MaterialState,
    Origin,
    RotationType,
    Tag,
)
from kms_grpc.registry import owned_keys
from kms_grpc.registry.base import Due, OutboxRow, Registry, Transaction
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import tables
from tests.registry.made import (
    ACCOUNT,
    OTHER_ACCOUNT,
    REGION,
    SERVICE_ACCOUNT,
    add_alias,
    add_key,
    in_another_process,
    new_key,
    opened,
    start,
)
from tests.registry.test_damage import FLIPS, damage

NO_CONTEXT = b"\0\0\0\0"
OLD_SHARD = Path(__file__).parents[1] / "vectors" / "shard_0001.zip"


def another(shard: Shard, key: Key, **changes: Any) -> Material:
    """Returns fresh material for a key that exists."""
    return replace(shard.generate_material(key.key_id, key.account, 5), **changes)


def rotate(shard: Shard, key: Key, **changes: Any) -> Key:
    rotated = {"rotated_ns": 5, "rotation_type": RotationType.ON_DEMAND, **changes}
    with shard.writing() as transaction:
        return transaction.keys.make_current(key, another(shard, key, **rotated))


def pair(name: bytes, **changes: Any) -> ImportPair:
    made = ImportPair(name.ljust(16, b"."), "RSA_2048", b"public " + name, b"wrapped " + name * 20, 7)
    return replace(made, **changes)


def external(shard: Shard, **changes: Any) -> tuple[Key, None]:
    key, _ = new_key(shard)
    given = {"origin": Origin.EXTERNAL, "state": KeyState.PENDING_IMPORT, "material_missing": True}
    return replace(key, current_material_id=None, **{**given, **changes}), None


# --- what is written is there ------------------------------------------------------------------------------------


def test_everything_comes_back_as_it_was_written(store: Shard) -> None:
    key, material = new_key(store)
    key = replace(
        key,
        kind=KeyKind.AWS_MANAGED,
        service="s3.amazonaws.com",
        rotation_period_days=365,
        next_rotation_ns=8,
        on_demand_rotations=25,
        material_missing=True,
        expires_ns=9,
        pending_material_id=b"p" * 32,
    )
    tag, given = Tag(key.key_id, ACCOUNT, "Schlüssel", ""), pair(b"given", key_id=key.key_id, account=ACCOUNT)
    given = replace(given, algorithm="RSAES_OAEP_SHA_256", expires_ns=99, failures=3)
    with store.registry.writing() as transaction:
        key = transaction.keys.add(key, material)
        waits = another(store, key, origin=Origin.EXTERNAL, state=MaterialState.PENDING_ROTATION, expires_ns=4)
        waits = transaction.materials.add(replace(waits, description="by hand"))
        lost = another(store, key, wrapped=None, rotated_ns=6, rotation_type=RotationType.AUTOMATIC, revision=3)
        lost = transaction.materials.add(lost)
        transaction.tags.set(tag)
        transaction.pairs.add(given)
        assert transaction.latest_time.advance(77) == 77
        assert list(transaction.materials.list_after(key.key_id, -1, 9)) == [material, waits, lost]
        assert (transaction.pairs.find(given.pair_id), transaction.latest_time.read_ns()) == (given, 77)
    registry = store.registry
    assert registry.keys.find(key.key_id) == key
    assert [material.number for material in registry.materials.list_after(key.key_id, -1, 9)] == [0, 1, 2]
    assert registry.materials.find(key.key_id, lost.material_id) == lost
    assert list(registry.tags.list_after(key.key_id, "", 9)) == [tag]
    assert (registry.pairs.find(given.pair_id), registry.latest_time.read_ns()) == (given, 77)
    assert registry.damaged_rows() == []


def _contents(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables.metadata.tables}


def test_a_transaction_left_by_an_exception_leaves_nothing(store: Shard, folder: Path) -> None:
    key = add_key(store)
    with store.registry.writing() as transaction:
        transaction.pairs.add(pair(b"ready"))
        transaction.tags.set(Tag(key.key_id, ACCOUNT, "a", "b"))
    before = _contents(folder / "regions" / f"{REGION}.sqlite")
    with pytest.raises(ZeroDivisionError), store.registry.writing() as transaction:
        changed = transaction.keys.make_current(key, another(store, key))
        transaction.tags.set(Tag(key.key_id, ACCOUNT, "a", "other"))
        transaction.tags.remove(key.key_id, "a")
        transaction.pairs.remove(transaction.pairs.change(pair(b"ready")))
        transaction.latest_time.advance(9)
        transaction.keys.remove(changed)
        transaction.outbox.add(OutboxRow("event", ACCOUNT, b"{}"))
        raise ZeroDivisionError
    assert _contents(folder / "regions" / f"{REGION}.sqlite") == before


Write = Callable[[Transaction, Key, Material, ImportPair], object]
STALE: list[tuple[str, Write]] = [
    ("change_material", lambda t, key, material, pair: t.materials.change(material)),
    ("remove_material", lambda t, key, material, pair: t.materials.remove(material)),
    ("make_current", lambda t, key, material, pair: t.keys.make_current(key, material)),
    ("remove_key", lambda t, key, material, pair: t.keys.remove(key)),
    ("change_pair", lambda t, key, material, pair: t.pairs.change(pair)),
    ("remove_pair", lambda t, key, material, pair: t.pairs.remove(pair)),
]


@pytest.mark.parametrize(("what", "write"), STALE, ids=[what for what, _ in STALE])
def test_a_write_of_another_revision_is_refused(store: Shard, what: str, write: Write) -> None:
    key, first = new_key(store)
    ready = pair(b"ready")
    with store.registry.writing() as transaction:
        key = transaction.keys.add(key, first)
        material = transaction.materials.add(another(store, key, state=MaterialState.PENDING_ROTATION))
        transaction.pairs.add(ready)
    with store.registry.writing() as transaction:
        assert transaction.keys.change(key).revision == 2
        assert transaction.materials.change(material).revision == 2
        assert transaction.pairs.change(ready).revision == 2
    before = list(store.registry.materials.list_after(key.key_id, -1, 9))
    with pytest.raises(ConflictException, match="Repeat the call"), store.registry.writing() as transaction:
        write(transaction, key, material, ready)
    assert list(store.registry.materials.list_after(key.key_id, -1, 9)) == before
    with store.registry.writing() as transaction:
        write(transaction, replace(key, revision=2), replace(material, revision=2), replace(ready, revision=2))


def test_a_material_can_be_added_once(store: Shard) -> None:
    key, material = new_key(store)
    with store.registry.writing() as transaction:
        transaction.keys.add(key, material)
    with pytest.raises(AlreadyExistsException), store.registry.writing() as transaction:
        transaction.materials.add(replace(material, wrapped=None))


# --- many materials ----------------------------------------------------------------------------------------------


def test_a_rotated_key_encrypts_under_the_new_material_and_decrypts_under_the_old(store: Shard, folder: Path) -> None:
    key = add_key(store)
    shards = opened(folder)
    other, blobs = shards.default, []
    for n in range(5):
        assert other.catch_up() is (n > 0)
        seen = other.find_key(key.key_id)
        assert seen == key, "another worker obeys from then on"
        loaded = other.current_material(seen)
        assert loaded.material_id == key.current_material_id
        blobs.append(seal(loaded.handle, loaded.prefix, loaded.associated_prefix + NO_CONTEXT, b"%d" % n))
        key = rotate(store, key)
    assert len({blob[:55] for blob in blobs}) == 5
    for n, blob in enumerate(blobs):
        loaded = store.material(key, blob[:55])
        assert loaded is not None
        assert open_blob(loaded.handle, loaded.associated_prefix + NO_CONTEXT, blob) == b"%d" % n
    shards.close()


def test_materials_are_listed_in_the_order_of_rotation_page_by_page(store: Shard) -> None:
    key = add_key(store)
    for _ in range(7):
        key = rotate(store, key)
    seen: list[Material] = []
    while page := store.registry.materials.list_after(key.key_id, seen[-1].number if seen else -1, 3):
        seen += page
        assert len(page) <= 3
    assert [material.number for material in seen] == list(range(8))
    assert [material.state for material in seen] == [MaterialState.NON_CURRENT] * 7 + [MaterialState.CURRENT]
    assert seen[-1].material_id == key.current_material_id
    assert [material.rotation_type for material in seen] == [None] + [RotationType.ON_DEMAND] * 7
    assert store.registry.materials.list_after(add_key(store).key_id, 0, 3) == []


def test_a_first_import_makes_its_material_the_current_one(store: Shard) -> None:
    with store.writing() as transaction:
        key = transaction.keys.add(*external(store))
    with store.writing() as transaction:
        ready = replace(key, state=KeyState.ENABLED, material_missing=False)
        key = transaction.keys.make_current(ready, another(store, key, origin=Origin.EXTERNAL))
    (material,) = store.registry.materials.list_after(key.key_id, -1, 9)
    assert (material.number, material.state, key.state) == (0, MaterialState.CURRENT, KeyState.ENABLED)
    assert store.current_material(key).material_id == material.material_id


def test_a_rotation_fails_if_the_new_material_does_not_unwrap(store: Shard) -> None:
    """The material was wrapped for another key."""
    key, other = add_key(store), add_key(store)
    with pytest.raises(KeyUnavailableException, match=key.key_id), store.writing() as transaction:
        transaction.keys.make_current(key, replace(another(store, other), key_id=key.key_id))


def test_deleted_material_leaves_the_keyring_and_can_be_imported_again(store: Shard) -> None:
    key = rotate(store, add_key(store))
    assert key.current_material_id is not None
    loaded = store.current_material(key)
    material = store.registry.materials.find(key.key_id, key.current_material_id)
    assert material is not None
    with store.writing() as transaction:
        deleted = transaction.materials.change(replace(material, wrapped=None))
    assert store.material(key, loaded.prefix) is None
    with pytest.raises(StaleHandle):
        seal(loaded.handle, loaded.prefix, loaded.associated_prefix + NO_CONTEXT, b"p")
    with pytest.raises(KeyUnavailableException):
        store.current_material(key)
    with store.writing() as transaction:
        transaction.materials.change(replace(deleted, wrapped=material.wrapped))
    assert store.current_material(key).material_id == material.material_id


def test_material_that_waits_for_a_rotation_decrypts_nothing(store: Shard) -> None:
    key = add_key(store)
    with store.writing() as transaction:
        waits = transaction.materials.add(another(store, key, state=MaterialState.PENDING_ROTATION))
    prefix = store.current_material(key).prefix[:19] + waits.material_id
    assert store.material(key, prefix + b"check") is None
    with store.writing() as transaction:
        transaction.materials.remove(waits)
    assert store.registry.materials.find(key.key_id, waits.material_id) is None


# --- deletion ----------------------------------------------------------------------------------------------------


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
    rows = _contents(folder / "regions" / f"{REGION}.sqlite")
    left = [name for name, every in rows.items() if name != "change_log" and key.key_id in repr(every)]
    assert left == []
    assert {change.name for change in store.registry.changes.list_after(before, 9)} == {
        key.key_id,
        *(f"{ACCOUNT}/alias/{key.key_id}-{n}" for n in range(2)),
    }
    assert (store.find_key(key.key_id), store.find_alias(ACCOUNT, f"alias/{key.key_id}-0")) == (None, None)
    with pytest.raises(StaleHandle):
        seal(loaded.handle, loaded.prefix, loaded.associated_prefix + NO_CONTEXT, b"p")
    assert (store.registry.keys.count(ACCOUNT), store.registry.damaged_rows()) == (1, [])
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
    with closing(sqlite3.connect(folder / "regions" / f"{REGION}.sqlite", isolation_level=None)) as reader:
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
    before = _contents(folder / "regions" / f"{REGION}.sqlite")
    code = f"""
from dataclasses import replace
shard = opened(Path(argv[0])).default
with shard.writing() as t: key = t.keys.find(argv[1]); {write}
"""
    dead = in_another_process(f"exec({code!r})", folder, key.key_id, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    store.epoch.bump()
    store.catch_up()
    found = store.find_key(key.key_id)
    if fault == "commit.before":
        assert _contents(folder / "regions" / f"{REGION}.sqlite") == before
    elif what == "remove_key":
        assert found is None
        assert store.registry.materials.list_after(key.key_id, -1, 9) == []
    else:
        assert found is not None
        assert found.current_material_id == store.current_material(found).material_id != key.current_material_id
    assert store.registry.damaged_rows() == []


# --- due work ----------------------------------------------------------------------------------------------------

PENDING = {"state": KeyState.PENDING_DELETION}
ROTATES = {"rotation_period_days": 90}
DUE: list[tuple[Due, dict[str, Any], int | None, str]] = [
    (Due.DELETION, {**PENDING, "deletion_ns": 10}, 10, "at its moment"),
    (Due.DELETION, {**PENDING, "deletion_ns": 11}, None, "not before"),
    (Due.DELETION, {"state": KeyState.PENDING_REPLICA_DELETION}, None, "waits for its replicas"),
    (Due.DELETION, {"state": KeyState.ENABLED, "deletion_ns": 1}, None, "nothing but a schedule deletes"),
    (Due.ROTATION, {**ROTATES, "next_rotation_ns": 10}, 10, "at its moment"),
    (Due.ROTATION, {**ROTATES, "next_rotation_ns": 11}, None, "not before"),
    (Due.ROTATION, {**ROTATES, "state": KeyState.DISABLED, "next_rotation_ns": 1}, None, "a disabled key waits"),
    (Due.ROTATION, {**ROTATES, **PENDING, "next_rotation_ns": 1}, None, "a key pending deletion too"),
    (Due.ROTATION, {}, None, "off"),
]


@pytest.mark.parametrize(("due", "changes", "at", "reason"), DUE)
def test_keys_due(store: Shard, due: Due, changes: dict[str, Any], at: int | None, reason: str) -> None:
    key, material = new_key(store)
    with store.writing() as transaction:
        key = transaction.keys.add(replace(key, **changes), material)
    assert list(store.registry.keys.due(due, 10, 9)) == ([] if at is None else [key]), reason
    assert at is None or store.registry.keys.due(due, at - 1, 9) == []


def test_keys_with_a_material_that_expires_are_due_once_each(store: Shard) -> None:
    """The key's state does not matter. Material that waits for a rotation expires too; deleted material does not."""
    with store.writing() as transaction:
        every = [transaction.keys.add(*external(store)) for _ in range(3)]
        for key in every[:2]:
            for state, when in ((MaterialState.CURRENT, 10), (MaterialState.PENDING_ROTATION, 9)):
                transaction.materials.add(another(store, key, origin=Origin.EXTERNAL, state=state, expires_ns=when))
        transaction.materials.add(another(store, every[2], origin=Origin.EXTERNAL, wrapped=None))
    due = store.registry.keys.due(Due.EXPIRY, 10, 9)
    assert sorted(key.key_id for key in due) == sorted(key.key_id for key in every[:2])
    assert store.registry.keys.due(Due.EXPIRY, 8, 9) == []
    assert store.registry.keys.upcoming().next_expiry_ns == 9


def test_the_longest_due_come_first_and_damaged_keys_take_no_place(store: Shard, folder: Path) -> None:
    made = [new_key(store) for _ in range(6)]
    with store.writing() as transaction:
        keys = [
            transaction.keys.add(replace(key, **PENDING, deletion_ns=20 - n), material)
            for n, (key, material) in enumerate(made)
        ]
    for key in keys[-3:]:
        damage(_at(folder), "keys", "key_id", key.key_id, "description", "first")
    assert list(store.registry.keys.due(Due.DELETION, 99, 2)) == [keys[2], keys[1]]
    assert store.registry.keys.due(Due.DELETION, 99, 9) == [keys[2], keys[1], keys[0]], "damaged ones are never deleted"


def test_upcoming(store: Shard) -> None:
    assert store.registry.keys.upcoming() == type(store.registry.keys.upcoming())(0, None, None)
    states = (KeyState.PENDING_DELETION, KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION, KeyState.ENABLED)
    with store.writing() as transaction:
        for n, state in enumerate(states):
            key, material = new_key(store)
            when = 10 - n if state is KeyState.PENDING_DELETION else None
            transaction.keys.add(replace(key, state=state, deletion_ns=when), material)
    upcoming = store.registry.keys.upcoming()
    assert (upcoming.pending_deletions, upcoming.next_deletion_ns, upcoming.next_expiry_ns) == (3, 9, None)


def test_the_latest_time_never_goes_back(store: Shard) -> None:
    assert store.registry.latest_time.read_ns() == 0
    for given, latest in ((5, 5), (4, 5), (1 << 62, 1 << 62), (9, 1 << 62)):
        with store.writing() as transaction:
            assert transaction.latest_time.advance(given) == latest
        assert store.registry.latest_time.read_ns() == latest


# --- tags and pairs ----------------------------------------------------------------------------------------------


def test_tags_are_sorted_by_their_keys_and_have_one_value(store: Shard) -> None:
    key, other = add_key(store), add_key(store)
    names = ["b", "a", "Z", "é", "aa", "🔑"]
    with store.writing() as transaction:
        for name in names:
            for value in ("old", "new"):
                transaction.tags.set(Tag(key.key_id, ACCOUNT, name, value))
        transaction.tags.set(Tag(other.key_id, ACCOUNT, "b", "of the other"))
        transaction.tags.remove(key.key_id, "aa")
        transaction.tags.remove(key.key_id, "never there")
    seen: list[Tag] = []
    while page := store.registry.tags.list_after(key.key_id, seen[-1].tag_key if seen else "", 2):
        seen += page
    assert [(tag.tag_key, tag.tag_value) for tag in seen] == [(name, "new") for name in ("Z", "a", "b", "é", "🔑")]
    assert [tag.tag_value for tag in store.registry.tags.list_after(other.key_id, "", 9)] == ["of the other"]


def test_pairs_are_ready_until_they_are_assigned_to_a_key(store: Shard) -> None:
    key = add_key(store)
    with store.writing() as transaction:
        for n in range(3):
            transaction.pairs.add(pair(b"%d" % n, created_ns=9 - n))
        transaction.pairs.add(pair(b"other", spec="RSA_4096"))
    assert (store.registry.pairs.count_ready("RSA_2048"), store.registry.pairs.count_ready("RSA_3072")) == (3, 0)
    with store.writing() as transaction:
        oldest = transaction.pairs.oldest_ready("RSA_2048")
        assert oldest == pair(b"2", created_ns=7)
        given = transaction.pairs.change(replace(oldest, key_id=key.key_id, account=ACCOUNT, expires_ns=50))
        assert transaction.pairs.oldest_ready("RSA_2048") == pair(b"1", created_ns=8)
        assert transaction.pairs.oldest_ready("RSA_3072") is None
    assert store.registry.pairs.find(given.pair_id) == given
    assert store.registry.pairs.count_ready("RSA_2048") == 2
    with store.registry.writing() as transaction:
        assert transaction.pairs.remove_expired(49) == 0
        assert transaction.pairs.remove_expired(50) == 1, "pairs that belong to no key do not expire"
    assert store.registry.pairs.find(given.pair_id) is None


# --- AWS owned keys ----------------------------------------------------------------------------------------------


def test_an_owned_key_is_made_once_by_concurrent_callers(store: Shard, folder: Path) -> None:
    shards = opened(folder)
    found: list[Key] = []
    ask = [
        threading.Thread(target=lambda shard=shard: found.append(owned_keys.owned_key(shard, "import-tokens", 7)))
        for shard in (store, shards.default) * 4
    ]
    for thread in ask:
        thread.start()
    for thread in ask:
        thread.join()
    assert len(found) == 8
    assert len({key.key_id for key in found}) == 1
    key, other = found[0], owned_keys.owned_key(store, "import-wrapping-keys", 7)
    assert (key.kind, key.account, other.key_id != key.key_id) == (KeyKind.AWS_OWNED, SERVICE_ACCOUNT, True)
    assert store.registry.keys.count(SERVICE_ACCOUNT) == 0, "no quota counts it"
    loaded = store.current_material(key)
    blob = seal(loaded.handle, loaded.prefix, loaded.associated_prefix + NO_CONTEXT, b"token")
    opener = shards.default.material(key, blob[:55])
    assert opener is not None
    assert open_blob(opener.handle, opener.associated_prefix + NO_CONTEXT, blob) == b"token"
    assert owned_keys.find_owned_key(store, "nothing") is None
    shards.close()


def test_a_worker_with_a_stale_cache_finds_a_new_owned_key(store: Shard, folder: Path) -> None:
    """The worker has looked the key up before it was made, and has not caught up since."""
    shards = opened(folder)
    assert owned_keys.find_owned_key(shards.default, "import-tokens") is None
    made, kept = owned_keys.owned_key(store, "import-tokens", 7), []
    with owned_keys.using(shards.default, "import-tokens", "Encrypt", owned_keys.Reason(8, kept.append)) as loaded:
        assert loaded.key_id == made.key_id
    assert len(kept) == 1
    shards.close()


# --- damage ------------------------------------------------------------------------------------------------------


def _at(folder: Path) -> Any:
    return SimpleNamespace(path=folder / "regions" / f"{REGION}.sqlite")


def _cases(table: Any) -> list[tuple[str, str]]:
    """Returns all cases but a change of type in SQLite's row number, which SQLite does not allow."""
    every = [(column.name, flip) for column in table.c for flip in FLIPS]
    return [case for case in every if (table.name, *case) != ("latest_time", "id", "type")]


@pytest.mark.parametrize(("column", "flip"), _cases(tables.tags))
def test_a_damaged_tag_is_not_listed(store: Shard, folder: Path, column: str, flip: str) -> None:
    key = add_key(store)
    every = [Tag(key.key_id, ACCOUNT, name, "v") for name in ("first", "second", "third")]
    with store.writing() as transaction:
        for tag in every:
            transaction.tags.set(tag)
    damage(_at(folder), "tags", "tag_key", "second", column, flip)
    for limit in (1, 2, 9):
        seen: list[Tag] = []
        while page := store.registry.tags.list_after(key.key_id, seen[-1].tag_key if seen else "", limit):
            seen += page
        assert seen == [every[0], every[2]]
    (name,) = store.registry.damaged_rows()
    assert name.startswith("tag ")


@pytest.mark.parametrize(("column", "flip"), _cases(tables.import_pairs))
def test_a_damaged_pair_is_never_used(store: Shard, folder: Path, column: str, flip: str) -> None:
    with store.writing() as transaction:
        for n in range(3):
            transaction.pairs.add(pair(b"a%d" % n, created_ns=n + 1))
    damage(_at(folder), "import_pairs", "public_key", b"public a0", column, flip)
    with store.writing() as transaction:
        assert transaction.pairs.oldest_ready("RSA_2048") == pair(b"a1", created_ns=2)
    name = pair(b"a0").pair_id
    if column == "pair_id":
        assert store.registry.pairs.find(name) is None
    else:
        with pytest.raises(KMSInternalException, match=r"changed on disk.*GetParametersForImport again"):
            store.registry.pairs.find(name)
    (damaged,) = store.registry.damaged_rows()
    assert damaged.startswith("import wrapping key ")


@pytest.mark.parametrize(("column", "flip"), _cases(tables.latest_time))
def test_a_damaged_latest_time_is_refused(store: Shard, folder: Path, column: str, flip: str) -> None:
    with store.writing() as transaction:
        transaction.latest_time.advance(1_000)
    damage(_at(folder), "latest_time", "latest_ns", 1_000, column, flip)
    reads: list[Callable[[Registry | Transaction], object]] = [lambda rows: rows.latest_time.read_ns()]
    with pytest.raises(KMSInternalException, match="own row was changed on disk"):
        reads[0](store.registry)
    with (
        pytest.raises(KMSInternalException, match="own row was changed on disk"),
        store.writing() as transaction,
    ):
        transaction.latest_time.advance(2_000)
    assert store.registry.damaged_rows() == [f"latest time of region {REGION}"]


@pytest.mark.parametrize("column", ["number", "state", "wrapped"])
def test_a_damaged_material_is_not_listed_and_is_refused_by_name(store: Shard, folder: Path, column: str) -> None:
    key = rotate(store, rotate(store, add_key(store)))
    first, second, third = store.registry.materials.list_after(key.key_id, -1, 9)
    damage(_at(folder), "materials", "material_id", second.material_id, column, "first")
    for limit in (1, 9):
        seen: list[Material] = []
        while page := store.registry.materials.list_after(key.key_id, seen[-1].number if seen else -1, limit):
            seen += page
        assert seen == [first, third]
    with pytest.raises(KeyUnavailableException, match=key.key_id):
        store.registry.materials.find(key.key_id, second.material_id)


# --- from revision 0001 ------------------------------------------------------------------------------------------


def test_a_shard_of_revision_0001_can_be_used(tmp_path: Path) -> None:
    """The shard was made by a release that had only that revision. Its MACs hold, its blobs decrypt, and its rows can
    be changed."""
    folder = tmp_path / "data"
    with zipfile.ZipFile(OLD_SHARD) as archive:
        archive.extractall(folder)
    (folder / "root.key").chmod(0o600)
    written = json.loads((folder / "written.json").read_text())
    start(folder)
    shards = opened(folder)
    shard = shards.default
    assert shard.registry.damaged_rows() == []
    for row in written:
        key = shard.find_key(row["key_id"])
        assert key is not None
        assert (key.arn, key.description) == (row["arn"], row["description"])
        assert (key.rotation_period_days, key.on_demand_rotations, key.material_missing) == (None, 0, False)
        assert (key.current_material_id or b"").hex() == row["material_id"]
        blob = bytes.fromhex(row["blob"])
        key = rotate(shard, key)
        loaded = shard.material(key, blob[:55])
        assert loaded is not None
        assert open_blob(loaded.handle, loaded.associated_prefix + NO_CONTEXT, blob) == row["plaintext"].encode()
        assert [one.number for one in shard.registry.materials.list_after(key.key_id, -1, 9)] == [0, 1]
        alias = shard.find_alias(ACCOUNT, row["alias"])
        assert alias is not None
    with shard.writing() as transaction:
        transaction.keys.remove(key)
    assert (shard.registry.keys.count(ACCOUNT), shard.registry.keys.count(OTHER_ACCOUNT)) == (len(written) - 1, 0)
    assert shard.registry.damaged_rows() == []
    shards.close()


@pytest.mark.parametrize("fault", ["migration.before", "migration.between", "migration.after"])
def test_a_migration_of_an_old_shard_that_was_killed_is_run_again(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "data"
    with zipfile.ZipFile(OLD_SHARD) as archive:
        archive.extractall(folder)
    (folder / "root.key").chmod(0o600)
    dead = in_another_process("start(Path(argv[0]))", folder, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    start(folder)
    shards = opened(folder)
    assert len(shards.default.registry.keys.list_after(ACCOUNT, 0, 9)) == 3
    assert shards.default.registry.damaged_rows() == []
    shards.close()
    shutil.rmtree(folder)
