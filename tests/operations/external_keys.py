"""Keys of origin EXTERNAL for tests: parameters, wrapping as a caller does it, imports, key states by name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kms_grpc.clock import DAY_NS
from kms_grpc.model.key import ImportPair, Key, Material
from kms_grpc.registry import imports, owned_keys
from kms_grpc.registry.shards import Shard
from kms_grpc.v1 import keys_pb2
from tests.operations.service import HOME, Worker

SECOND_NS: Final = 10**9
EXTERNAL: Final = keys_pb2.ORIGIN_TYPE_EXTERNAL
NEVER: Final = keys_pb2.EXPIRATION_MODEL_TYPE_KEY_MATERIAL_DOES_NOT_EXPIRE
EXPIRES: Final = keys_pb2.EXPIRATION_MODEL_TYPE_KEY_MATERIAL_EXPIRES
NEW: Final = keys_pb2.IMPORT_TYPE_NEW_KEY_MATERIAL
EXISTING: Final = keys_pb2.IMPORT_TYPE_EXISTING_KEY_MATERIAL
OAEP: Final = {"RSAES_OAEP_SHA_1": "sha1", "RSAES_OAEP_SHA_256": "sha256"}
ALGORITHMS: Final = (*OAEP, "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
SIZES: Final = ("RSA_2048", "RSA_3072", "RSA_4096")


def state_of(worker: Worker, key_id: str) -> str:
    """Returns the key state by DescribeKey: `Enabled`."""
    state: str = keys_pb2.KeyState.Name(worker.call("DescribeKey", key_id=key_id).key_metadata.key_state)
    return "".join(part.capitalize() for part in state.removeprefix("KEY_STATE_").split("_"))


def row(worker: Worker, key_id: str) -> Key:
    """Returns the key's row."""
    key = worker.shard(HOME).registry.keys.find(key_id)
    assert key is not None
    return key


def materials(worker: Worker, key_id: str) -> list[Material]:
    return list(worker.shard(HOME).registry.materials.list_after(key_id, -1, 1_000))


def stored(worker: Worker, key_id: str) -> object:
    """Returns all rows of a key. A refused call changes none of them."""
    registry = worker.shard(HOME).registry
    return registry.keys.find(key_id), materials(worker, key_id), registry.tags.list_after(key_id, "", 100)


def wrap(public_key: bytes, algorithm: str, material: bytes) -> bytes:
    """Wraps by RFC 8017 and RFC 5649, with the package `cryptography`."""
    public = load_der_public_key(public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    sha = hashes.SHA1() if algorithm.endswith("_SHA_1") else hashes.SHA256()
    oaep = padding.OAEP(padding.MGF1(sha), sha, None)
    if algorithm in OAEP:
        return public.encrypt(material, oaep)
    between = os.urandom(32)
    return public.encrypt(between, oaep) + keywrap.aes_key_wrap_with_padding(between, material)


def wrap_with_openssl(folder: Path, public_key: bytes, algorithm: str, material: bytes, command: str) -> bytes:
    """Wraps by the commands of AWS's pages, with `openssl`: rsautl (SHA-1 only) or pkeyutl. `cryptography` adds AES key
    wrap with padding, which openssl cannot do in one step."""
    digest = "sha1" if algorithm.endswith("_SHA_1") else "sha256"
    between = material if algorithm in OAEP else os.urandom(32)
    (folder / "PublicKey.bin").write_bytes(public_key)
    (folder / "PlaintextKeyMaterial.bin").write_bytes(between)
    files = "-in PlaintextKeyMaterial.bin -inkey PublicKey.bin -keyform DER -pubin -out EncryptedKeyMaterial.bin"
    padded = f"-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{digest} -pkeyopt rsa_mgf1_md:{digest}"
    how = "-oaep" if command == "rsautl" else padded
    subprocess.run(["openssl", command, "-encrypt", *files.split(), *how.split()], cwd=folder, check=True,
                   capture_output=True)  # fmt: skip
    encrypted = (folder / "EncryptedKeyMaterial.bin").read_bytes()
    return encrypted if algorithm in OAEP else encrypted + keywrap.aes_key_wrap_with_padding(between, material)


def provide_pair(shard: Shard, spec: str = "RSA_2048", now_ns: int = 7) -> None:
    """Makes a wrapping key pair ahead, as the keeper does."""
    owned_keys.provide(shard, now_ns)
    if shard.registry.pairs.count_ready(spec):
        return
    pair, _ = imports.make_pair(shard, spec, now_ns)
    with shard.writing() as transaction:
        transaction.pairs.add(pair)


def lay_ready(shard: Shard, pair: ImportPair) -> None:
    """Makes a used pair available again: making one of 4,096 bits takes seconds."""
    with shard.registry.writing() as transaction:
        left = transaction.pairs.find(pair.pair_id)
        if left is not None:
            transaction.pairs.remove(left)
        transaction.pairs.add(pair)


def parameters(
    worker: Worker, key_id: str, algorithm: str = "RSAES_OAEP_SHA_256", spec: str = "RSA_2048", **more: Any
) -> Any:
    """Calls GetParametersForImport with a pair made ahead."""
    provide_pair(worker.shard(HOME), spec)
    return worker.call("GetParametersForImport", **wanted(key_id, algorithm, spec), **more)


def wanted(key_id: str, algorithm: str = "RSAES_OAEP_SHA_256", spec: str = "RSA_2048") -> dict[str, Any]:
    return {
        "key_id": key_id,
        "wrapping_algorithm": f"ALGORITHM_SPEC_{algorithm}",
        "wrapping_key_spec": f"WRAPPING_KEY_SPEC_{spec}",
    }


def external(worker: Worker, **more: Any) -> Any:
    """Creates a key of origin EXTERNAL without material, and returns its metadata."""
    return worker.call("CreateKey", origin=EXTERNAL, **more).key_metadata


def package(worker: Worker, key_id: str, material: bytes, **more: Any) -> dict[str, Any]:
    """Returns the fields of a valid ImportKeyMaterial."""
    got = parameters(worker, key_id)
    fields = {
        "key_id": key_id,
        "import_token": got.import_token,
        "encrypted_key_material": wrap(got.public_key, "RSAES_OAEP_SHA_256", material),
        "expiration_model": NEVER,
    }
    return fields | more


def expiring(time_ns: int) -> dict[str, Any]:
    """Returns the fields that give imported material an expiry."""
    seconds, nanos = divmod(time_ns, SECOND_NS)
    return {"expiration_model": EXPIRES, "valid_to": {"seconds": seconds, "nanos": nanos}}


def bring_in(worker: Worker, key_id: str, material: bytes, **more: Any) -> str:
    """Imports material that does not expire, and returns its id."""
    answer = worker.call("ImportKeyMaterial", **package(worker, key_id, material, **more))
    return str(answer.key_material_id)


def in_days(worker: Worker, days: float) -> int:
    return worker.service.clock.wall_ns() + int(days * DAY_NS)
