"""Which parts of a request stand in its audit record: all but secrets and blobs, under CloudTrail's names.

What is secret is marked in the protos (`debug_redact`); bytes are never recorded. One function per message type is
compiled from its descriptor; for EncryptRequest it is

    def describe(m):
        told = {}
        if v := m.key_id: told["keyId"] = v
        if v := m.encryption_context: told["encryptionContext"] = {k: v[k] for k in v}
        v = m.encryption_algorithm or 1; told["encryptionAlgorithm"] = names_encryption_algorithm.get(v, v)
        if v := m.dry_run: told["dryRun"] = v
        return told or None

so that a record costs a microsecond less than by walking the descriptor. The algorithm is told also where it was left
to its default, as CloudTrail does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.operations.descriptors import aws_names, camel_case, descriptor, is_map, is_secret, numbers

Describer = Callable[[Any], dict[str, Any] | None]

DEFAULTS = {"EncryptionAlgorithmSpec": "SYMMETRIC_DEFAULT"}
"""Enums that are recorded also where they were not sent, and what that means."""


def describer_for(message: type[Message]) -> Describer:
    """What was sent and may be told: `{"keyId": "alias/a", "encryptionContext": {…}}`; None where that is nothing."""
    names: dict[str, Any] = {}
    lines = ["def describe(m):", " told = {}"]
    for field in descriptor(message).fields:
        if not _is_left_out(field):
            lines.append(f" {_sent(field)} told[{camel_case(field)!r}] = {_conversion(field, names)}")
    exec("\n".join([*lines, " return told or None"]), names)  # noqa: S102 - made from our own descriptors alone
    made: Describer = names["describe"]
    return made


def _sent(field: FieldDescriptor) -> str:
    """Sets `v` to the field's value, and goes on where there is something to tell."""
    default = DEFAULTS.get(field.enum_type.name) if field.enum_type is not None else None
    if default is None:
        return f"if v := m.{field.name}:"
    return f"v = m.{field.name} or {numbers(field.enum_type)[default]};"


def _is_left_out(field: FieldDescriptor) -> bool:
    is_structure = field.type == FieldDescriptor.TYPE_MESSAGE and not is_map(field)
    return is_secret(field) or field.type == FieldDescriptor.TYPE_BYTES or is_structure


def _conversion(field: FieldDescriptor, names: dict[str, Any]) -> str:
    """The expression for what JSON holds of the value `v`. Enums are told in AWS's spelling."""
    if is_map(field):
        return "{k: v[k] for k in v}"
    if field.enum_type is None:
        return "list(v)" if field.is_repeated else "v"
    spelled = f"names_{field.name}"
    names[spelled] = aws_names(field.enum_type)
    return f"[{spelled}.get(i, i) for i in v]" if field.is_repeated else f"{spelled}.get(v, v)"
