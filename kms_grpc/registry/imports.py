"""Wrapping pairs for importing, and material that comes in under them: what needs the region's key and an AWS owned
one."""

from __future__ import annotations

from typing import Final

from kms_grpc.crypto import envelope, import_wrapping
from kms_grpc.crypto.ciphertext_blob import kid_of
from kms_grpc.crypto.framing import frame
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.model.key import ImportPair, Key
from kms_grpc.registry.owned_keys import IMPORT_WRAPPING_KEYS, find_owned_key
from kms_grpc.registry.shards import Shard

BITS: Final = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}


def make_pair(shard: Shard, spec: str, now_ns: int) -> ImportPair:
    """A fresh pair, its private key wrapped under the AWS owned key of that purpose. Up to seconds, the GIL
    released."""
    pair_id = envelope.random_bytes(16)
    public_key, wrapped = import_wrapping.generate_wrapping_pair(_wrapping(shard), BITS[spec], _place(pair_id))
    return ImportPair(pair_id, spec, public_key, wrapped, now_ns)


def unwrap(shard: Shard, key: Key, pair: ImportPair, encrypted: bytes) -> tuple[bytes, bytes]:
    """Id and wrapped form of the material. InvalidCiphertextException, whatever is wrong with what was sent."""
    assert pair.algorithm is not None, "the pair was given to a key"
    return import_wrapping.unwrap_material(
        shard.region_key,
        kid_of(key.key_id),
        shard.material_place(key.key_id, key.account),
        _wrapping(shard),
        _place(pair.pair_id),
        pair.wrapped,
        pair.algorithm,
        encrypted,
    )


def _wrapping(shard: Shard) -> int:
    owned = find_owned_key(shard, IMPORT_WRAPPING_KEYS)
    if owned is None:
        raise DependencyTimeoutException("The server is not ready for imports yet. Repeat the call soon.")
    return shard.current_material(owned).handle


def _place(pair_id: bytes) -> bytes:
    return frame(b"import wrapping pair", pair_id)
