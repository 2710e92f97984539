"""The registry's contract for keys, aliases, answers, outbox and change log, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kms_grpc.errors import AlreadyExistsException, ConflictException
from kms_grpc.model.key import Key, KeyState
from kms_grpc.registry.base import Registry, Transaction
from kms_grpc.registry.rows import OutboxRow, RememberedAnswer
from kms_grpc.registry.shards import Shard
from tests.registry.damaging import damaged_rows
from tests.registry.made import ACCOUNT, OTHER_ACCOUNT, add_alias, add_key, new_alias, new_key

ANSWER = RememberedAnswer(ACCOUNT, "CreateKey", "request-1", b"\1" * 32, b"response", 7)


# --- reads after writes ------------------------------------------------------------------------------------------


def test_everything_comes_back_as_it_was_written(store: Shard) -> None:
    key, material = new_key(store, description="Schlüssel 🔑\x00")
    key = replace(key, deletion_ns=5, state=KeyState.PENDING_DELETION, suites=(1, 2), multi_region=True)
    row = OutboxRow("event", ACCOUNT, b"{}")
    with store.registry.writing() as transaction:
        key = transaction.keys.add(key, material)
        alias = transaction.aliases.add(new_alias(store, "alias/a", key))
        transaction.answers.remember(ANSWER)
        transaction.outbox.add(row)
        assert transaction.keys.find(key.key_id) == key, "a transaction sees what it wrote"
    registry = store.registry
    assert key.current_material_id is not None
    assert registry.keys.find(key.key_id) == key
    assert registry.materials.find(key.key_id, key.current_material_id) == material
    assert registry.aliases.find(ACCOUNT, "alias/a") == alias
    assert (registry.keys.count(ACCOUNT), registry.aliases.count(key.key_id)) == (1, 1)
    assert list(registry.outbox.oldest(10)) == [row]
    with registry.writing() as transaction:
        assert transaction.answers.find(ACCOUNT, "CreateKey", "request-1") == ANSWER
    assert damaged_rows(registry) == []


ABSENT: list[tuple[str, Callable[[Registry], Any]]] = [
    ("key", lambda registry: registry.keys.find("00000000-0000-0000-0000-000000000000")),
    ("alias", lambda registry: registry.aliases.find(ACCOUNT, "alias/none")),
    ("material", lambda registry: registry.materials.find("00000000-0000-0000-0000-000000000000", bytes(32))),
]


@pytest.mark.parametrize(("what", "find"), ABSENT, ids=[what for what, _ in ABSENT])
def test_a_missing_row_is_none(store: Shard, what: str, find: Callable[[Registry], Any]) -> None:
    add_alias(store, "alias/a", add_key(store))
    assert find(store.registry) is None, what


def test_an_alias_belongs_to_its_account(store: Shard) -> None:
    ours, theirs = add_key(store), add_key(store, OTHER_ACCOUNT)
    add_alias(store, "alias/same", ours)
    add_alias(store, "alias/same", theirs, OTHER_ACCOUNT)
    found = [store.registry.aliases.find(account, "alias/same") for account in (ACCOUNT, OTHER_ACCOUNT)]
    assert [alias.target_key_id for alias in found if alias] == [ours.key_id, theirs.key_id]
    with pytest.raises(AlreadyExistsException, match=r"An alias with the name arn:.*alias/same already exists"):
        add_alias(store, "alias/same", ours)


# --- transactions ------------------------------------------------------------------------------------------------


def _seen(registry: Registry, key: Key) -> tuple[Any, ...]:
    return (
        registry.keys.find(key.key_id),
        list(registry.keys.list_after(ACCOUNT, 0, 10)),
        list(registry.aliases.list_after(ACCOUNT, None, 0, 10)),
        registry.keys.count(ACCOUNT),
        registry.changes.last(),
        list(registry.outbox.oldest(10)),
    )


def test_a_transaction_left_by_an_exception_leaves_nothing(store: Shard) -> None:
    key = add_key(store)
    alias = add_alias(store, "alias/a", key)
    before = _seen(store.registry, key)
    with pytest.raises(ZeroDivisionError), store.registry.writing() as transaction:
        transaction.keys.change(replace(key, description="other"))
        other = transaction.keys.add(*new_key(store))
        transaction.aliases.change(replace(alias, target_key_id=other.key_id))
        transaction.aliases.add(new_alias(store, "alias/b", key))
        transaction.answers.remember(ANSWER)
        transaction.outbox.add(OutboxRow("event", ACCOUNT, b"{}"))
        raise ZeroDivisionError
    assert _seen(store.registry, key) == before
    with store.registry.writing() as transaction:
        assert transaction.answers.find(ACCOUNT, "CreateKey", "request-1") is None


Write = Callable[[Transaction, Key, Any], object]
STALE: list[tuple[str, Write]] = [
    ("change_key", lambda transaction, key, alias: transaction.keys.change(key)),
    ("change_alias", lambda transaction, key, alias: transaction.aliases.change(alias)),
    ("remove_alias", lambda transaction, key, alias: transaction.aliases.remove(alias)),
]


@pytest.mark.parametrize(("what", "write"), STALE, ids=[what for what, _ in STALE])
def test_a_write_of_another_revision_is_refused(store: Shard, what: str, write: Write) -> None:
    key = add_key(store)
    alias = add_alias(store, "alias/a", key)
    with store.registry.writing() as transaction:
        assert transaction.keys.change(key).revision == 2
        assert transaction.aliases.change(alias).revision == 2
    with pytest.raises(ConflictException, match="Repeat the call"), store.registry.writing() as transaction:
        write(transaction, key, alias)
    with store.registry.writing() as transaction:
        write(transaction, replace(key, revision=2), replace(alias, revision=2))


# --- the change log ----------------------------------------------------------------------------------------------


def test_the_change_log_names_the_rows_that_a_commit_touched(store: Shard) -> None:
    key = add_key(store)
    alias = add_alias(store, "alias/a", key)
    with store.registry.writing() as transaction:
        transaction.keys.change(key)
        transaction.aliases.remove(transaction.aliases.change(alias))
    changes = store.registry.changes.list_after(0, 10)
    named = [("key", key.key_id), ("alias", f"{ACCOUNT}/alias/a")]
    assert [(change.kind, change.name) for change in changes] == [*named, *named, named[1]]
    sequences = [change.sequence for change in changes]
    assert sequences == sorted(set(sequences))
    assert list(store.registry.changes.list_after(sequences[3], 10)) == [changes[4]]
    assert store.registry.changes.last() == sequences[4]


# --- listings ----------------------------------------------------------------------------------------------------


def test_pages_are_stable_while_keys_come_and_aliases_go(store: Shard) -> None:
    keys = [add_key(store, (ACCOUNT, OTHER_ACCOUNT)[n % 2]) for n in range(24)]
    ours = [key for key in keys if key.account == ACCOUNT]
    aliases = [add_alias(store, f"alias/{n}", ours[n % 2]) for n in range(12)]
    seen_keys: list[str] = []
    seen_aliases: list[str] = []
    key_at = alias_at = 0
    for turn in range(4):
        page = store.registry.keys.list_after(ACCOUNT, key_at, 3)
        names = store.registry.aliases.list_after(ACCOUNT, None, alias_at, 3)
        seen_keys += [key.key_id for key in page]
        seen_aliases += [alias.name for alias in names]
        key_at, alias_at = page[-1].sequence, names[-1].sequence if names else alias_at
        with store.registry.writing() as transaction:
            transaction.aliases.remove(aliases[turn])
            transaction.aliases.remove(aliases[-1 - turn])
            transaction.keys.add(*new_key(store))
    assert seen_keys == [key.key_id for key in ours], "in the order of creation, each once, none hidden"
    assert seen_aliases == [f"alias/{n}" for n in range(9)], "the last three were removed before their page was read"
    assert len(store.registry.keys.list_after(ACCOUNT, key_at, 100)) == 4


def test_aliases_of_one_key_are_listed_by_page(store: Shard) -> None:
    first, second = add_key(store), add_key(store)
    for n in range(6):
        add_alias(store, f"alias/{n}", (first, second)[n % 2])
    page = store.registry.aliases.list_after(ACCOUNT, second.key_id, 0, 2)
    rest = store.registry.aliases.list_after(ACCOUNT, second.key_id, page[-1].sequence, 2)
    assert [alias.name for alias in (*page, *rest)] == ["alias/1", "alias/3", "alias/5"]
    assert store.registry.aliases.list_after(OTHER_ACCOUNT, second.key_id, 0, 2) == []


# --- answers and the outbox --------------------------------------------------------------------------------------


def test_an_answer_is_kept_until_it_is_forgotten_or_replaced(store: Shard) -> None:
    def kept() -> RememberedAnswer | None:
        with store.registry.writing() as transaction:
            return transaction.answers.find(ACCOUNT, "CreateKey", "request-1")

    def forget_before(created_ns: int) -> int:
        with store.registry.writing() as transaction:
            return transaction.answers.forget_before(created_ns)

    newer = replace(ANSWER, response=b"other", created_ns=9)
    for answer in (ANSWER, newer):
        with store.registry.writing() as transaction:
            transaction.answers.remember(answer)
            transaction.answers.remember(replace(answer, account=OTHER_ACCOUNT))
        assert kept() == answer
    assert forget_before(9) == 0
    assert kept() == newer
    assert forget_before(10) == 2
    assert kept() is None


def test_the_outbox_gives_the_oldest_records_first_until_they_are_removed(store: Shard) -> None:
    rows = [OutboxRow(f"event-{n}", ACCOUNT, b"%d" % n) for n in range(1_200)]
    with store.registry.writing() as transaction:
        for row in rows:
            transaction.outbox.add(row)
    assert list(store.registry.outbox.oldest(3)) == rows[:3]
    with store.registry.writing() as transaction:
        transaction.outbox.remove([row.event_id for row in rows[:1_100]])
    assert list(store.registry.outbox.oldest(1_000)) == rows[1_100:]
