"""Fixtures: the keys of tests/vectors/keys_v1.json, loaded as the service loads them, and the test build of the
core."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kms_grpc.crypto import ciphertext_blob, encryption_context, key_wrapping, keyring
from tests.crypto import core_with_nonces, make_vectors
from tests.crypto.second_reader import Key

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


@dataclass(frozen=True)
class Loaded:
    """A key in the keyring, with the same key in the second implementation."""

    handle: int
    prefix: bytes
    kid: bytes
    material_id: bytes
    second: Key

    def associated(self, context: dict[str, str]) -> bytes:
        return ciphertext_blob.associated_prefix(self.second.arn) + encryption_context.canonical(context)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> int:
    keyring.open_keyring()
    path = tmp_path_factory.mktemp("root") / "root.key"
    path.touch(0o600)
    path.write_bytes(make_vectors.ROOT_KEY)
    return key_wrapping.load_root_key_file(path)


@pytest.fixture(scope="session")
def region(root: int) -> int:
    row = vectors("keys_v1.json")["region_key"]
    return key_wrapping.load_region_key(root, bytes.fromhex(row["place"]), bytes.fromhex(row["wrapped"]))


@pytest.fixture(scope="session")
def keys(region: int) -> dict[str, Loaded]:
    loaded = {}
    for row in vectors("keys_v1.json")["keys"]:
        kid, material_id, place, wrapped = (bytes.fromhex(row[n]) for n in ("kid", "material_id", "place", "wrapped"))
        handle = key_wrapping.load_material(region, kid, material_id, place, wrapped)
        prefix = ciphertext_blob.header_prefix(kid, material_id)
        loaded[row["name"]] = Loaded(handle, prefix, kid, material_id, make_vectors.KEYS[row["name"]])
    return loaded


@pytest.fixture
def key(keys: dict[str, Loaded]) -> Loaded:
    return keys["first"]


@pytest.fixture(scope="session")
def core() -> ModuleType:
    return core_with_nonces.load()
