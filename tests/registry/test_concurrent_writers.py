"""64 writers in two processes on one key and one alias: each wins or gets its error, in one order."""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kms_grpc.errors import ConflictException, KMSError
from kms_grpc.model.key import KeyState
from kms_grpc.registry.base import Transaction
from kms_grpc.registry.shards import Shard
from tests.registry.made import ACCOUNT, add_key, new_alias, new_key, opened

THREADS = 32
ROUNDS = 8
ALIAS = "alias/contended"
Event = tuple[str, Any]


def _switch(shard: Shard, transaction: Transaction, keys: list[str], chance: random.Random) -> Event:
    key = transaction.keys.find(keys[0])
    assert key is not None
    state = chance.choice((KeyState.ENABLED, KeyState.DISABLED))
    return "switched", transaction.keys.change(replace(key, state=state)).revision


def _switch_what_was_seen_before(
    shard: Shard, transaction: Transaction, keys: list[str], chance: random.Random
) -> Event:
    key = shard.find_key(keys[0])
    assert key is not None
    return "switched", transaction.keys.change(key).revision


def _create(shard: Shard, transaction: Transaction, keys: list[str], chance: random.Random) -> Event:
    return "created", transaction.keys.add(*new_key(shard)).sequence


def _change_alias(shard: Shard, transaction: Transaction, keys: list[str], chance: random.Random) -> Event:
    """Moves it, removes it, or makes it where it is not."""
    alias = transaction.aliases.find(ACCOUNT, ALIAS)
    target = transaction.keys.find(chance.choice(keys))
    assert target is not None
    if alias is None:
        return "alias made", transaction.aliases.add(new_alias(shard, ALIAS, target)).sequence
    if chance.random() < 0.5:
        transaction.aliases.remove(alias)
        return "alias removed", (alias.sequence, alias.revision)
    moved = transaction.aliases.change(replace(alias, target_key_id=target.key_id))
    return "alias moved", (moved.sequence, moved.revision)


ACTS: list[Callable[[Shard, Transaction, list[str], random.Random], Event]] = [
    _switch,
    _switch_what_was_seen_before,
    _create,
    _change_alias,
    _change_alias,
]


def _one_write(shard: Shard, keys: list[str], chance: random.Random) -> Event:
    act = chance.choice(ACTS)
    try:
        with shard.writing() as transaction:
            return act(shard, transaction, keys, chance)
    except KMSError as error:
        return type(error).__name__, str(error)
    except Exception as error:
        return "leaked", repr(error)


def _process(folder: str, keys: list[str], seed: int, results: Any) -> None:
    shards = opened(Path(folder))
    events: list[Event] = []
    start = threading.Barrier(THREADS)

    def write(number: int) -> None:
        chance = random.Random(seed * 1_000 + number)
        start.wait()
        for _ in range(ROUNDS):
            events.append(_one_write(shards.default, keys, chance))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(events)
    shards.close()


def test_no_update_is_lost_and_no_lock_is_told_of(shard: Shard, folder: Path) -> None:
    keys = [add_key(shard).key_id for _ in range(2)]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_process, args=(str(folder), keys, seed, results)) for seed in (1, 2)]
    for process in processes:
        process.start()
    events = [event for _ in processes for event in results.get(timeout=60)]
    for process in processes:
        process.join(10)
    counts = Counter(kind for kind, _ in events)
    assert len(events) == 2 * THREADS * ROUNDS
    assert set(counts) <= {
        "switched",
        "created",
        "alias made",
        "alias moved",
        "alias removed",
        ConflictException.__name__,
    }
    _check_history(shard, keys, events, counts)


def _check_history(shard: Shard, keys: list[str], events: list[Event], counts: Counter[str]) -> None:
    shard.catch_up()
    key, alias = shard.find_key(keys[0]), shard.find_alias(ACCOUNT, ALIAS)
    revisions = sorted(detail for kind, detail in events if kind == "switched")
    assert key is not None
    assert revisions == list(range(2, key.revision + 1)), "each write followed on exactly one other"
    created = [detail for kind, detail in events if kind == "created"]
    assert shard.registry.keys.count(ACCOUNT) == len(keys) + len(created)
    assert len(shard.registry.keys.list_after(ACCOUNT, 0, 10_000)) == len(keys) + len(set(created))
    assert counts["alias made"] - counts["alias removed"] == (alias is not None)
    moved = Counter(detail[0] for kind, detail in events if kind == "alias moved")
    for kind, detail in events:
        if kind == "alias removed":
            assert detail[1] == moved[detail[0]] + 1, "it had been through all its moves"
    changed = sum(counts[kind] for kind in counts if kind != ConflictException.__name__)
    assert shard.registry.changes.last() == len(keys) + changed
    assert shard.registry.damaged_rows() == []
