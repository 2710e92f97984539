"""Rows of grants: what is read, what a damaged row does, what a write touches, and the search for grants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kms_grpc.errors import ConflictException, KeyUnavailableException
from kms_grpc.model.grant import Constraints, Grant, GrantOperation
from kms_grpc.registry.grant_search import PAGE, GrantSearch
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import tables
from tests.registry.damaging import cases, damage, damaged_rows
from tests.registry.made import ACCOUNT, GRANTEE, OTHER_ACCOUNT, add_key, grant, shard_file

ENCRYPT = GrantOperation.ENCRYPT
LIMITS = Constraints(subset={"a": "1", "\u2603": "2"}, equals={"\u2603": "2", "a": "1"}, source_arn="arn:aws:s3:::b")
GRANTS: list[dict[str, Any]] = [
    {},
    {"constraints": LIMITS, "name": "n", "retiring": "s3.amazonaws.com", "issuing_account": OTHER_ACCOUNT},
    {"grantee": "ec2.amazonaws.com", "retiring": GRANTEE, "operations": tuple(GrantOperation)},
]


def add(store: Shard, *grants: Grant) -> list[Grant]:
    with store.writing() as transaction:
        return [transaction.grants.add(each) for each in grants]


def names(grants: Any) -> list[str]:
    return [each.grant_id[:2] for each in grants]


@pytest.mark.parametrize("columns", GRANTS)
def test_a_grant_is_read_as_it_was_written(store: Shard, columns: dict[str, Any]) -> None:
    key = add_key(store)
    (made,) = add(store, grant(key, "a1", **columns))
    rows = store.registry.grants
    assert rows.find(made.grant_id) == made
    assert rows.list_after(key.key_id, None, 0, 9) == [made]
    assert list(rows.retirable_after(made.retiring or "", None, 0, 9)) == ([made] if made.retiring else [])
    assert rows.same_as(made) == (made if made.name else None)


def test_a_write_touches_the_key_and_its_grants(store: Shard) -> None:
    key = add_key(store)
    with store.writing() as transaction:
        made = transaction.grants.add(grant(key, "a1"))
        assert transaction.touched == {("key", key.key_id), ("grants", key.key_id)}
    with store.writing() as transaction:
        transaction.grants.remove(made)
        assert transaction.touched == {("key", key.key_id), ("grants", key.key_id)}
        with pytest.raises(ConflictException):
            transaction.grants.remove(made)


def test_listings(store: Shard) -> None:
    key, other = add_key(store), add_key(store, account=OTHER_ACCOUNT)
    add(store, grant(key, "a1", retiring="r.x.y"), grant(other, "b2", retiring="r.x.y"), grant(key, "c3", grantee="g"))
    rows = store.registry.grants
    assert names(rows.list_after(key.key_id, None, 0, 9)) == ["a1", "c3"]
    assert names(rows.list_after(key.key_id, GRANTEE, 0, 9)) == ["a1"]
    assert names(rows.retirable_after("r.x.y", None, 0, 9)) == ["a1", "b2"]
    assert names(rows.retirable_after("r.x.y", ACCOUNT, 0, 9)) == ["a1"]
    assert [rows.count(key.key_id), rows.count(other.key_id), rows.count("none")] == [2, 1, 0]


@pytest.mark.parametrize(("column", "flip"), cases(tables.grants))
def test_a_damaged_grant_allows_nothing(store: Shard, folder: Path, column: str, flip: str) -> None:
    key = add_key(store)
    first, hurt, third = add(store, *(grant(key, name, name="n", retiring="r.x.y") for name in ("a1", "b2", "c3")))
    damage(shard_file(folder), "grants", "grant_id", hurt.grant_id, column, flip)
    rows = store.registry.grants
    for limit in (1, 2, 9):
        seen: list[Grant] = []
        while page := rows.list_after(key.key_id, None, seen[-1].sequence if seen else 0, limit):
            seen += page
        assert seen == [first, third]
    assert list(store.grants.allowing(key.key_id, GRANTEE, ENCRYPT, {})) == [first, third]
    with pytest.raises(KeyUnavailableException, match=r"^grant .* was changed on disk"):
        rows.find(hurt.grant_id)
    (name,) = damaged_rows(store.registry)
    assert name.startswith("grant ")


def test_grants_go_with_their_key(store: Shard) -> None:
    key, other = add_key(store), add_key(store)
    add(store, grant(key, "a1"), grant(other, "b2"))
    with store.writing() as transaction:
        transaction.keys.remove(key)
    assert store.registry.grants.find("a1" * 32) is None
    assert store.registry.grants.find("b2" * 32) is not None
    assert not damaged_rows(store.registry)


# --- the search ------------------------------------------------------------------------------------------------------


def test_a_search_obeys_every_write(store: Shard) -> None:
    key = add_key(store)
    search = lambda: names(store.grants.allowing(key.key_id, GRANTEE, ENCRYPT, {}))  # noqa: E731
    assert search() == search() == []
    (made,) = add(store, grant(key, "a1"))
    assert search() == search() == ["a1"]
    with store.writing() as transaction:
        inside = GrantSearch(transaction.grants)
        transaction.grants.remove(made)
        assert not list(inside.allowing(key.key_id, GRANTEE, ENCRYPT, {}))
        assert search() == ["a1"], "not committed"
    assert search() == []


def test_those_that_ask_nothing_of_the_context_come_first(store: Shard) -> None:
    key = add_key(store)
    add(
        store,
        grant(key, "a1", constraints=LIMITS),
        grant(key, "b2"),
        grant(key, "c3", operations=(GrantOperation.SIGN,)),
    )
    assert names(store.grants.allowing(key.key_id, GRANTEE, ENCRYPT, {})) == ["b2", "a1"]


def test_of_many_grants_only_those_that_may_fit_are_read(store: Shard) -> None:
    """A principal may have 50,000 grants on a key, each for another context."""
    key = add_key(store)
    tenants = [grant(key, f"{n:02x}", constraints=Constraints(subset={"tenant": f"number {n}"})) for n in range(100)]
    exact = grant(key, "e0", constraints=Constraints(equals={"tenant": "number 7", "x": "y"}))
    add(store, *tenants, exact)
    found = store.grants.allowing(key.key_id, GRANTEE, ENCRYPT, {"x": "y", "tenant": "number 7"})
    assert names(found) == ["e0", "07"]
    assert names(store.grants.allowing(key.key_id, GRANTEE, ENCRYPT, {"x": "number 7"})) == []
    assert len(list(store.grants.allowing(key.key_id, GRANTEE, GrantOperation.SIGN, {}))) == 0


def test_many_equal_grants_are_all_searched(store: Shard) -> None:
    key = add_key(store)
    limits = Constraints(equals={"a": "1"})
    last = grant(key, "ff", constraints=limits, operations=(ENCRYPT, GrantOperation.CREATE_GRANT))
    create = GrantOperation.CREATE_GRANT
    parents = [grant(key, f"{n:02x}", operations=(create,)) for n in range(2 * PAGE + 1)]
    add(store, *parents, last)
    assert len(list(store.grants.allowing(key.key_id, GRANTEE, create, {}))) == 2 * PAGE + 2
