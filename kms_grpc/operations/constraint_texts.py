"""What is wrong with a request, in AWS's words.

AWS collects all violated constraints of a request in one ValidationException:

    2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; Value at
    'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096

Members are spelled in camelCase and list positions count from 1 (`tags.1.member.tagKey`). Of blobs and secrets no value
is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import FieldDescriptor

from kms_grpc.operations.descriptors import is_secret

SHOWN_VALUE_BYTES = 257
"""A value is shown up to here: one more than the longest name that is worth reading, an alias of 256 characters."""

TEXT_BYTES = 800
"""Longest text: it travels twice in trailers of 4 KiB, once percent-encoded and once in base64."""


def member(field: FieldDescriptor) -> str:
    """`KeyId` is `keyId` in AWS's constraint texts."""
    return field.json_name[0].lower() + field.json_name[1:]


def violation(field: FieldDescriptor, path: str, value: object, constraint: str) -> str:
    """One violated constraint. `value` is None for an absent member."""
    return f"Value{_shown(field, value)} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(field: FieldDescriptor, value: object) -> str:
    if value is None:
        return " null"
    if field.type == FieldDescriptor.TYPE_BYTES or is_secret(field):
        return ""
    return f" '{cut(str(value), SHOWN_VALUE_BYTES)}'"


def validation_errors(violations: Sequence[str]) -> str:
    """The text of the ValidationException that reports `violations`."""
    count = len(violations)
    detected = "1 validation error detected" if count == 1 else f"{count} validation errors detected"
    return cut(f"{detected}: {'; '.join(violations)}", TEXT_BYTES)


def cut(text: str, size: int) -> str:
    """`text`, or as much of it as fits into `size` bytes of UTF-8, and an ellipsis."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore") + "…"


def not_null() -> str:
    return "Member must not be null"


def at_least(minimum: int, *, length: bool) -> str:
    return f"Member must have {'length' if length else 'value'} greater than or equal to {minimum}"


def at_most(maximum: int, *, length: bool) -> str:
    return f"Member must have {'length' if length else 'value'} less than or equal to {maximum}"


def one_of(names: Sequence[str]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(names)}]"


def matching(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def each(constraints: Sequence[str]) -> str:
    """Constraints of a list's items, which AWS reports for the list as a whole."""
    return f"Member must satisfy constraint: [{', '.join(constraints)}]"
