"""The registry's contract for tags and import pairs."""

from __future__ import annotations

from dataclasses import replace

from kms_grpc.model.key import (
    Tag,
)
from kms_grpc.registry.shards import Shard
from tests.registry.made import (
    ACCOUNT,
    add_key,
    pair,
)


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
