"""Errors caused by the storage and by quotas, through both doors: a locked shard, changed rows, a full account."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kms_grpc.registry.sql.library import sqlite3
from tests.aws.conftest import endpoint_of
from tests.aws.doors import DOORS, DoorClient, Refused
from tests.aws.world import World
from tests.conftest import StartServer
from tests.served import Served

SHARD = "regions/eu-central-1.sqlite"


def doors_of(served: Served) -> dict[str, DoorClient]:
    url = endpoint_of(served).url
    return {name: door(served, url) for name, door in DOORS.items()}


def refusal(world: World, operation: str, **members: object) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        world.call(operation, **members)
    return refused.value.code, refused.value.text


def test_a_locked_shard(start_server: StartServer) -> None:
    """Another process holds the shard's write lock: writes get a retryable error, reads succeed."""
    served = start_server("--aws-listen", "127.0.0.1:0")
    worlds = {name: World(door) for name, door in doors_of(served).items()}
    blobs = {name: world.blob(world.key()) for name, world in worlds.items()}
    held = sqlite3.connect(served.data_dir / SHARD, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(4) as threads:
        asked = {
            (name, operation): threads.submit(refusal, world, operation, KeyId=world.facts["id"])
            for name, world in worlds.items()
            for operation in ("DisableKey", "RotateKeyOnDemand")
        }
        errors = {key: waiting.result() for key, waiting in asked.items()}
    for name, world in worlds.items():
        assert world.call("Decrypt", CiphertextBlob=blobs[name])["Plaintext"] == b"plaintext"
    held.close()
    assert {code for code, _ in errors.values()} == {"DependencyTimeoutException"}
    assert len({text for _, text in errors.values()}) == 1
    for world in worlds.values():
        world.call("DisableKey", KeyId=world.facts["id"])


def test_a_key_row_changed_on_disk(start_server: StartServer) -> None:
    served = start_server("--aws-listen", "127.0.0.1:0")
    worlds = {name: World(door) for name, door in doors_of(served).items()}
    blobs = {name: world.blob(world.key()) for name, world in worlds.items()}
    served.stop()
    with sqlite3.connect(served.data_dir / SHARD) as shard:
        shard.execute("UPDATE keys SET description = 'another'")
    served.start()
    after = doors_of(served)
    for name, world in worlds.items():
        world.door = after[name]
        key = world.facts["id"]
        errors = {
            refusal(world, "Encrypt", KeyId=key, Plaintext=b"p"),
            refusal(world, "GenerateDataKey", KeyId=key, NumberOfBytes=1),
            refusal(world, "GenerateDataKeyWithoutPlaintext", KeyId=key, NumberOfBytes=1),
            refusal(world, "Decrypt", CiphertextBlob=blobs[name]),
            refusal(world, "ReEncrypt", CiphertextBlob=blobs[name], DestinationKeyId=key),
        }
        assert {code for code, _ in errors} == {"KeyUnavailableException"}
        assert all(world.facts["arn"] in text for _, text in errors)


def test_an_account_at_its_quota_of_keys(start_server: StartServer, tmp_path: Path) -> None:
    config = tmp_path / "kms.toml"
    config.write_text("[quotas]\nkeys_per_account = 2\n")
    served = start_server("--config", str(config), "--aws-listen", "127.0.0.1:0")
    worlds = {name: World(door) for name, door in doors_of(served).items()}
    for world in worlds.values():
        world.key()
    text = "The account has 2 keys in eu-central-1, which is its quota."
    assert {refusal(world, "CreateKey") for world in worlds.values()} == {("LimitExceededException", text)}
