"""Answers as plain data, as `--output json` prints them for programs.

Member names and enum values are AWS's. Blobs are base64, times are ISO 8601.
"""

from __future__ import annotations

import base64
from datetime import UTC
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.aws_members import Presence, Reader, Shape, reader_for


def to_aws(message: Message) -> dict[str, Any]:
    """Returns the members that are present in an answer. The answer's own lists are present even when they are empty;
    empty lists of nested structures are not."""
    of: Any = message.DESCRIPTOR
    return _answer(of)(message)


@cache
def _answer(of: Descriptor) -> Reader:
    return reader_for(of, _ANSWER)


@cache
def _structure(of: Descriptor) -> Reader:
    return reader_for(of, _STRUCTURE)


def _presence_in_answer(field: FieldDescriptor) -> Presence:
    return Presence.ALWAYS if field.is_repeated else _presence(field)


def _presence(field: FieldDescriptor) -> Presence:
    if field.has_presence:
        return Presence.IF_SET
    return Presence.IF_NOT_EMPTY if field.is_repeated or field.enum_type is not None else Presence.ALWAYS


def _shape(presence: Any) -> Shape:
    return Shape(
        name=lambda field: field.json_name,
        presence=presence,
        time=lambda time: time.ToDatetime(UTC).isoformat(timespec="milliseconds"),
        blob=lambda blob: base64.b64encode(blob).decode(),
        unknown=str,
        structure=_structure,
    )


_ANSWER, _STRUCTURE = _shape(_presence_in_answer), _shape(_presence)
