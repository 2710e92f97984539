"""Wrapping pairs for importing, and material that comes in under them: what needs the region's key and an AWS owned
one."""

from __future__ import annotations

from typing import Final

from kms_grpc.crypto import envelope, import_wrapping
from kms_grpc.crypto.ciphertext_blob import kid_of
from kms_grpc.crypto.framing import frame
from kms_grpc.errors import InvalidCiphertextException
from kms_grpc.model.key import ImportPair, Key
from kms_grpc.registry.base import OutboxRow
from kms_grpc.registry.owned_keys import IMPORT_WRAPPING_KEYS, Reason, using
from kms_grpc.registry.shards import Shard

BITS: Final = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}


def make_pair(shard: Shard, spec: str, now_ns: int, request_id: str | None = None) -> tuple[ImportPair, OutboxRow]:
    """A fresh pair, its private key wrapped under the AWS owned key of that purpose, and the record of that; both
    belong into one transaction. Up to seconds, the GIL released."""
    pair_id = envelope.random_bytes(16)
    records: list[OutboxRow] = []
    reason = Reason(now_ns, records.append, request_id)
    with using(shard, IMPORT_WRAPPING_KEYS, "GenerateDataKeyPairWithoutPlaintext", reason) as owned:
        public_key, wrapped = import_wrapping.generate_wrapping_pair(owned.handle, BITS[spec], _place(pair_id))
    (record,) = records
    return ImportPair(pair_id, spec, public_key, wrapped, now_ns), record


def unwrap(
    shard: Shard, key: Key, pair: ImportPair, encrypted: bytes, reason: Reason
) -> tuple[bytes, bytes] | InvalidCiphertextException:
    """Id and wrapped form of the material; or the error, whatever is wrong with what was sent: the owned key, which
    opens the pair's private key, has done its part then all the same."""
    assert pair.algorithm is not None, "the pair was given to a key"
    with using(shard, IMPORT_WRAPPING_KEYS, "Decrypt", reason) as owned:
        try:
            return import_wrapping.unwrap_material(
                shard.region_key,
                kid_of(key.key_id),
                shard.material_place(key.key_id, key.account),
                owned.handle,
                _place(pair.pair_id),
                pair.wrapped,
                pair.algorithm,
                encrypted,
            )
        except InvalidCiphertextException as failure:
            return failure


def _place(pair_id: bytes) -> bytes:
    return frame(b"import wrapping pair", pair_id)
