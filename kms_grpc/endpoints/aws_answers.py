"""Writes answers as the members of AWS's JSON: `{"KeyId": "arn:…", "Plaintext": b"…"}`.

A member is present where AWS sends it: always (the option `always_sent`), where the field is set, or where a field
without presence is not empty. Bytes become base64 where the dictionary is encoded.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kms_grpc.aws_members import Presence, Reader, Shape, reader_for
from kms_grpc.operations.contract.descriptors import is_always_sent


@cache
def members_of(answer: Descriptor) -> Reader:
    """Returns the function that makes an answer's members."""
    return reader_for(answer, _SHAPE)


def _presence(field: FieldDescriptor) -> Presence:
    if is_always_sent(field):
        return Presence.ALWAYS
    return Presence.IF_SET if field.has_presence else Presence.IF_NOT_EMPTY


def _seconds(time: Any) -> float:
    """Returns seconds since 1970, to the millisecond, as AWS sends them."""
    return float(round(time.seconds + time.nanos / 1e9, 3))


_SHAPE = Shape(name=lambda field: field.json_name, presence=_presence, time=_seconds)
