"""Caches of a worker: every process obeys what another one has acknowledged; caches are bounded and never stale."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.crypto.envelope import open_blob, seal
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.crypto.keyring import keyring_facts
from kms_grpc.errors import KeyUnavailableException
from kms_grpc.model.key import Key, KeyState
from kms_grpc.registry import shards as shards_module
from kms_grpc.registry.generational_cache import GenerationalCache
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import writer
from kms_grpc.registry.words import Words, words_path
from tests.registry.made import (
    ACCOUNT,
    add_alias,
    add_key,
    in_another_process,
    new_key,
    opened,
)


def switch(shard: Shard, key_id: str, state: KeyState) -> Key:
    with shard.writing() as transaction:
        key = transaction.keys.find(key_id)
        assert key is not None
        return transaction.keys.change(replace(key, state=state))


def finds_of(part: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Notes the names that a part of the registry is asked for from now on."""
    asked: list[tuple[str, ...]] = []
    real = part.find

    def ask_and_note(*name: str) -> Any:
        asked.append(name)
        return real(*name)

    monkeypatch.setattr(part, "find", ask_and_note)
    return asked


def warm_material(shard: Shard, prefix: bytes) -> Any:
    return shard._materials._cache.warm(prefix)


# --- another process ---------------------------------------------------------------------------------------------


def _other_worker(folder: str, pipe: Connection) -> None:
    """Looks names up as a worker does, with or without catching up first."""
    shard = opened(Path(folder)).default
    while (question := pipe.recv()) is not None:
        kind, name, obeys = question
        dropped = shard.catch_up() if obeys else None
        found: Any = shard.find_key(name) if kind == "key" else shard.find_alias(ACCOUNT, name)
        if kind == "key" and found is not None:
            shard.current_material(found)
        pipe.send((shard.is_fresh(), dropped, found, shard.facts().cached_keys))


@pytest.fixture
def other(shard: Shard, folder: Path) -> Iterator[tuple[Connection, int]]:
    """A second worker on the same data directory: its pipe and its process id."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_other_worker, args=(str(folder), theirs))
    process.start()
    assert process.pid is not None
    yield ours, process.pid
    ours.send(None)
    process.join(10)


def ask(pipe: Connection, kind: str, name: str, obeys: bool = True) -> Any:
    pipe.send((kind, name, obeys))
    assert pipe.poll(20), "the other process does not answer"
    return pipe.recv()


def test_the_next_call_in_another_process_obeys_an_acknowledged_change(
    shard: Shard, other: tuple[Connection, int]
) -> None:
    pipe, process = other
    key, neighbour = add_key(shard), add_key(shard)
    add_alias(shard, "alias/a", key)
    for name in (key.key_id, neighbour.key_id):
        assert ask(pipe, "key", name)[2].key_id == name, "a new key is usable at once"
    for turn in range(50):
        state = (KeyState.DISABLED, KeyState.ENABLED)[turn % 2]
        if turn == 25:
            os.kill(process, signal.SIGSTOP)
        changed = switch(shard, key.key_id, state)
        if turn == 25:
            os.kill(process, signal.SIGCONT)
        fresh, _, stale, _ = ask(pipe, "key", key.key_id, obeys=False)
        assert (fresh, stale.revision) == (False, changed.revision - 1), "cached, and known to be old"
        fresh, dropped, found, cached = ask(pipe, "key", key.key_id)
        assert (fresh, dropped, found, cached) == (True, True, changed, 2), "only what changed was dropped"


def test_another_process_obeys_creation_change_and_removal_of_an_alias(
    shard: Shard, other: tuple[Connection, int]
) -> None:
    pipe, _ = other
    first, second = add_key(shard), add_key(shard)
    assert ask(pipe, "alias", "alias/a")[2] is None
    alias = add_alias(shard, "alias/a", first)
    assert ask(pipe, "alias", "alias/a")[2] == alias, "an unknown name is not remembered beyond the epoch"
    with shard.writing() as transaction:
        alias = transaction.aliases.change(replace(alias, target_key_id=second.key_id))
    assert ask(pipe, "alias", "alias/a")[2] == alias
    with shard.writing() as transaction:
        transaction.aliases.remove(alias)
    assert ask(pipe, "alias", "alias/a")[2] is None


@pytest.mark.parametrize(
    ("fault", "bumped"), [("commit.before", False), ("commit.after", False), ("epoch.after", True)]
)
def test_a_writer_killed_around_its_commit(shard: Shard, folder: Path, fault: str, bumped: bool) -> None:
    key = add_key(shard)
    shard.find_key(key.key_id)
    code = """
from kms_grpc.model.key import KeyState
from dataclasses import replace
shard = opened(Path(argv[0])).default
with shard.writing() as t: t.keys.change(replace(t.keys.find(argv[1]), state=KeyState.DISABLED))
"""
    dead = in_another_process(f"exec({code!r})", folder, key.key_id, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert shard.is_fresh() is not bumped, "a writer killed between commit and bump leaves the epoch as it was"
    Words(words_path(folder)).bump_all()  # the supervisor does this when a child has died
    assert shard.catch_up() is (fault != "commit.before")
    found = shard.find_key(key.key_id)
    assert found is not None
    assert found.state is (KeyState.ENABLED if fault == "commit.before" else KeyState.DISABLED), "whole or not at all"


def test_a_worker_that_is_too_far_behind_drops_everything(
    shard: Shard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHANGES_KEPT", 4)
    monkeypatch.setattr(writer, "_TRIM_EVERY", 8)
    key, neighbour = add_key(shard), add_key(shard)
    for limit, writes in ((1_000, 40), (5, 6)):  # the log was trimmed; the log has grown too long
        monkeypatch.setattr(shards_module, "_CHANGES_AT_ONCE", limit)
        shards = opened(folder)
        for name in (key.key_id, neighbour.key_id):
            shards.default.find_key(name)
        for _ in range(writes):
            key = switch(shard, key.key_id, KeyState.ENABLED)
        assert shards.default.catch_up()
        assert shards.default.facts().cached_keys == 0
        assert shards.default.find_key(key.key_id) == key
        assert not shards.default.catch_up()
        shards.close()


# --- races within one process ------------------------------------------------------------------------------------


def test_a_load_never_puts_back_what_a_change_dropped(folder: Path) -> None:
    """Readers load and drop all the time (2 slots, 6 keys) while a writer changes one key. No reader sees a revision
    older than the last acknowledged one."""
    shards = opened(folder, cached_keys=2)
    shard = shards.default
    keys = [add_key(shard) for _ in range(6)]
    acknowledged = [1]
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for key in (keys[0], *keys):
                oldest = acknowledged[0]
                shard.catch_up()
                found = shard.find_key(key.key_id)
                if found is None or (key is keys[0] and found.revision < oldest):
                    wrong.append(found)
                else:
                    shard.current_material(found)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(200):
        acknowledged[0] = switch(shard, keys[0].key_id, (KeyState.DISABLED, KeyState.ENABLED)[turn % 2]).revision
    stop.set()
    for reader in readers:
        reader.join()
    shards.close()
    assert wrong == []
    assert acknowledged == [201]


def test_a_commit_during_catch_up_is_not_missed(shard: Shard, folder: Path) -> None:
    """catch_up reads the epoch before the log, so the next catch_up sees a commit that came between the two."""
    key = add_key(shard)
    other = opened(folder).default
    other.find_key(key.key_id)
    changes_after = other.registry.changes.list_after

    def and_then_another(sequence: int, limit: int) -> Any:
        changes = changes_after(sequence, limit)
        switch(shard, key.key_id, KeyState.DISABLED)
        return changes

    add_key(shard)
    other.registry.changes.list_after = and_then_another  # type: ignore[method-assign]
    other.catch_up()
    other.registry.changes.list_after = changes_after  # type: ignore[method-assign]
    assert not other.is_fresh()
    other.catch_up()
    found = other.find_key(key.key_id)
    assert found is not None
    assert found.state is KeyState.DISABLED
    other.close()


def test_a_change_of_a_key_evicts_its_material_from_the_keyring(shard: Shard) -> None:
    """The core refuses a handle that a caller still holds."""
    key, neighbour = add_key(shard), add_key(shard)
    loaded, kept = shard.current_material(key), shard.current_material(neighbour)
    switch(shard, key.key_id, KeyState.DISABLED)
    assert (warm_material(shard, loaded.prefix), warm_material(shard, kept.prefix)) == (None, kept)
    with pytest.raises(StaleHandle):
        seal(loaded.handle, loaded.prefix, b"", b"text")
    seal(kept.handle, kept.prefix, b"", b"text")


def test_a_cold_key_is_loaded_once(shard: Shard, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = add_key(shard)
    shards = opened(folder)
    cold = shards.default
    loads = finds_of(cold.registry.keys, monkeypatch)
    barrier = threading.Barrier(16)

    def use() -> None:
        barrier.wait()
        found = cold.find_key(key.key_id)
        assert found == key
        cold.current_material(found)

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (loads, cold.facts().cached_materials) == ([(key.key_id,)], 1)
    shards.close()


def test_unknown_names_are_looked_up_once_per_epoch_and_take_bounded_memory(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = finds_of(shard.registry.aliases, monkeypatch)
    for _ in range(3):
        assert shard.find_alias(ACCOUNT, "alias/none") is None
    assert asked == [(ACCOUNT, "alias/none")]
    add_key(shard)
    assert shard.find_alias(ACCOUNT, "alias/none") is None
    assert asked == [(ACCOUNT, "alias/none")] * 2
    for n in range(2_000):
        shard.find_alias(ACCOUNT, f"alias/{n}")
    assert len(shard._unknown) <= 1_024


# --- bounds ------------------------------------------------------------------------------------------------------


def test_the_cache_is_bounded_and_dropped_materials_leave_the_keyring(folder: Path) -> None:
    shards = opened(folder, cached_keys=40)
    shard = shards.default
    keys = [add_key(shard) for _ in range(200)]
    used = keyring_facts().used
    blobs = []
    for key in keys:
        loaded = shard.current_material(key)
        blobs.append(seal(loaded.handle, loaded.prefix, b"", b"text"))
        assert shard.current_material(key) is loaded, "what was just used is there"
        facts = shard.facts()
        assert max(facts.cached_keys, facts.cached_materials) <= facts.capacity == 40
    assert keyring_facts().used <= used + 40
    last = shard.current_material(keys[-1])
    for key, blob in zip(keys, blobs, strict=True):
        found = shard.material(key, blob[:55])
        assert found is not None
        assert open_blob(found.handle, b"", blob) == b"text", "what was dropped is loaded anew"
    with pytest.raises(StaleHandle):
        seal(last.handle, last.prefix, b"", b"text")
    shards.close()


def test_a_material_that_the_keyring_lost_is_loaded_again(shard: Shard) -> None:
    key = add_key(shard)
    loaded = shard.current_material(key)
    shard.forget_material(loaded)
    shard.forget_material(loaded)
    again = shard.current_material(key)
    assert (again.prefix, again.handle != loaded.handle) == (loaded.prefix, True)
    shard.forget_material(loaded)
    assert warm_material(shard, loaded.prefix) is again, "an old material is no reason to drop the new one"


def test_a_material_is_found_by_its_prefix_for_its_own_key_only(shard: Shard) -> None:
    key, other = add_key(shard), add_key(shard)
    prefix = shard.current_material(key).prefix
    assert shard.material(other, prefix) is None
    shard._clear()
    assert warm_material(shard, prefix) is None
    assert shard.material(other, prefix) is None
    assert shard.material(key, prefix[:19] + bytes(32) + prefix[51:]) is None, "no such material"
    found = shard.material(key, prefix)
    assert found is not None
    assert warm_material(shard, prefix) is found


def test_a_created_key_is_read_back_before_success(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    key, material = new_key(shard)
    foreign = replace(material, wrapped=new_key(shard)[1].wrapped)
    with pytest.raises(KeyUnavailableException, match="does not unwrap"), shard.writing() as transaction:
        transaction.keys.add(key, foreign)


@pytest.mark.parametrize(
    ("why", "account", "region_key_of"),
    [("wrapped for another account", "111111111111", None), ("wrapped for another key", ACCOUNT, "key")],
)
def test_wrapped_material_unwraps_only_for_its_own_account_and_key(
    shard: Shard, why: str, account: str, region_key_of: str | None
) -> None:
    key, material = new_key(shard)
    moved = shard.generate_material(key.key_id if region_key_of is None else add_key(shard).key_id, account, 1)
    wrong = replace(material, wrapped=moved.wrapped, material_id=moved.material_id)
    with pytest.raises(KeyUnavailableException), shard.writing() as transaction:
        transaction.keys.add(replace(key, current_material_id=moved.material_id), wrong)


def test_signatures_of_a_shard_are_bound_to_their_data(shard: Shard) -> None:
    mark = shard.sign(b"page")
    assert shard.signed(b"page", mark)
    assert not shard.signed(b"Page", mark)
    assert not shard.signed(b"page", mark[:-1] + bytes([mark[-1] ^ 1]))


def test_the_cache_keeps_entries_that_were_used_lately() -> None:
    left: list[int] = []
    cache: GenerationalCache[int, str] = GenerationalCache(8, dropped=lambda key, _: left.append(key))
    for n in range(100):
        cache.put(n, str(n))
        assert cache.get(0) == "0", "used in every turn"
        assert len(cache) <= 8
    assert cache.warm(99) == "99"
    assert (len(left), set(left) & {0, 99}) == (100 - len(cache), set())
    cache.drop(0)
    assert (cache.get(0), left[-1]) == (None, 0)
    cache.clear()
    assert (len(cache), len(left)) == (0, 100)


def test_the_cache_is_bounded_by_weight() -> None:
    cache: GenerationalCache[int, str] = GenerationalCache(100, weigh=len)
    for n in range(1_000):
        cache.put(n, "x" * (n % 50 + 1))
        assert sum(map(len, (*cache._young.values(), *cache._old.values()))) <= 100


def test_a_cached_key_takes_at_most_4_kib(folder: Path) -> None:
    """Measured by tracemalloc, with empty and with the longest descriptions, without the 64 bytes in the keyring."""
    shards = opened(folder, cached_keys=600)
    shard = shards.default
    for description in ("", "\N{KEY}" * 8_192):
        with shard.registry.writing() as transaction:
            keys = [transaction.keys.add(*new_key(shard, description=description)) for _ in range(600)]
        shard._clear()
        tracemalloc.start()
        for key in keys:
            found = shard.find_key(key.key_id)
            assert found is not None
            shard.current_material(found)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken <= 600 * 4_096, description[:1]
    shards.close()
