"""Which parts of a request stand in its audit record: all but secrets and blobs, under CloudTrail's names.

What is secret is marked in the protos (`debug_redact`); bytes are never recorded. The readers of a message type are made
once, from its descriptor. Enums are recorded in AWS's spelling.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.operations.descriptors import aws_names, camel_case, descriptor, is_map, is_secret


class _Member(NamedTuple):
    field: str
    member: str
    convert: Callable[[Any], Any] | None


def describe(message: Message) -> dict[str, Any] | None:
    """`{"keyId": "alias/a", "encryptionContext": {…}}`: what was sent and may be told; None where that is nothing."""
    described: dict[str, Any] = {}
    for field, name, convert in _members(type(message)):
        value = getattr(message, field)
        if value:
            described[name] = value if convert is None else convert(value)
    return described or None


@cache
def _members(message: type[Message]) -> tuple[_Member, ...]:
    fields = (field for field in descriptor(message).fields if not _is_left_out(field))
    return tuple(_Member(field.name, camel_case(field), _conversion(field)) for field in fields)


def _is_left_out(field: FieldDescriptor) -> bool:
    is_structure = field.type == FieldDescriptor.TYPE_MESSAGE and not is_map(field)
    return is_secret(field) or field.type == FieldDescriptor.TYPE_BYTES or is_structure


def _conversion(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    if is_map(field):
        return dict
    names = aws_names(field.enum_type) if field.enum_type is not None else None
    if field.is_repeated:
        return (lambda values: [names.get(value, value) for value in values]) if names else list
    return (lambda value: names.get(value, value)) if names else None
