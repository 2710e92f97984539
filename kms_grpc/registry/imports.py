"""Import wrapping keys (pairs), and unwrapping of imported key material under the region key and an AWS owned key."""

from __future__ import annotations

from typing import Final

from kms_grpc.crypto import envelope, import_wrapping
from kms_grpc.crypto.ciphertext_blob import kid_of
from kms_grpc.crypto.framing import frame
from kms_grpc.errors import InvalidCiphertextException
from kms_grpc.model.key import ImportPair, Key
from kms_grpc.registry.owned_keys import IMPORT_WRAPPING_KEYS, Reason, using
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard

BITS: Final = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}


def make_pair(shard: Shard, spec: str, now_ns: int, request_id: str | None = None) -> tuple[ImportPair, OutboxRow]:
    """Makes a pair whose private key is wrapped under the AWS owned key of that purpose; returns it with the audit
    record of that use, to be stored in the same transaction. May take seconds; releases the GIL."""
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
    """Returns id and wrapped form of the imported material. If it does not unwrap, returns the error instead of raising
    it, since the use of the owned key, which has unwrapped the pair's private key, succeeded and is recorded so."""
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
