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
to its default, as CloudTrail does. Of a batch's items their number is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from kms_grpc.operations.contract.constraints import SHOWN_ITEMS
from kms_grpc.operations.contract.descriptors import (
    aws_names,
    camel_case,
    descriptor,
    is_map,
    is_secret,
    limits,
    numbers,
)

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
        return f"{_present(field)}:"
    return f"v = m.{field.name} or {numbers(field.enum_type)[default]};"


def _is_left_out(field: FieldDescriptor) -> bool:
    """Secrets, blobs, and structures that no call can use yet."""
    is_unbuilt = _is_structure(field) and limits(field).unsupported
    return is_secret(field) or field.type == FieldDescriptor.TYPE_BYTES or is_unbuilt


def _is_structure(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not is_map(field)


def _present(field: FieldDescriptor) -> str:
    """The condition that names the field's value `v`. A message is never false by itself."""
    value = f"v := m.{field.name}"
    if _is_structure(field) and not field.is_repeated:
        return f"if m.HasField({field.name!r}) and ({value})"
    return f"if {value}"


def _conversion(field: FieldDescriptor, names: dict[str, Any]) -> str:
    """The expression for what JSON holds of the value `v`. Enums are told in AWS's spelling."""
    if is_map(field):
        return "{k: v[k] for k in v}"
    if limits(field).judged_apart:
        return "len(v)"
    if field.message_type is not None:
        return _structure(field, names)
    if field.enum_type is None:
        return "list(v)" if field.is_repeated else "v"
    spelled = f"names_{field.name}"
    names[spelled] = aws_names(field.enum_type)
    return f"[{spelled}.get(i, i) for i in v]" if field.is_repeated else f"{spelled}.get(v, v)"


def _structure(field: FieldDescriptor, names: dict[str, Any]) -> str:
    """A time in ISO 8601, any other message by a describer of its own; of a list no more than it may have."""
    assert field.message_type is not None
    described, message = f"describe_{field.name}", GetMessageClass(field.message_type)
    names[described] = _time if message is Timestamp else describer_for(message)
    if field.is_repeated:
        return f"[{described}(i) or {{}} for i in v[:{limits(field).max or SHOWN_ITEMS}]]"
    return f"{described}(v) or {{}}"


def _time(time: Timestamp) -> str:
    """Also of a time that is none: a record is made before a request is judged."""
    try:
        return time.ToJsonString()
    except ValueError:
        return f"{time.seconds} s"
