"""Damaged tags, import pairs, materials and recorded time: left out of listings and refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kms_grpc.errors import KeyUnavailableException, KMSInternalException
from kms_grpc.model.key import (
    Material,
    Tag,
)
from kms_grpc.registry.base import Registry, Transaction
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import tables
from tests.registry.damaging import cases, damage, damaged_rows
from tests.registry.made import (
    ACCOUNT,
    REGION,
    add_key,
    pair,
    rotate,
    shard_file,
)


@pytest.mark.parametrize(("column", "flip"), cases(tables.tags))
def test_a_damaged_tag_is_not_listed(store: Shard, folder: Path, column: str, flip: str) -> None:
    key = add_key(store)
    every = [Tag(key.key_id, ACCOUNT, name, "v") for name in ("first", "second", "third")]
    with store.writing() as transaction:
        for tag in every:
            transaction.tags.set(tag)
    damage(shard_file(folder), "tags", "tag_key", "second", column, flip)
    for limit in (1, 2, 9):
        seen: list[Tag] = []
        while page := store.registry.tags.list_after(key.key_id, seen[-1].tag_key if seen else "", limit):
            seen += page
        assert seen == [every[0], every[2]]
    (name,) = damaged_rows(store.registry)
    assert name.startswith("tag ")


@pytest.mark.parametrize(("column", "flip"), cases(tables.import_pairs))
def test_a_damaged_pair_is_never_used(store: Shard, folder: Path, column: str, flip: str) -> None:
    with store.writing() as transaction:
        for n in range(3):
            transaction.pairs.add(pair(b"a%d" % n, created_ns=n + 1))
    damage(shard_file(folder), "import_pairs", "public_key", b"public a0", column, flip)
    with store.writing() as transaction:
        assert transaction.pairs.oldest_ready("RSA_2048") == pair(b"a1", created_ns=2)
    name = pair(b"a0").pair_id
    if column == "pair_id":
        assert store.registry.pairs.find(name) is None
    else:
        with pytest.raises(KMSInternalException, match=r"changed on disk.*GetParametersForImport again"):
            store.registry.pairs.find(name)
    (damaged,) = damaged_rows(store.registry)
    assert damaged.startswith("import wrapping key ")


@pytest.mark.parametrize(("column", "flip"), cases(tables.latest_time))
def test_a_damaged_latest_time_is_refused(store: Shard, folder: Path, column: str, flip: str) -> None:
    with store.writing() as transaction:
        transaction.latest_time.advance(1_000)
    damage(shard_file(folder), "latest_time", "latest_ns", 1_000, column, flip)
    reads: list[Callable[[Registry | Transaction], object]] = [lambda rows: rows.latest_time.read_ns()]
    with pytest.raises(KMSInternalException, match="the latest time that it recorded was changed on disk"):
        reads[0](store.registry)
    with (
        pytest.raises(KMSInternalException, match="the latest time that it recorded was changed on disk"),
        store.writing() as transaction,
    ):
        transaction.latest_time.advance(2_000)
    assert damaged_rows(store.registry) == [f"latest time of region {REGION}"]


@pytest.mark.parametrize("column", ["number", "state", "wrapped"])
def test_a_damaged_material_is_not_listed_and_is_refused_by_name(store: Shard, folder: Path, column: str) -> None:
    key = rotate(store, rotate(store, add_key(store)))
    first, second, third = store.registry.materials.list_after(key.key_id, -1, 9)
    damage(shard_file(folder), "materials", "material_id", second.material_id, column, "first")
    for limit in (1, 9):
        seen: list[Material] = []
        while page := store.registry.materials.list_after(key.key_id, seen[-1].number if seen else -1, limit):
            seen += page
        assert seen == [first, third]
    with pytest.raises(KeyUnavailableException, match=key.key_id):
        store.registry.materials.find(key.key_id, second.material_id)
