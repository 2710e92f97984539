"""Constraints on the fields of a request, and AWS's texts for those that it violates.

AWS collects all violated constraints of a request in one ValidationException:

    2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; Value at
    'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096

Members are spelled in camelCase and list positions count from 1 (`tags.1.member.tagKey`). Values of blobs and secrets
are not shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.aws_members import aws_names, is_map
from kms_grpc.errors import TEXT_BYTES
from kms_grpc.operations.contract.descriptors import camel_case, descriptor, is_secret, limits
from kms_grpc.v1.options_pb2 import Limits

SHOWN_VALUE_BYTES = 257
"""Longest value that is shown: an alias of 256 characters, and one byte that shows that a longer name goes on."""

SHOWN_ITEMS = 20

NOT_NULL = "Member must not be null"

LimitsOf = dict[str, Limits]
"""Limits of a message's own fields that differ from the contract's, by the field's proto name."""

Spellings = Mapping[int | str, str]
"""Values in a request that its message cannot hold: an unknown enum value, by the number that the message has in its
place; "" for an empty string or list without presence, by its path (`tags.1.member.tagKey`, `tags`)."""
NO_SPELLINGS: Spellings = {}


def violations(message: Message, own: LimitsOf, spellings: Spellings = NO_SPELLINGS, prefix: str = "") -> Iterator[str]:
    """Yields all violated constraints of `message`, depth first. `prefix` is the path of the message itself."""
    for field in descriptor(message).fields:
        path = prefix + camel_case(field)
        rule = own.get(field.name) or limits(field)
        if is_absent(message, field) and path not in spellings:
            if rule.required:
                yield _violation(path, " null", NOT_NULL)
            continue
        value = getattr(message, field.name)
        broken = list(_broken(field, rule, value))
        if broken:
            shown = _shown(field, value, spellings)
            yield from (_violation(path, shown, constraint) for constraint in broken)
        else:
            yield from _inside(field, value, spellings, path)


def is_absent(message: Message, field: FieldDescriptor) -> bool:
    """Returns whether the field is absent. A field without presence is absent when empty."""
    if field.has_presence:
        return not message.HasField(field.name)
    return not getattr(message, field.name)


def _inside(field: FieldDescriptor, value: Any, spellings: Spellings, path: str) -> Iterator[str]:
    """Yields the violations inside a message, or inside each message of a list."""
    if field.message_type is None or is_map(field):
        return
    if limits(field).judged_apart:
        return
    if not field.is_repeated:
        yield from violations(value, {}, spellings, f"{path}.")
        return
    for position, item in enumerate(value, start=1):
        yield from violations(item, {}, spellings, f"{path}.{position}.member.")


def _broken(field: FieldDescriptor, rule: Limits, value: Any) -> Iterator[str]:
    """Yields the constraints that a field's value violates; those of a list's items are one text."""
    checked = _range(rule, len(value), "length") if field.is_repeated else constraints(field, rule, value)
    broken = [text for holds, text in checked if not holds]
    yield from broken
    if broken or not field.is_repeated:
        return
    if any(not holds for item in value for holds, _ in constraints(field, rule.items, item)):
        texts = (text for _, text in constraints(field, rule.items, value[0]))
        yield f"Member must satisfy constraint: [{', '.join(texts)}]"


def constraints(field: FieldDescriptor, rule: Limits, value: Any) -> Iterator[tuple[bool, str]]:
    """Yields each constraint on one value: whether it holds, and its text."""
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        yield from _range(rule, len(value), "length")
    elif field.enum_type is not None:
        names = aws_names(field.enum_type)
        yield value in names, f"Member must satisfy enum value set: [{', '.join(names.values())}]"
    elif field.message_type is None:
        yield from _range(rule, value, "value")
    if rule.pattern:
        matches = re.fullmatch(rule.pattern, value) is not None
        yield matches, f"Member must satisfy regular expression pattern: {rule.pattern}"


def _range(rule: Limits, size: int, what: str) -> Iterator[tuple[bool, str]]:
    if rule.HasField("max"):
        yield size <= rule.max, f"Member must have {what} less than or equal to {rule.max}"
    if rule.HasField("min"):
        yield size >= rule.min, f"Member must have {what} greater than or equal to {rule.min}"


def _violation(path: str, shown: str, constraint: str) -> str:
    return f"Value{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(field: FieldDescriptor, value: Any, spellings: Spellings) -> str:
    if field.type == FieldDescriptor.TYPE_BYTES or is_secret(field):
        return ""
    items = islice(value, SHOWN_ITEMS) if field.is_repeated else (value,)
    shown = ", ".join(_spelled(field, item, spellings) for item in items)
    return f" '{cut(f'[{shown}]' if field.is_repeated else shown, SHOWN_VALUE_BYTES)}'"


def _spelled(field: FieldDescriptor, value: Any, spellings: Spellings) -> str:
    if field.message_type is not None:
        return field.message_type.name
    if field.enum_type is None:
        return str(value)
    return aws_names(field.enum_type).get(value) or spellings.get(value, str(value))


def not_null(field: FieldDescriptor) -> str:
    """Returns the text of the ValidationException for a required member that is absent."""
    return summary([_violation(camel_case(field), " null", NOT_NULL)])


def summary(violated: Sequence[str]) -> str:
    """Returns the text of the ValidationException that reports `violated`."""
    count = len(violated)
    detected = "1 validation error detected" if count == 1 else f"{count} validation errors detected"
    return cut(f"{detected}: {'; '.join(violated)}", TEXT_BYTES)


def cut(text: str, size: int) -> str:
    """Returns `text`, or as much of it as fits into `size` bytes of UTF-8, and an ellipsis."""
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore") + "…"
