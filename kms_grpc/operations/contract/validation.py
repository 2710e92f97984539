"""Decodes and validates requests.

Order of refusals: bytes that are not such a message, unknown fields, constraints of single fields (all of them in one
ValidationException), rules between fields (ValidationException), features that are not supported
(UnsupportedOperationException, which names the member).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from kms_grpc.aws_members import aws_names, is_map
from kms_grpc.errors import UnsupportedOperationException, ValidationException
from kms_grpc.operations.contract.conditions import fits
from kms_grpc.operations.contract.constraints import NO_SPELLINGS, LimitsOf, Spellings, is_absent, summary, violations
from kms_grpc.operations.contract.cross_field_rules import CROSS_FIELD_RULES
from kms_grpc.operations.contract.descriptors import descriptor, field_named, limits
from kms_grpc.v1.options_pb2 import Limits

M = TypeVar("M", bound=Message)
Validator = Callable[..., None]
"""Takes the request, and the values in it that its message cannot hold (constraints.Spellings). Raises KMSError."""


def decode(message_class: type[M], raw: bytes) -> M:
    """Returns the message in `raw`. Raises ValidationException if it is not such a message, or a string is not
    UTF-8."""
    try:
        return message_class.FromString(raw)
    except DecodeError:
        name = message_class.DESCRIPTOR.full_name
        raise ValidationException(
            f"The request can't be read as {name}: it is cut short or damaged, or a string in it is not UTF-8."
        ) from None


@cache
def validator_for(
    message_class: type[Message], largest: tuple[tuple[str, int], ...] = (), *, knows_absent_lists: bool = False
) -> Validator:
    """Returns the function that raises ValidationException or UnsupportedOperationException for a request that the
    contract does not allow.

    `largest` are a door's own maxima, e.g. (("ciphertext_blob", 6144),). `knows_absent_lists`: the door notes empty
    lists as spellings, so another empty list is an absent one; protobuf has no absent lists. Made once per message type
    and door.
    """
    own = {name: _with_max(field_named(message_class, name), value) for name, value in largest}
    if not knows_absent_lists:
        own |= {field.name: _not_required(field) for field in descriptor(message_class).fields if _may_be_empty(field)}
    is_good = fits(descriptor(message_class), own)
    cross_field_rule = CROSS_FIELD_RULES.get(message_class)

    def validate(message: Message, spellings: Spellings = NO_SPELLINGS) -> None:
        good = is_good(message) and not spellings
        if not good:
            refuse_unknown_fields(message)
            _refuse_violations(message, own, spellings)
        if cross_field_rule is not None:
            cross_field_rule(message)
        if not good:
            refuse_unsupported(message)

    return validate


def refuse_unknown_fields(message: Message) -> None:
    """Raises ValidationException if `message`, or a message in it, has a field that the contract does not have."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise ValidationException(f"{descriptor(message).name}: {_about(message, unknown[0].field_number)}.")
    for field, value in message.ListFields():
        if field.message_type is not None and not is_map(field):
            for item in _items_to_read(field, value) if field.is_repeated else (value,):
                refuse_unknown_fields(item)


def _items_to_read(field: FieldDescriptor, items: Any) -> Any:
    """Returns no items of a list that is too long: a message of 4 MiB can hold two million empty items."""
    return () if limits(field).HasField("max") and len(items) > limits(field).max else items


def _about(message: Message, number: int) -> str:
    known = descriptor(message).fields_by_number.get(number)
    return f"{known.json_name} is not encoded as its type says" if known else f"unknown field, number {number}"


def _with_max(field: FieldDescriptor, largest: int) -> Limits:
    own = Limits()
    own.CopyFrom(limits(field))
    own.max = largest
    return own


def _may_be_empty(field: FieldDescriptor) -> bool:
    """Returns whether the field is a list that is required and has no minimum."""
    return field.is_repeated and limits(field).required and not limits(field).HasField("min")


def _not_required(field: FieldDescriptor) -> Limits:
    own = Limits()
    own.CopyFrom(limits(field))
    own.required = False
    return own


def _refuse_violations(message: Message, own: LimitsOf, spellings: Spellings) -> None:
    violated = list(violations(message, own, spellings))
    if violated:
        raise ValidationException(summary(violated))


def refuse_unsupported(message: Message) -> None:
    """Raises UnsupportedOperationException if a message without violations uses a feature that is not supported."""
    for field in descriptor(message).fields:
        if is_absent(message, field):
            continue
        value, rule = getattr(message, field.name), limits(field)
        if rule.unsupported:
            raise UnsupportedOperationException(f"{field.json_name} is not supported yet: send the request without it.")
        _refuse_unsupported_values(field, rule, value)


def _refuse_unsupported_values(field: FieldDescriptor, rule: Limits, value: Any) -> None:
    if not rule.supported:
        return
    for number in value if field.is_repeated else (value,):
        name = aws_names(field.enum_type)[number]
        if name not in rule.supported:
            built = ", ".join(rule.supported)
            raise UnsupportedOperationException(f"{field.json_name} {name} is not supported yet; supported: {built}.")
