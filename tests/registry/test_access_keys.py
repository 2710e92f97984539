"""Stored access keys: encrypted secrets, use in every worker, immediate deletion, refusal of changed rows."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.authentication.signature_v4 import FixedSigners, Signer
from kms_grpc.authentication.signing_key import SigningKey, derive_signing_key
from kms_grpc.clock import SystemClock
from kms_grpc.errors import InvalidCiphertextException, KeyUnavailableException, NotFoundException
from kms_grpc.model.principal import Principal
from kms_grpc.registry import access_keys
from kms_grpc.registry.access_keys import StoredSigners, create_access_key, delete_access_key, list_access_keys
from kms_grpc.registry.owned_keys import Reason
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import tables
from kms_grpc.registry.sql.library import sqlite3
from tests.registry.damaging import damaged_rows
from tests.registry.made import ACCOUNT, REGION, opened

ORDERS = Principal("orders", f"arn:aws:iam::{ACCOUNT}:role/orders", ACCOUNT)
DAY = (b"20270115", REGION.encode())


def known_to(shard: Shard, *principals: Principal, kept: list[OutboxRow] | None = None) -> StoredSigners:
    keep = (kept if kept is not None else []).append
    return StoredSigners(shard, {each.name: each for each in principals}.get, FixedSigners([]), SystemClock(), keep)


def signing_key(signer: Signer | None) -> bytes:
    """Returns a signature under the signer's key, by which keys can be told apart."""
    assert signer is not None
    return signer.signing_key(*DAY).sign(b"text")


def derived(secret: str) -> bytes:
    return SigningKey(derive_signing_key(secret.encode(), *DAY)).sign(b"text")


def test_a_new_access_key_signs_in_every_worker(folder: Path, shard: Shard) -> None:
    other = opened(folder).default
    here, there = known_to(shard, ORDERS), known_to(other, ORDERS)
    made, secret = create_access_key(shard, ORDERS, 7)
    assert (len(made.access_key_id), made.access_key_id[:4], len(secret)) == (20, "AKIA", 40)
    for keys in (here, there):
        assert keys.find_warm(made.access_key_id) is None, "it has to be read first"
        assert signing_key(keys.find(made.access_key_id)) == derived(secret)
        assert signing_key(keys.find_warm(made.access_key_id)) == derived(secret)
    delete_access_key(other, made.access_key_id, {"orders": ORDERS}, 8)
    for keys in (here, there):
        assert keys.find_warm(made.access_key_id) is None
        assert keys.find(made.access_key_id) is None
    with pytest.raises(NotFoundException):
        delete_access_key(shard, made.access_key_id, {"orders": ORDERS}, 9)
    other.close()


def test_an_access_key_that_was_unknown_is_found_once_it_exists(folder: Path, shard: Shard) -> None:
    """The worker has just refused the access key."""
    other = opened(folder).default
    made, _ = create_access_key(other, ORDERS, 7)
    delete_access_key(other, made.access_key_id, {}, 8)
    keys = known_to(shard, ORDERS)
    assert keys.find(made.access_key_id) is None
    with other.writing() as transaction:
        transaction.access_keys.add(made)
    assert keys.find(made.access_key_id) is not None
    other.close()


def test_each_access_key_has_its_own_secret_and_listings_do_not_show_it(shard: Shard) -> None:
    made = [create_access_key(shard, ORDERS, number) for number in range(5)]
    assert len({secret for _, secret in made}) == 5
    listed = list_access_keys(shard)
    assert [each.access_key_id for each in listed] == [each.access_key_id for each, _ in made], "the oldest first"
    for each, (_, secret) in zip(listed, made, strict=True):
        assert secret.encode() not in each.sealed_secret


def test_the_principal_of_an_access_key_must_be_configured(shard: Shard) -> None:
    made, _ = create_access_key(shard, ORDERS, 7)
    assert known_to(shard).find(made.access_key_id) is None
    assert known_to(shard, ORDERS).find(made.access_key_id) is not None


def test_a_secret_is_bound_to_its_access_key_id_and_principal(shard: Shard) -> None:
    made, secret = create_access_key(shard, ORDERS, 7)
    reason = Reason(8, lambda row: None)
    assert access_keys._opened(shard, made, reason) == secret.encode()
    for other in ({"access_key_id": "AKIAOTHER"}, {"principal": "billing"}):
        with pytest.raises(InvalidCiphertextException):
            access_keys._opened(shard, dataclasses.replace(made, **other), reason)


def test_creation_deletion_and_one_decryption_a_day_are_recorded(shard: Shard) -> None:
    kept: list[OutboxRow] = []
    made, secret = create_access_key(shard, ORDERS, 7)
    keys = known_to(shard, ORDERS, kept=kept)
    for _ in range(3):
        signing_key(keys.find(made.access_key_id))
    assert len(kept) == 1
    assert b'"eventName":"Decrypt"' in kept[0].record
    assert b"access-keys" in kept[0].record
    delete_access_key(shard, made.access_key_id, {"orders": ORDERS}, 8)
    records = [row.record for row in shard.registry.outbox.oldest(100)]
    named = [record for record in records if made.access_key_id.encode() in record]
    assert [b"CreateAccessKey" in named[0], b"DeleteAccessKey" in named[1], len(named)] == [True, True, 2]
    assert not any(secret.encode() in record for record in records)


def changed(value: Any, flip: str) -> Any:
    if flip == "type":
        return str(value).encode() if not isinstance(value, bytes) else "text"
    if isinstance(value, int):
        return value ^ 1
    raw = bytearray(value if isinstance(value, bytes) else value.encode())
    raw[0 if flip == "first" else -1] ^= 1
    return bytes(raw) if isinstance(value, bytes) else raw.decode("latin-1")


@pytest.mark.parametrize("flip", ["first", "last", "type"])
@pytest.mark.parametrize("column", [column.name for column in tables.access_keys.c])
def test_an_access_key_that_was_changed_on_disk_is_never_used(
    folder: Path, shard: Shard, column: str, flip: str
) -> None:
    made, _ = create_access_key(shard, ORDERS, 7)
    whole, _ = create_access_key(shard, ORDERS, 8)
    with closing(sqlite3.connect(folder / "regions" / f"{REGION}.sqlite")) as connection, connection:
        where = "WHERE access_key_id = ?"
        (value,) = connection.execute(f"SELECT {column} FROM access_keys {where}", [made.access_key_id]).fetchone()
        connection.execute(f"UPDATE access_keys SET {column} = ? {where}", [changed(value, flip), made.access_key_id])
    again = opened(folder).default
    try:
        found = known_to(again, ORDERS).find(made.access_key_id)
        assert found is None
        assert column == "access_key_id", "its row is there"
    except KeyUnavailableException as error:
        assert made.access_key_id in error.text
    assert known_to(again, ORDERS).find(whole.access_key_id) is not None
    assert [each.access_key_id for each in list_access_keys(again)] == [whole.access_key_id]
    assert len([name for name in damaged_rows(again.registry) if name.startswith("access key ")]) == 1
    again.close()
