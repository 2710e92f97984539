"""The registry's contract for materials: rotation, first import, deletion, materials pending rotation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kms_grpc.crypto.envelope import open_blob, seal
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import AlreadyExistsException, ConflictException, KeyUnavailableException
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
from kms_grpc.registry.base import Transaction
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard
from tests.registry.damaging import damaged_rows
from tests.registry.made import (
    ACCOUNT,
    NO_CONTEXT,
    add_key,
    another,
    contents,
    external,
    new_key,
    opened,
    pair,
    rotate,
    shard_file,
)


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
    assert damaged_rows(registry) == []


def test_a_transaction_left_by_an_exception_leaves_nothing(store: Shard, folder: Path) -> None:
    key = add_key(store)
    with store.registry.writing() as transaction:
        transaction.pairs.add(pair(b"ready"))
        transaction.tags.set(Tag(key.key_id, ACCOUNT, "a", "b"))
    before = contents(shard_file(folder))
    with pytest.raises(ZeroDivisionError), store.registry.writing() as transaction:
        changed = transaction.keys.make_current(key, another(store, key))
        transaction.tags.set(Tag(key.key_id, ACCOUNT, "a", "other"))
        transaction.tags.remove(key.key_id, "a")
        transaction.pairs.remove(transaction.pairs.change(pair(b"ready")))
        transaction.latest_time.advance(9)
        transaction.keys.remove(changed)
        transaction.outbox.add(OutboxRow("event", ACCOUNT, b"{}"))
        raise ZeroDivisionError
    assert contents(shard_file(folder)) == before


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


def test_material_pending_rotation_decrypts_nothing(store: Shard) -> None:
    key = add_key(store)
    with store.writing() as transaction:
        waits = transaction.materials.add(another(store, key, state=MaterialState.PENDING_ROTATION))
    prefix = store.current_material(key).prefix[:19] + waits.material_id
    assert store.material(key, prefix + b"check") is None
    with store.writing() as transaction:
        transaction.materials.remove(waits)
    assert store.registry.materials.find(key.key_id, waits.material_id) is None
