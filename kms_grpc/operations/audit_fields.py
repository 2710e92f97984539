"""Which parts of a request stand in its audit record: all but secrets and blobs, under CloudTrail's names.

What is secret is marked in the protos (`debug_redact`); bytes are never recorded. One function per message type is
compiled from its descriptor; for EncryptRequest it is

    def describe(m):
        told = {}
        if v := m.key_id: told["keyId"] = v
        if v := m.encryption_context: told["encryptionContext"] = {k: v[k] for k in v}
        if v := m.encryption_algorithm: told["encryptionAlgorithm"] = names_encryption_algorithm.get(v, v)
        if v := m.dry_run: told["dryRun"] = v
        return told or None

so that a record costs a microsecond less than by walking the descriptor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.operations.descriptors import aws_names, camel_case, descriptor, is_map, is_secret

Describer = Callable[[Any], dict[str, Any] | None]


def describer_for(message: type[Message]) -> Describer:
    """What was sent and may be told: `{"keyId": "alias/a", "encryptionContext": {…}}`; None where that is nothing."""
    names: dict[str, Any] = {}
    lines = ["def describe(m):", " told = {}"]
    for field in descriptor(message).fields:
        if not _is_left_out(field):
            lines.append(f" if v := m.{field.name}: told[{camel_case(field)!r}] = {_conversion(field, names)}")
    exec("\n".join([*lines, " return told or None"]), names)  # noqa: S102 - made from our own descriptors alone
    made: Describer = names["describe"]
    return made


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
