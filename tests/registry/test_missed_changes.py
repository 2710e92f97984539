"""Changes that were committed but never announced: the keeper finds them, and nothing that was announced."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms_grpc.model.key import KeyState
from kms_grpc.processes.missed_changes import MissedChanges
from kms_grpc.registry.shards import Shard
from tests.registry.made import add_key, opened
from tests.registry.test_caches import switch


@pytest.fixture
def missed(shard: Shard, folder: Path) -> Iterator[MissedChanges]:
    """A keeper's look at the shard, after two looks that found nothing."""
    made = MissedChanges([shard], folder / "regions")
    made.look()
    made.look()
    assert made.found == 0
    yield made
    made.close()


def test_a_change_that_was_not_announced_is_found_once(shard: Shard, folder: Path, missed: MissedChanges) -> None:
    key = add_key(shard)
    other = opened(folder).default
    assert other.find_key(key.key_id) is not None
    missed.look()
    assert missed.found == 0
    with shard.registry.writing() as transaction:  # not shard.writing, which announces
        found = transaction.keys.find(key.key_id)
        assert found is not None
        transaction.keys.change(dataclasses.replace(found, state=KeyState.DISABLED))
    assert other.is_fresh(), "the change was not announced"
    missed.look()
    assert missed.found == 0, "a writer may be about to announce it"
    missed.look()
    assert missed.found == 1
    assert not other.is_fresh()
    assert other.catch_up()
    changed = other.find_key(key.key_id)
    assert changed is not None
    assert changed.state is KeyState.DISABLED
    for _ in range(3):
        missed.look()
    assert missed.found == 1
    other.close()


def test_announced_changes_are_not_found(shard: Shard, missed: MissedChanges) -> None:
    key = add_key(shard)
    for turn in range(10):
        switch(shard, key.key_id, (KeyState.DISABLED, KeyState.ENABLED)[turn % 2])
        missed.look()
    before = shard.words.whole.value
    for _ in range(3):
        missed.look()
    assert (missed.found, shard.words.whole.value) == (0, before)


def test_a_change_is_found_while_others_go_on(shard: Shard, folder: Path, missed: MissedChanges) -> None:
    """The two looks see different numbers with the same difference."""
    key, other = add_key(shard), opened(folder).default
    with other.registry.writing() as transaction:  # not other.writing, which announces
        found = transaction.keys.find(key.key_id)
        assert found is not None
        transaction.keys.change(dataclasses.replace(found, description="unannounced"))
    for turn in range(2):
        switch(shard, key.key_id, (KeyState.DISABLED, KeyState.ENABLED)[turn])
        missed.look()
    assert missed.found == 1
    other.close()


def test_a_write_that_is_undone_is_not_missed(shard: Shard, missed: MissedChanges) -> None:
    """Otherwise a caller whose writes fail could make the region's caches cold for all others."""
    key = add_key(shard)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), shard.writing() as transaction:
            transaction.keys.change(key)
            raise ZeroDivisionError
        missed.look()
    assert missed.found == 0


def test_a_look_at_a_shard_that_nobody_writes_reads_nothing(
    shard: Shard, missed: MissedChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs one system call for each shard, because the keeper looks every second."""
    add_key(shard)
    time.sleep(0.3)
    missed.look()
    monkeypatch.setattr(type(shard.registry.changes), "last", lambda self: pytest.fail("the registry was read"))
    missed.look()
    missed.look()


def test_the_registry_has_another_version_after_each_commit_of_any_process(shard: Shard, folder: Path) -> None:
    other = opened(folder).default
    key = add_key(shard)
    seen = {shard.registry.version()}
    for turn in range(40):
        time.sleep(0.003 * (turn % 3))
        switch(other, key.key_id, (KeyState.DISABLED, KeyState.ENABLED)[turn % 2])
        version = shard.registry.version()
        assert version not in seen
        seen.add(version)
    time.sleep(0.3)
    assert shard.registry.version() == shard.registry.version()
    other.close()
