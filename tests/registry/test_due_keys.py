"""The registry's contract for due work, and the latest recorded time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.model.key import (
    KeyState,
    MaterialState,
    Origin,
)
from kms_grpc.registry.rows import Due
from kms_grpc.registry.shards import Shard
from tests.registry.damaging import damage
from tests.registry.made import (
    another,
    external,
    new_key,
    shard_file,
)

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
    (Due.ROTATION, {**ROTATES, **PENDING, "next_rotation_ns": 1}, None, "a key pending deletion waits too"),
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
    """The key's state does not matter. Material pending rotation expires too; deleted material does not."""
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
        damage(shard_file(folder), "keys", "key_id", key.key_id, "description", "first")
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
