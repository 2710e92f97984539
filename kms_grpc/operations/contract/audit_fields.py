"""Selects which parts of a request its audit record has: all but secrets and blobs, under CloudTrail's names.

The protos mark secrets (`secret`); bytes are never recorded. As in CloudTrail, the encryption algorithm is
recorded also where the request left it to its default. For the items of a batch, the record has their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kms_grpc.aws_members import Convert, Presence, Reader, Shape, is_map, reader_for, single_conversion
from kms_grpc.model.key_spec import SYMMETRIC_DEFAULT
from kms_grpc.operations.contract.constraints import SHOWN_ITEMS
from kms_grpc.operations.contract.descriptors import camel_case, descriptor, is_secret, limits, numbers

Describer = Callable[[Any], dict[str, Any] | None]

DEFAULTS = {"EncryptionAlgorithmSpec": SYMMETRIC_DEFAULT}
"""Enums that are recorded also where they were not sent, and the value that stands for their absence."""


def describer_for(message: type[Message]) -> Describer:
    """Returns the function that makes a request's requestParameters: `{"keyId": "alias/a", "encryptionContext": {…}}`,
    or None where there are none. It takes any request, since records are made before requests are validated."""
    read = reader_for(descriptor(message), _SHAPE)
    return lambda request: read(request) or None


def _presence(field: FieldDescriptor) -> Presence:
    if _is_left_out(field):
        return Presence.NEVER
    return Presence.IF_SET if _is_structure(field) and not field.is_repeated else Presence.IF_NOT_EMPTY


def _is_left_out(field: FieldDescriptor) -> bool:
    """Returns whether the field is a secret, a blob, or a structure that is not supported yet."""
    is_unsupported = _is_structure(field) and limits(field).unsupported
    return is_secret(field) or field.type == FieldDescriptor.TYPE_BYTES or is_unsupported


def _is_structure(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not is_map(field)


def _default(field: FieldDescriptor) -> int:
    name = DEFAULTS.get(field.enum_type.name) if field.enum_type is not None else None
    return 0 if name is None else numbers(field.enum_type)[name]


def _conversion(field: FieldDescriptor) -> Convert | None:
    """Returns the conversion of a list of structures: to the number of a batch's items, else to no more structures than
    the list may have."""
    if not (field.is_repeated and _is_structure(field)):
        return None
    if limits(field).judged_apart:
        return len
    single, most = single_conversion(field, _SHAPE) or list, limits(field).max or SHOWN_ITEMS
    return lambda items: [single(item) for item in items[:most]]


def _time(time: Timestamp) -> str:
    """Returns ISO 8601, or the seconds of a time that is out of range."""
    try:
        return time.ToJsonString()
    except ValueError:
        return f"{time.seconds} s"


def _structure(of: Descriptor) -> Reader:
    return reader_for(of, _SHAPE)


_SHAPE = Shape(
    name=camel_case, presence=_presence, time=_time, default=_default, convert=_conversion, structure=_structure
)
