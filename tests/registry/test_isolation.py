"""The isolation that registry/base.py promises: transactions that share a key, an account or an alias name behave as if
they had run one after the other. Nothing is asserted about transactions that share none of these."""

from __future__ import annotations

import multiprocessing
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kms_grpc.errors import ConflictException, KMSError
from kms_grpc.model.key import KeyState, Tag
from kms_grpc.registry.base import Transaction
from kms_grpc.registry.rows import RememberedAnswer
from kms_grpc.registry.shards import Shard
from tests.registry.damaging import damaged_rows
from tests.registry.made import ACCOUNT, OTHER_ACCOUNT, add_key, new_alias, new_key, opened

THREADS = 32
ROUNDS = 8
ALIAS = "alias/contended"
KEYS_LIMIT = 12
ALIASES_LIMIT = 5
Event = tuple[str, Any]


@dataclass(frozen=True)
class Writer:
    """The shard and the randomness of one writer, and the ids of the two keys that all writers share (`keys`)."""

    shard: Shard
    keys: list[str]
    chance: random.Random


# --- writes that share a key -------------------------------------------------------------------------------------


def switch(writer: Writer, transaction: Transaction) -> Event:
    key = transaction.keys.find(writer.keys[0])
    assert key is not None
    state = writer.chance.choice((KeyState.ENABLED, KeyState.DISABLED))
    return "switched", transaction.keys.change(replace(key, state=state)).revision


def switch_a_cached_key(writer: Writer, transaction: Transaction) -> Event:
    """Writes over a revision that was read before the transaction began."""
    key = writer.shard.find_key(writer.keys[0])
    assert key is not None
    return "switched", transaction.keys.change(key).revision


def add_alias_within_limit(writer: Writer, transaction: Transaction) -> Event:
    key = transaction.keys.find(writer.keys[1])
    assert key is not None
    if transaction.aliases.count(key.key_id) >= ALIASES_LIMIT:
        return "too many aliases", None
    alias = transaction.aliases.add(new_alias(writer.shard, f"alias/{uuid.uuid4()}", key))
    return "alias of the key added", alias.name


def set_tag(writer: Writer, transaction: Transaction) -> Event:
    value = str(writer.chance.random())
    transaction.tags.set(Tag(writer.keys[0], ACCOUNT, "tag", value))
    return "tag set", value


# --- writes that share an account --------------------------------------------------------------------------------


def create(writer: Writer, transaction: Transaction) -> Event:
    return "created", transaction.keys.add(*new_key(writer.shard)).sequence


def create_within_limit(writer: Writer, transaction: Transaction) -> Event:
    if transaction.keys.count(OTHER_ACCOUNT) >= KEYS_LIMIT:
        return "too many keys", None
    return "created in the limited account", transaction.keys.add(*new_key(writer.shard, OTHER_ACCOUNT)).key_id


def answer_once(writer: Writer, transaction: Transaction) -> Event:
    if transaction.answers.find(ACCOUNT, "CreateKey", "request") is not None:
        return "answer repeated", None
    transaction.answers.remember(RememberedAnswer(ACCOUNT, "CreateKey", "request", b"d", b"r", 1))
    return "answered", None


# --- writes that share an alias name -----------------------------------------------------------------------------


def change_alias(writer: Writer, transaction: Transaction) -> Event:
    """Creates the alias if there is none, and otherwise moves or removes it."""
    alias = transaction.aliases.find(ACCOUNT, ALIAS)
    target = transaction.keys.find(writer.keys[0])
    assert target is not None
    if alias is None:
        return "alias created", transaction.aliases.add(new_alias(writer.shard, ALIAS, target)).sequence
    if writer.chance.random() < 0.5:
        transaction.aliases.remove(alias)
        return "alias removed", (alias.sequence, alias.revision)
    moved = transaction.aliases.change(replace(alias, updated_ns=writer.chance.randrange(1_000)))
    return "alias moved", (moved.sequence, moved.revision)


ACTS: list[Callable[[Writer, Transaction], Event]] = [
    switch,
    switch_a_cached_key,
    add_alias_within_limit,
    set_tag,
    create,
    create_within_limit,
    answer_once,
    change_alias,
    change_alias,
]


# --- the contest -------------------------------------------------------------------------------------------------


def one_write(writer: Writer, act: Callable[[Writer, Transaction], Event]) -> Event:
    try:
        with writer.shard.writing() as transaction:
            return act(writer, transaction)
    except KMSError as error:
        return type(error).__name__, str(error)
    except Exception as error:
        return "leaked", repr(error)


def together(write: Callable[[int], None]) -> None:
    """Runs `write` in 32 threads that begin at the same time."""
    start = threading.Barrier(THREADS)

    def run(number: int) -> None:
        start.wait()
        write(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def process(folder: str, keys: list[str], seed: int, results: Any) -> None:
    shards = opened(Path(folder))
    events: list[Event] = []

    def write(number: int) -> None:
        writer = Writer(shards.default, keys, random.Random(seed * 1_000 + number))
        for _ in range(ROUNDS):
            events.append(one_write(writer, writer.chance.choice(ACTS)))

    together(write)
    results.put(events)
    shards.close()


def contest(shard: Shard, folder: Path) -> tuple[list[str], list[Event]]:
    """Runs 64 writers in two processes; returns the shared keys and what each write did."""
    keys = [add_key(shard).key_id for _ in range(2)]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=process, args=(str(folder), keys, seed, results)) for seed in (1, 2)]
    for one in processes:
        one.start()
    events = [event for _ in processes for event in results.get(timeout=60)]
    for one in processes:
        one.join(10)
    shard.catch_up()
    return keys, events


def details(events: list[Event], kind: str) -> list[Any]:
    return [detail for name, detail in events if name == kind]


def test_writers_that_share_a_name_are_put_in_one_order(store: Shard, folder: Path) -> None:
    keys, events = contest(store, folder)
    assert len(events) == 2 * THREADS * ROUNDS
    assert {kind for kind, _ in events if kind[0].isupper() or kind == "leaked"} <= {ConflictException.__name__}
    _check_key(store, keys, events)
    _check_accounts(store, keys, events)
    _check_alias_name(store, events)
    assert damaged_rows(store.registry) == []


def _check_key(shard: Shard, keys: list[str], events: list[Event]) -> None:
    key = shard.find_key(keys[0])
    assert key is not None
    assert sorted(details(events, "switched")) == list(range(2, key.revision + 1)), "no update is lost"
    added = details(events, "alias of the key added")
    assert len(added) == shard.registry.aliases.count(keys[1]) == ALIASES_LIMIT, "count and insert are one step"
    (tag,) = shard.registry.tags.list_after(keys[0], "", 9)
    assert tag.tag_value in details(events, "tag set")


def _check_accounts(shard: Shard, keys: list[str], events: list[Event]) -> None:
    created = details(events, "created")
    assert shard.registry.keys.count(ACCOUNT) == len(keys) + len(created)
    assert len(shard.registry.keys.list_after(ACCOUNT, 0, 10_000)) == len(keys) + len(set(created))
    limited = details(events, "created in the limited account")
    assert len(limited) == shard.registry.keys.count(OTHER_ACCOUNT) == KEYS_LIMIT, "count and insert are one step"
    assert len(details(events, "answered")) == 1, "a request is answered by one of the calls that repeat it"


def _check_alias_name(shard: Shard, events: list[Event]) -> None:
    counts = Counter(kind for kind, _ in events)
    alias = shard.find_alias(ACCOUNT, ALIAS)
    assert counts["alias created"] - counts["alias removed"] == (alias is not None)
    moves = Counter(sequence for sequence, _ in details(events, "alias moved"))
    for sequence, revision in details(events, "alias removed"):
        assert revision == moves[sequence] + 1, "each move of the removed alias came before its removal"


def test_writers_that_share_no_name_all_succeed(store: Shard) -> None:
    """Each thread has a key and an account of its own."""
    accounts = [f"{number:012}" for number in range(THREADS)]
    keys = [add_key(store, account) for account in accounts]
    failures: list[Exception] = []

    def write(number: int) -> None:
        key = keys[number]
        try:
            for turn in range(ROUNDS):
                with store.writing() as transaction:
                    key = transaction.keys.change(key)
                    transaction.aliases.add(new_alias(store, f"alias/{number}-{turn}", key, accounts[number]))
                    transaction.keys.add(*new_key(store, accounts[number]))
        except Exception as error:
            failures.append(error)

    together(write)
    assert failures == []
    for key, account in zip(keys, accounts, strict=True):
        found = store.registry.keys.find(key.key_id)
        assert found is not None
        assert found.revision == ROUNDS + 1
        assert store.registry.keys.count(account) == ROUNDS + 1


def test_an_alias_is_never_left_without_its_key(store: Shard) -> None:
    """Half of the threads remove the key, the other half create aliases of it."""
    key = add_key(store)
    events: list[Event] = []

    def write(number: int) -> None:
        writer = Writer(store, [key.key_id], random.Random(number))
        events.append(one_write(writer, remove_key if number % 2 else add_alias_if_the_key_exists))

    def remove_key(writer: Writer, transaction: Transaction) -> Event:
        found = transaction.keys.find(key.key_id)
        if found is None:
            return "no key", None
        transaction.keys.remove(found)
        return "removed", None

    def add_alias_if_the_key_exists(writer: Writer, transaction: Transaction) -> Event:
        found = transaction.keys.find(key.key_id)
        if found is None:
            return "no key", None
        return "added", transaction.aliases.add(new_alias(store, f"alias/{uuid.uuid4()}", found)).name

    together(write)
    assert {kind for kind, _ in events} <= {"removed", "added", "no key", ConflictException.__name__}
    assert len(details(events, "removed")) == 1
    assert store.registry.keys.find(key.key_id) is None
    assert list(store.registry.aliases.list_after(ACCOUNT, None, 0, 100)) == []
