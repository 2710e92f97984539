"""A change on disk in any column of a protected row makes that key, alias or answer unavailable, by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from kms_grpc.errors import KeyUnavailableException, KMSInternalException
from kms_grpc.model.key import Alias, Key
from kms_grpc.registry.own_row import WillNotStart
from kms_grpc.registry.rows import RememberedAnswer
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import tables
from kms_grpc.registry.sql.library import sqlite3
from tests.registry.damaging import cases, changed, damage, damaged_rows
from tests.registry.made import ACCOUNT, OTHER_ACCOUNT, REGION, add_alias, add_key, opened, start


@dataclass(frozen=True)
class Filled:
    """Three keys with a material and an alias each; tests damage the second."""

    folder: Path
    keys: list[Key]
    aliases: list[Alias]

    @property
    def path(self) -> Path:
        return self.folder / "regions" / f"{REGION}.sqlite"


ANSWERS = [RememberedAnswer(ACCOUNT, "CreateKey", f"request-{n}", bytes(32), b"response", 7) for n in range(3)]


@pytest.fixture(scope="module")
def _filled(_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    folder = Path(shutil.copytree(_prepared, tmp_path_factory.mktemp("filled") / "data"))
    shards = opened(folder)
    keys = [add_key(shards.default, description="payroll") for _ in range(3)]
    aliases = [add_alias(shards.default, f"alias/app-{n}", key) for n, key in enumerate(keys)]
    with shards.default.writing() as transaction:
        for answer in ANSWERS:
            transaction.answers.remember(answer)
    shards.close()
    return Filled(folder, keys, aliases)


@pytest.fixture
def filled(_filled: Filled, tmp_path: Path) -> Filled:
    folder = Path(shutil.copytree(_filled.folder, tmp_path / "data"))
    return Filled(folder, _filled.keys, _filled.aliases)


@pytest.fixture
def reopened(filled: Filled) -> Iterator[list[Shard]]:
    """Shards that `open_damaged` opens; closed after the test."""
    shards: list[Shard] = []
    yield shards
    for shard in shards:
        shard.close()


def open_damaged(filled: Filled, reopened: list[Shard]) -> Shard:
    reopened.extend(opened(filled.folder))
    return reopened[0]


def in_use(shard: Shard, key: Key) -> None:
    found = shard.find_key(key.key_id)
    assert found == key
    assert shard.current_material(found).key_id == key.key_id


def undamaged(filled: Filled, shard: Shard, rows: str) -> None:
    """Checks that the other rows are as they were, and that listings show them and nothing else."""
    first, middle, last = filled.keys
    in_use(shard, first)
    in_use(shard, last)
    shown = [first, last] if rows == "keys" else [first, middle, last]
    assert list(shard.registry.keys.list_after(ACCOUNT, 0, 10)) == shown
    assert list(shard.registry.keys.list_after(ACCOUNT, 0, 1)) == shown[:1]
    names = filled.aliases[::2] if rows == "aliases" else filled.aliases
    assert list(shard.registry.aliases.list_after(ACCOUNT, None, 0, 10)) == names
    for alias in names:
        assert shard.find_alias(ACCOUNT, alias.name) == alias
    assert shard.registry.keys.list_after(OTHER_ACCOUNT, 0, 10) == []
    assert shard.registry.aliases.list_after(OTHER_ACCOUNT, None, 0, 10) == []


@pytest.mark.parametrize(("column", "flip"), cases(tables.keys))
def test_a_damaged_key_is_unavailable(filled: Filled, reopened: list[Shard], column: str, flip: str) -> None:
    key = filled.keys[1]
    damage(filled.path, "keys", "key_id", key.key_id, column, flip)
    shard = open_damaged(filled, reopened)
    for _ in range(2):  # the refusal is not remembered as "no such key"
        with pytest.raises(KeyUnavailableException, match=f"key/{key.key_id} is unavailable.*backup.*kms-grpc check"):
            shard.find_key(key.key_id)
    with pytest.raises(KeyUnavailableException), shard.writing() as transaction:
        transaction.keys.find(key.key_id)
    undamaged(filled, shard, "keys")
    assert [name for name in damaged_rows(shard.registry) if name.startswith("key ")] != []


@pytest.mark.parametrize(("column", "flip"), cases(tables.materials))
def test_a_damaged_material_is_unavailable(filled: Filled, reopened: list[Shard], column: str, flip: str) -> None:
    key = filled.keys[1]
    damage(filled.path, "materials", "key_id", key.key_id, column, flip)
    shard = open_damaged(filled, reopened)
    found = shard.find_key(key.key_id)
    assert found == key, "the key itself can still be described"
    with pytest.raises(KeyUnavailableException, match=f"key/{key.key_id} is unavailable.*backup.*kms-grpc check"):
        shard.current_material(found)
    undamaged(filled, shard, "materials")
    (name,) = damaged_rows(shard.registry)
    assert name.startswith("key material")


@pytest.mark.parametrize(("column", "flip"), cases(tables.aliases))
def test_a_damaged_alias_is_unavailable(filled: Filled, reopened: list[Shard], column: str, flip: str) -> None:
    alias = filled.aliases[1]
    damage(filled.path, "aliases", "name", alias.name, column, flip)
    shard = open_damaged(filled, reopened)
    with pytest.raises(KeyUnavailableException, match=f"{alias.arn} is unavailable.*backup.*kms-grpc check"):
        shard.find_alias(ACCOUNT, alias.name)
    with pytest.raises(KeyUnavailableException), shard.writing() as transaction:
        transaction.aliases.find(ACCOUNT, alias.name)
    in_use(shard, filled.keys[1])
    undamaged(filled, shard, "aliases")
    (name,) = damaged_rows(shard.registry)
    assert name.startswith("alias ")


@pytest.mark.parametrize(("column", "flip"), cases(tables.remembered_answers))
def test_a_damaged_answer_is_not_repeated(filled: Filled, reopened: list[Shard], column: str, flip: str) -> None:
    damage(filled.path, "remembered_answers", "request_id", "request-1", column, flip)
    shard = open_damaged(filled, reopened)
    with shard.writing() as transaction:
        assert transaction.answers.find(ACCOUNT, "CreateKey", "request-0") == ANSWERS[0]
        with pytest.raises(KMSInternalException, match="request-1 of CreateKey was changed on disk"):
            transaction.answers.find(ACCOUNT, "CreateKey", "request-1")
        assert transaction.answers.find(ACCOUNT, "CreateKey", "request-2") == ANSWERS[2]


@pytest.mark.parametrize(("column", "flip"), cases(tables.shard))
def test_a_damaged_own_row_stops_the_start(filled: Filled, column: str, flip: str) -> None:
    damage(filled.path, "shard", "id", 1, column, flip)
    for begin in (start, opened):
        with pytest.raises(WillNotStart, match=r"eu-west-1\.sqlite: the shard's own row was changed on disk.*backup"):
            begin(filled.folder)


def test_a_name_that_is_the_result_of_damage_is_unknown(filled: Filled, reopened: list[Shard]) -> None:
    damage(filled.path, "aliases", "name", "alias/app-1", "name", "last")
    damage(filled.path, "keys", "key_id", filled.keys[1].key_id, "key_id", "last")
    shard = open_damaged(filled, reopened)
    assert shard.find_alias(ACCOUNT, "alias/app-a") is None
    assert shard.find_key(changed(filled.keys[1].key_id, "last")) is None
    assert len(damaged_rows(shard.registry)) == 2


def test_a_deleted_row_makes_the_key_unavailable(filled: Filled, reopened: list[Shard]) -> None:
    with closing(sqlite3.connect(filled.path)) as connection:
        connection.execute("DELETE FROM materials WHERE key_id = ?", [filled.keys[1].key_id])
        connection.commit()
    shard = open_damaged(filled, reopened)
    with pytest.raises(KeyUnavailableException, match=f"key/{filled.keys[1].key_id} is unavailable"):
        shard.current_material(filled.keys[1])
    undamaged(filled, shard, "materials")


def test_a_row_copied_from_another_shard_is_refused(filled: Filled, reopened: list[Shard], tmp_path: Path) -> None:
    """The row comes from another installation's shard of the same region, where its MAC holds."""
    other = tmp_path / "other"
    start(other)
    shards = opened(other)
    stranger = add_key(shards.default)
    shards.close()
    with closing(sqlite3.connect(filled.path)) as connection:
        connection.execute("ATTACH ? AS other", [str(other / "regions" / f"{REGION}.sqlite")])
        connection.execute("INSERT INTO keys SELECT * FROM other.keys")
        connection.commit()
    shard = open_damaged(filled, reopened)
    with pytest.raises(KeyUnavailableException):
        shard.find_key(stranger.key_id)
    assert list(shard.registry.keys.list_after(ACCOUNT, 0, 10)) == filled.keys


def test_damage_is_logged_once(filled: Filled, reopened: list[Shard], caplog: pytest.LogCaptureFixture) -> None:
    damage(filled.path, "keys", "key_id", filled.keys[1].key_id, "state", "first")
    shard = open_damaged(filled, reopened)
    for _ in range(3):
        shard.registry.keys.list_after(ACCOUNT, 0, 10)
    logged = [record.getMessage() for record in caplog.records if "changed on disk" in record.getMessage()]
    assert len(logged) == 1
    assert filled.keys[1].arn in logged[0]
