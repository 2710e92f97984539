"""The yardsticks of `kms-grpc bench` do the work that they claim to measure."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_grpc.bench._yardsticks import ffi, lib
from kms_grpc.bench.yardsticks import BatchYardstick, CoreYardstick
from kms_grpc.crypto import envelope
from kms_grpc.v1 import envelope_pb2 as pb
from tests.crypto.conftest import Loaded

BLOB = 159
COUNT, SIZE = 130, 1000  # more than two chunks, the last one partly filled


def test_envelopes_decrypt(key: Loaded) -> None:
    """Each message is under a data key of its own, which its blob contains."""
    yardstick = CoreYardstick(key.handle, key.prefix, key.associated({}), SIZE, COUNT)
    assert yardstick.envelopes() > 0
    whole = ffi.buffer(yardstick._envelopes)[:]
    assert len(whole) == COUNT * (SIZE + lib.YARDSTICK_ENVELOPE_OVERHEAD)
    data_keys = set()
    for start in range(0, len(whole), SIZE + lib.YARDSTICK_ENVELOPE_OVERHEAD):
        blob, rest = whole[start : start + BLOB], whole[start + BLOB : start + SIZE + lib.YARDSTICK_ENVELOPE_OVERHEAD]
        data_key = envelope.open_blob(key.handle, key.associated({}), blob)
        assert AESGCM(data_key).decrypt(rest[:12], rest[12:], None) == bytes(SIZE)
        data_keys.add(data_key)
    assert len(data_keys) == COUNT


def test_a_batch_yardstick_measures_parts(key: Loaded) -> None:
    arn = key.second.arn
    request = pb.EncryptBatchRequest(key_id=arn, items=[{"plaintext": bytes(SIZE)}] * COUNT)
    yardstick = BatchYardstick(
        request.SerializeToString(), key.handle, key.prefix, key.associated({})[:-4], SIZE, COUNT
    )
    assert min(yardstick.alone(), yardstick.run(1), yardstick.run(2), yardstick.speed()) > 0
    answer = pb.EncryptBatchResponse.FromString(yardstick._batch.results([]))
    blobs = [result.ciphertext_blob for result in answer.results]
    assert {envelope.open_blob(key.handle, key.associated({}), blob) for blob in blobs} == {bytes(SIZE)}
    assert len({blob[55:79] for blob in blobs}) == COUNT
