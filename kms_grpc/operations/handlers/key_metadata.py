"""KeyMetadata: a key as callers see it.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyMetadata.html
"""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from kms_grpc.model.key import ExpirationModel, Key, KeyKind, KeyState, KeyUsage, Origin
from kms_grpc.model.key_spec import ENCRYPTION_ALGORITHMS
from kms_grpc.operations.contract.descriptors import numbers
from kms_grpc.v1 import keys_pb2 as pb


def key_metadata(key: Key) -> pb.KeyMetadata:
    """Returns a key's KeyMetadata. Members that AWS sends only sometimes are absent otherwise; Enabled is true only in
    the state Enabled."""
    metadata = pb.KeyMetadata(
        key_id=key.key_id,
        arn=key.arn,
        aws_account_id=key.account,
        key_state=number(pb.KeyState, key.state),
        enabled=key.state is KeyState.ENABLED,
        creation_date=timestamp(key.created_ns),
        description=key.description,
        key_spec=number(pb.KeySpec, key.spec),
        customer_master_key_spec=number(pb.KeySpec, key.spec),
        key_usage=number(pb.KeyUsageType, key.usage),
        origin=number(pb.OriginType, key.origin),
        key_manager=number(pb.KeyManagerType, KeyKind.CUSTOMER_MANAGED if key.kind is KeyKind.AWS_OWNED else key.kind),
        multi_region=key.multi_region,
    )
    if key.usage is KeyUsage.ENCRYPT_DECRYPT:
        algorithms = ENCRYPTION_ALGORITHMS[key.spec]
        metadata.encryption_algorithms.extend(number(pb.EncryptionAlgorithmSpec, each) for each in algorithms)
    if key.current_material_id is not None:
        metadata.current_key_material_id = key.current_material_id.hex()
    if key.origin is Origin.EXTERNAL and not key.material_missing:
        model = ExpirationModel.DOES_NOT_EXPIRE if key.expires_ns is None else ExpirationModel.EXPIRES
        metadata.expiration_model = number(pb.ExpirationModelType, model)
    if key.expires_ns is not None:
        metadata.valid_to.CopyFrom(timestamp(key.expires_ns))
    if key.deletion_ns is not None:
        metadata.deletion_date.CopyFrom(timestamp(key.deletion_ns))
    return metadata


def timestamp(time_ns: int) -> Timestamp:
    """Returns nanoseconds since 1970 as a Timestamp."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def number(enum: Any, name: str) -> Any:
    """Returns the number of the enum value that AWS spells `name`."""
    return numbers(enum.DESCRIPTOR)[name]
