"""Turns protobuf messages into dictionaries of AWS's members.

One walker over descriptors serves the AWS door's answers, the audit records and the CLI's JSON. They differ in what a
`Shape` says: how members are spelled, which are present, and how times and blobs are written. A reader is made once per
message type, from closures: against code generated from the descriptor with `exec` this costs 0.5 µs more per message,
which is below 1% of a call at either door.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from kms_grpc.v1 import options_pb2

Reader: TypeAlias = Callable[[Any], dict[str, Any]]
"""Returns the members of a message: `{"KeyId": "arn:…", "Plaintext": b"…"}`."""
Convert: TypeAlias = Callable[[Any], Any]


class Presence(enum.Enum):
    """When a field becomes a member."""

    ALWAYS = enum.auto()
    IF_SET = enum.auto()
    """HasField says so."""
    IF_NOT_EMPTY = enum.auto()
    """Its value is not 0, false, "" or empty."""
    NEVER = enum.auto()


@dataclass(frozen=True, slots=True)
class Shape:
    """How messages are written as members."""

    name: Callable[[FieldDescriptor], str]
    presence: Callable[[FieldDescriptor], Presence]
    time: Convert
    """Writes a google.protobuf.Timestamp."""
    blob: Convert | None = None
    """Writes a value of bytes; None leaves it as it is."""
    unknown: Convert = int
    """Writes a number that the enum does not have."""
    default: Callable[[FieldDescriptor], int] = lambda field: 0
    """Returns the number that an enum field stands for where it was not sent."""
    convert: Callable[[FieldDescriptor], Convert | None] = lambda field: None
    """Returns a conversion that replaces the usual one of a field, or None."""
    structure: Callable[[Descriptor], Reader] | None = None
    """Returns the reader of a nested message; None uses this shape for nested messages too."""


class _Member(NamedTuple):
    name: str
    value: Callable[[Any], Any]
    is_present: Callable[[Any], bool] | None
    """None where a value that is not empty is present."""
    convert: Convert | None


def reader_for(of: Descriptor, shape: Shape) -> Reader:
    """Returns the reader of a message type. Members come in the order of the fields."""
    members = tuple(_member(field, shape) for field in of.fields if shape.presence(field) is not Presence.NEVER)

    def read(message: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value_of, is_present, convert in members:
            value = value_of(message)
            if value if is_present is None else is_present(message):
                found[name] = value if convert is None else convert(value)
        return found

    return read


def _member(field: FieldDescriptor, shape: Shape) -> _Member:
    return _Member(shape.name(field), _value(field, shape), _presence(field, shape), _conversion(field, shape))


def _value(field: FieldDescriptor, shape: Shape) -> Callable[[Any], Any]:
    value, default = attrgetter(field.name), shape.default(field)
    return (lambda message: value(message) or default) if default else value


def _presence(field: FieldDescriptor, shape: Shape) -> Callable[[Any], bool] | None:
    presence = shape.presence(field)
    if presence is Presence.IF_SET:
        return methodcaller("HasField", field.name)
    return (lambda message: True) if presence is Presence.ALWAYS else None


def _conversion(field: FieldDescriptor, shape: Shape) -> Convert | None:
    own = shape.convert(field)
    if own is not None:
        return own
    if is_map(field):
        return lambda pairs: {name: pairs[name] for name in pairs}
    single = single_conversion(field, shape)
    if field.is_repeated:
        return list if single is None else lambda items: [single(item) for item in items]
    return single


def single_conversion(field: FieldDescriptor, shape: Shape) -> Convert | None:
    """Returns how one value of the field is written: of a list, one of its items. None leaves the value as it is."""
    if field.enum_type is not None:
        names, unknown = aws_names(field.enum_type), shape.unknown
        return lambda number: names[number] if number in names else unknown(number)
    if field.message_type is not None:
        if is_time(field):
            return shape.time
        return shape.structure(field.message_type) if shape.structure else reader_for(field.message_type, shape)
    return shape.blob if field.type == FieldDescriptor.TYPE_BYTES else None


def is_map(field: FieldDescriptor) -> bool:
    """Returns whether the field is a map, as encryption contexts are."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def is_time(field: FieldDescriptor) -> bool:
    """Returns whether the field holds a google.protobuf.Timestamp."""
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"


@cache
def aws_names(of: EnumDescriptor) -> dict[int, str]:
    """Returns AWS's spelling of each value, in the contract's order. The value 0 means "absent" and has none."""
    return {value.number: value.GetOptions().Extensions[options_pb2.aws_name] for value in of.values if value.number}
