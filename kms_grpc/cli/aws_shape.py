"""Answers as plain data, as `--output json` prints them for programs.

Member names and enum values are AWS's. Blobs are base64, times are ISO 8601.
"""

from __future__ import annotations

import base64
from datetime import UTC
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kms_grpc.v1 import options_pb2


def to_aws(message: Message) -> dict[str, Any]:
    """Returns the members that are present in an answer. Lists are present even when they are empty."""
    return _members(message, empty_lists=True)


def _members(message: Message, empty_lists: bool = False) -> dict[str, Any]:
    shown = (field for field in message.DESCRIPTOR.fields if _is_present(message, field, empty_lists))
    return {field.json_name: _value(field, getattr(message, field.name)) for field in shown}


def _is_present(message: Message, field: Any, empty_lists: bool) -> bool:
    if field.has_presence:
        return message.HasField(field.name)
    if field.is_repeated:
        return empty_lists or bool(getattr(message, field.name))
    return field.enum_type is None or getattr(message, field.name) != 0


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC).isoformat(timespec="milliseconds")
    if isinstance(value, Message):
        return _members(value)
    return value if field.enum_type is None else _aws_name(field, value)


def _aws_name(field: Any, number: int) -> str:
    value = field.enum_type.values_by_number.get(number)
    return str(value.GetOptions().Extensions[options_pb2.aws_name] if value else number)
