"""The request's fields in its audit record: CloudTrail's names, no secret, no blob, bounded lists."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kms_grpc.operations.contract.audit_fields import describer_for
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

TAG = keys_pb2.Tag(tag_key="team", tag_value="payroll")
TOLD = {"tagKey": "team", "tagValue": "payroll"}
DESCRIBED: list[tuple[Message, dict[str, Any] | None]] = [
    (pb.GenerateRandomRequest(), None),
    (
        pb.EncryptRequest(key_id="k", plaintext=b"secret", encryption_context={"a": "b"}, grant_tokens=["secret"]),
        {"keyId": "k", "encryptionContext": {"a": "b"}, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
    ),
    (pb.TagResourceRequest(key_id="k", tags=[TAG, TAG]), {"keyId": "k", "tags": [TOLD, TOLD]}),
    (pb.TagResourceRequest(tags=[keys_pb2.Tag()]), {"tags": [{}]}),
    (pb.UntagResourceRequest(key_id="k", tag_keys=["a", "b"]), {"keyId": "k", "tagKeys": ["a", "b"]}),
    (
        pb.ImportKeyMaterialRequest(
            key_id="k",
            import_token=b"token",
            encrypted_key_material=b"wrapped",
            valid_to=Timestamp(seconds=1_800_000_000),
            expiration_model=1,
        ),
        {"keyId": "k", "validTo": "2027-01-15T08:00:00Z", "expirationModel": "KEY_MATERIAL_EXPIRES"},
    ),
    (pb.ImportKeyMaterialRequest(valid_to=Timestamp(seconds=1 << 62)), {"validTo": f"{1 << 62} s"}),
    (
        pb.DecryptRequest(ciphertext_blob=b"blob", recipient=keys_pb2.RecipientInfo()),
        {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
    ),
]


@pytest.mark.parametrize(("request_", "told"), DESCRIBED)
def test_recorded_fields(request_: Message, told: dict[str, Any] | None) -> None:
    assert describer_for(type(request_))(request_) == told


def test_a_record_is_bounded() -> None:
    """A request is recorded before it is validated, and 4 MiB can hold two million empty tags."""
    told = describer_for(pb.TagResourceRequest)(pb.TagResourceRequest(tags=[keys_pb2.Tag()] * 10_000))
    assert told is not None
    assert len(told["tags"]) == 200
