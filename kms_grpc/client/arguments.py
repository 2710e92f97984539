"""Conversion of Python arguments into members of request messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from kms_grpc.v1 import keys_pb2, options_pb2

Context = Mapping[str, str]
"""Encryption context: pairs that are authenticated but not secret. The audit log shows them in clear."""


def by_aws_name(enum: Any, name: str | None) -> Any:
    """Returns the number of the enum value that AWS calls `name`; None for None. Raises ValueError for other names."""
    if name is None:
        return None
    known = {value.GetOptions().Extensions[options_pb2.aws_name]: value.number for value in enum.DESCRIPTOR.values}
    if name not in known:
        raise ValueError(f"{name!r} is not one of {', '.join(filter(None, known))}")
    return known[name]


def by_aws_names(enum: Any, names: Sequence[str]) -> list[Any]:
    """Returns the numbers of several values, as `by_aws_name` does of one."""
    return [by_aws_name(enum, name) for name in names]


def tags_of(tags: Mapping[str, str]) -> list[keys_pb2.Tag]:
    """Returns the tags as messages."""
    return [keys_pb2.Tag(tag_key=name, tag_value=value) for name, value in tags.items()]


def timestamp(time: datetime) -> Timestamp:
    """Returns the time as a message. Raises ValueError for a time without a time zone."""
    if time.tzinfo is None:
        raise ValueError("valid_to needs a time zone: datetime.now(UTC) + timedelta(days=30)")
    made = Timestamp()
    made.FromDatetime(time)
    return made


def expiration_model(valid_to: datetime | None) -> keys_pb2.ExpirationModelType.ValueType:
    """Returns the expiration model of key material that expires at `valid_to`, or never if that is None."""
    if valid_to is None:
        return keys_pb2.EXPIRATION_MODEL_TYPE_KEY_MATERIAL_DOES_NOT_EXPIRE
    return keys_pb2.EXPIRATION_MODEL_TYPE_KEY_MATERIAL_EXPIRES
