"""Writes responses as the members of AWS's JSON: `{"KeyId": "arn:…", "Plaintext": b"…"}`.

A member is present where AWS sends it: always (the option `always_sent`), if the field is set, or, for a field without
presence, if it is not empty. Bytes stay bytes here; the JSON encoder writes them as base64.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kms_grpc.aws_members import Presence, Reader, Shape, reader_for
from kms_grpc.operations.contract.descriptors import is_always_sent


@cache
def members_of(answer: Descriptor) -> Reader:
    """Returns the function that makes the members of a response."""
    return reader_for(answer, _SHAPE)


def _presence(field: FieldDescriptor) -> Presence:
    if is_always_sent(field):
        return Presence.ALWAYS
    return Presence.IF_SET if field.has_presence else Presence.IF_NOT_EMPTY


def _seconds(time: Any) -> float:
    """Returns seconds since 1970, rounded to milliseconds as AWS sends them."""
    return float(round(time.seconds + time.nanos / 1e9, 3))


_SHAPE = Shape(name=lambda field: field.json_name, presence=_presence, time=_seconds)
