"""Reads the facts that the protos declare as options: limits, AWS's spellings, permissions.

The options are declared in protos/kms_grpc/v1/options.proto.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from kms_grpc.aws_members import aws_names
from kms_grpc.v1 import options_pb2
from kms_grpc.v1.options_pb2 import Limits


def descriptor(message: Message | type[Message]) -> Descriptor:
    """Returns the descriptor of a message or its class. protobuf's type stubs know two classes of it; there is one."""
    return cast("Descriptor", message.DESCRIPTOR)


def field_named(message_class: type[Message], name: str) -> FieldDescriptor:
    """Returns a field by its proto name."""
    return cast("FieldDescriptor", message_class.DESCRIPTOR.fields_by_name[name])


def limits(field: FieldDescriptor) -> Limits:
    """Returns the limits of a field; all members are unset where the contract has none."""
    return field.GetOptions().Extensions[options_pb2.limits]


def field_limits(message_class: type[Message], name: str) -> Limits:
    """Returns a field's limits by its proto name: `field_limits(ListKeysRequest, "limit").default_value` is 100."""
    return limits(field_named(message_class, name))


def value_or_default(request: Message, name: str) -> int:
    """Returns a number as sent, or the contract's default for it (`limits.default_value`)."""
    if request.HasField(name):
        return int(getattr(request, name))
    return field_limits(type(request), name).default_value


def is_secret(field: FieldDescriptor) -> bool:
    """Returns whether the option `secret` marks the field: its value must not be shown."""
    return bool(field.GetOptions().Extensions[options_pb2.secret])


def is_always_sent(field: FieldDescriptor) -> bool:
    """Returns whether AWS sends the member even where it is false, 0, "" or empty."""
    return bool(field.GetOptions().Extensions[options_pb2.always_sent])


def aws_maxima(message_class: type[Message]) -> tuple[tuple[str, int], ...]:
    """Returns the maxima of the AWS door that are lower than the contract's: (("ciphertext_blob", 6144),)."""
    fields = descriptor(message_class).fields
    return tuple((field.name, limits(field).aws_max) for field in fields if limits(field).HasField("aws_max"))


def camel_case(field: FieldDescriptor) -> str:
    """Returns a member's name as AWS's constraint texts and CloudTrail's records spell it: keyId for KeyId."""
    return field.json_name[0].lower() + field.json_name[1:]


def permissions(method: MethodDescriptor) -> tuple[str, ...]:
    """Returns the IAM actions that an rpc needs, e.g. ("kms:ReEncryptFrom", "kms:ReEncryptTo")."""
    return tuple(method.GetOptions().Extensions[options_pb2.permissions])


@cache
def numbers(enum: EnumDescriptor) -> dict[str, int]:
    """Returns the number of each value by AWS's spelling: `numbers(KeyState.DESCRIPTOR)["PendingDeletion"]` is 4."""
    return {name: number for number, name in aws_names(enum).items()}
