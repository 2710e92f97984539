"""Makes shards, keys and aliases for the tests of this folder, also in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from kms_grpc.clock import SystemClock
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.model.arn import alias_arn, key_arn
from kms_grpc.model.grant import Grant, GrantOperation
from kms_grpc.model.key import Alias, ImportPair, Key, KeyState, Material, Origin, RotationType
from kms_grpc.registry.provisioning import Installation, open_shards, prepare
from kms_grpc.registry.shards import Shard, Shards
from kms_grpc.registry.sql import tables
from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.registry.words import create_words, words_path
from kms_grpc.root_key.file import RootKeyFile

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
SERVICE_ACCOUNT = "000000000000"
REGION = "eu-west-1"
GRANTEE = f"arn:aws:iam::{ACCOUNT}:role/orders"
NO_CONTEXT = b"\0\0\0\0"
"""The canonical form of an empty encryption context."""


def installation(folder: Path, regions: Sequence[str] = (REGION,), **other: str) -> Installation:
    return Installation(folder, regions, other.get("partition", "aws"), other.get("account", SERVICE_ACCOUNT))


def start(
    folder: Path, regions: Sequence[str] = (REGION,), *, accept_older: bool = False, **other: str
) -> Installation:
    """Prepares a data directory, as the process that runs before the workers does."""
    open_keyring()
    made = installation(folder, regions, **other)
    prepare(made, RootKeyFile(folder / "root.key"), SystemClock(), accept_older)
    create_words(words_path(folder), len(regions))
    return made


def opened(folder: Path, regions: Sequence[str] = (REGION,), cached_keys: int = 1_000) -> Shards:
    """Opens the shards, as a worker does."""
    open_keyring()
    return open_shards(installation(folder, regions), RootKeyFile(folder / "root.key"), cached_keys)


def grant(key: Key, name: str, /, **columns: Any) -> Grant:
    """Returns a grant whose id is made of two hex digits."""
    made = Grant(
        grant_id=name * 32,
        key_id=key.key_id,
        account=key.account,
        issuing_account=key.account,
        operations=(GrantOperation.ENCRYPT, GrantOperation.DECRYPT),
        created_ns=7,
        grantee=GRANTEE,
    )
    return replace(made, **columns)


def new_key(shard: Shard, account: str = ACCOUNT, description: str = "") -> tuple[Key, Material]:
    key_id = str(uuid.uuid4())
    material = shard.generate_material(key_id, account, 1)
    arn = key_arn(shard.partition, shard.region, account, key_id)
    state = KeyState.ENABLED
    return Key(key_id, arn, account, shard.region, state, description, 1, material.material_id), material


def add_key(shard: Shard, account: str = ACCOUNT, description: str = "") -> Key:
    with shard.writing() as transaction:
        return transaction.keys.add(*new_key(shard, account, description))


def new_alias(shard: Shard, name: str, target: Key, account: str = ACCOUNT) -> Alias:
    arn = alias_arn(shard.partition, shard.region, account, name)
    return Alias(account, name, arn, target.key_id, created_ns=1, updated_ns=1)


def add_alias(shard: Shard, name: str, target: Key, account: str = ACCOUNT) -> Alias:
    with shard.writing() as transaction:
        return transaction.aliases.add(new_alias(shard, name, target, account))


def in_another_process(code: str, *arguments: object, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new process with this module's names and with `arguments` as `argv`. If `fault` names a fault
    point, the process is killed there."""
    environment = {**os.environ, **({"KMS_GRPC_FAULT": fault} if fault else {})}
    program = f"import sys; from pathlib import Path; from tests.registry.made import *; argv = sys.argv[1:]; {code}"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def another(shard: Shard, key: Key, **changes: Any) -> Material:
    """Returns fresh material for a key that exists."""
    return replace(shard.generate_material(key.key_id, key.account, 5), **changes)


def rotate(shard: Shard, key: Key, **changes: Any) -> Key:
    """Gives a key another current material."""
    rotated = {"rotated_ns": 5, "rotation_type": RotationType.ON_DEMAND, **changes}
    with shard.writing() as transaction:
        return transaction.keys.make_current(key, another(shard, key, **rotated))


def pair(name: bytes, **changes: Any) -> ImportPair:
    """Returns an import pair whose id begins with `name`."""
    made = ImportPair(name.ljust(16, b"."), "RSA_2048", b"public " + name, b"wrapped " + name * 20, 7)
    return replace(made, **changes)


def external(shard: Shard, **changes: Any) -> tuple[Key, None]:
    """Returns a key without material that waits for its first import."""
    key, _ = new_key(shard)
    given = {"origin": Origin.EXTERNAL, "state": KeyState.PENDING_IMPORT, "material_missing": True}
    return replace(key, current_material_id=None, **{**given, **changes}), None


def contents(path: Path) -> dict[str, list[Any]]:
    """Returns all rows of all tables of a shard's file."""
    with closing(sqlite3.connect(path)) as connection:
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables.metadata.tables}


def shard_file(folder: Path, region: str = REGION) -> Path:
    return folder / "regions" / f"{region}.sqlite"
