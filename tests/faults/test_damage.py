"""A byte changed on disk in any column of a key, material or alias row makes that key or alias unavailable, by name.
Everything else is served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.registry.sql.tables import aliases, keys, materials
from kms_grpc.v1 import key_management_pb2 as pb
from tests.faults.service import REGION, Caller, Refused, Service
from tests.faults.verification import listed_keys

COLUMNS = [(table.name, column.name) for table in (keys, materials, aliases) for column in table.c]
OF_KEY = {"keys": "key_id", "materials": "key_id", "aliases": "target_key_id"}
"""The column of each table by which a row to be damaged is found."""


@dataclass(frozen=True)
class Victim:
    """A key with an alias and a ciphertext; one column of its rows will be changed."""

    key: str
    alias: str
    blob: bytes


def make_victim(caller: Caller, number: int) -> Victim:
    key = caller.call("CreateKey", pb.CreateKeyRequest(description="described")).key_metadata.key_id
    alias = f"alias/victim-{number}-a"  # no other alias differs by one bit
    caller.call("CreateAlias", pb.CreateAliasRequest(alias_name=alias, target_key_id=key))
    return Victim(
        key, alias, caller.call("Encrypt", pb.EncryptRequest(key_id=key, plaintext=b"secret")).ciphertext_blob
    )


def changed(value: Any) -> Any:
    """Returns the value with one bit flipped; one byte for an absent or empty value."""
    if value is None:
        return 1
    if isinstance(value, int):
        return value ^ 1
    raw = value if isinstance(value, bytes) else (value or "0").encode()
    flipped = raw[:-1] + bytes([raw[-1] ^ 1])
    return flipped if isinstance(value, bytes) else flipped.decode()


def damage(shard: Path, table: str, column: str, key: str) -> None:
    database = sqlite3.connect(shard)
    (value,) = database.execute(f'SELECT "{column}" FROM {table} WHERE {OF_KEY[table]} = ?', (key,)).fetchone()
    statement = f'UPDATE {table} SET "{column}" = ? WHERE {OF_KEY[table]} = ?'
    assert database.execute(statement, (changed(value), key)).rowcount == 1
    database.commit()
    database.close()


@dataclass(frozen=True)
class Scene:
    caller: Caller
    victims: dict[tuple[str, str], Victim]
    untouched: Victim


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A victim per column. All are damaged while the service is stopped."""
    service = Service(tmp_path_factory.mktemp("damage") / "data")
    try:
        service.start()
        caller = service.caller()
        victims = {column: make_victim(caller, number) for number, column in enumerate(COLUMNS)}
        untouched = make_victim(caller, len(COLUMNS))
        caller.close()
        assert service.stop() == 0
        for (table, column), victim in victims.items():
            damage(service.data_dir / "regions" / f"{REGION}.sqlite", table, column, victim.key)
        service.start()
        yield Scene(service.caller(), victims, untouched)
    finally:
        service.close()


def refusal(caller: Caller, name: str, request: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        caller.call(name, request)
    return raised.value


def uses(victim: Victim) -> list[tuple[str, Any]]:
    return [
        ("Encrypt", pb.EncryptRequest(key_id=victim.key, plaintext=b"more")),
        ("GenerateDataKey", pb.GenerateDataKeyRequest(key_id=victim.key, number_of_bytes=32)),
        ("Decrypt", pb.DecryptRequest(ciphertext_blob=victim.blob)),
    ]


def manages(victim: Victim) -> list[tuple[str, Any]]:
    return [
        ("DescribeKey", pb.DescribeKeyRequest(key_id=victim.key)),
        ("DisableKey", pb.DisableKeyRequest(key_id=victim.key)),
    ]


@pytest.mark.xdist_group("damage")
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_changed_row_is_unavailable_by_name(scene: Scene, table: str, column: str) -> None:
    victim = scene.victims[table, column]
    if table == "aliases":
        calls, named = [("DescribeKey", pb.DescribeKeyRequest(key_id=victim.alias))], victim.alias
    else:
        calls, named = [*uses(victim), *(manages(victim) if table == "keys" else [])], victim.key
    for name, request in calls:
        refused = refusal(scene.caller, name, request)
        assert (refused.reason, named in refused.text) == ("KeyUnavailableException", True), f"{name}: {refused}"


@pytest.mark.xdist_group("damage")
def test_everything_else_is_served(scene: Scene) -> None:
    victims_of_aliases = [victim for (table, _), victim in scene.victims.items() if table == "aliases"]
    for victim in [scene.untouched, *victims_of_aliases]:
        for name, request in [*uses(victim), *manages(victim)]:
            if name != "DisableKey":
                scene.caller.call(name, request)
    request = pb.DecryptRequest(ciphertext_blob=scene.untouched.blob)
    assert scene.caller.call("Decrypt", request).plaintext == b"secret"
    assert scene.caller.call("DescribeKey", pb.DescribeKeyRequest(key_id=scene.untouched.alias)).key_metadata.enabled


@pytest.mark.xdist_group("damage")
def test_listings_leave_out_damaged_rows(scene: Scene) -> None:
    damaged = {victim.key for (table, _), victim in scene.victims.items() if table == "keys"}
    every = {victim.key for victim in [scene.untouched, *scene.victims.values()]}
    assert set(listed_keys(scene.caller)) == every - damaged


@pytest.mark.xdist_group("damage")
def test_a_new_key_can_be_created(scene: Scene) -> None:
    made = make_victim(scene.caller, len(COLUMNS) + 1)
    assert scene.caller.call("Decrypt", pb.DecryptRequest(ciphertext_blob=made.blob)).plaintext == b"secret"
