"""Answers as AWS's JSON has them: one function per message type, compiled from its descriptor.

For DecryptResponse it is

    def write(m):
        told = {}
        if v := m.key_id: told["KeyId"] = v
        if m.HasField("plaintext"): told["Plaintext"] = m.plaintext
        if v := m.encryption_algorithm: told["EncryptionAlgorithm"] = names_encryption_algorithm[v]
        …
        return told

Bytes become base64 where the dictionary is encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kms_grpc.operations.contract.descriptors import aws_names, is_always_sent, is_map

Writer = Callable[[Any], dict[str, Any]]


@cache
def writer_for(of: Descriptor) -> Writer:
    """What makes of a message its members: `{"KeyId": "arn:…", "Plaintext": b"…"}`."""
    names: dict[str, Any] = {}
    lines = ["def write(m):", " told = {}"]
    lines += [f" {_sent(field)} told[{field.json_name!r}] = {_conversion(field, names)}" for field in of.fields]
    exec("\n".join([*lines, " return told"]), names)  # noqa: S102 - made from our own descriptors alone
    made: Writer = names["write"]
    return made


def _sent(field: FieldDescriptor) -> str:
    """Sets `v` to the field's value, and goes on where it is sent."""
    if is_always_sent(field):
        return f"v = m.{field.name};"
    if field.has_presence:
        return f"if m.HasField({field.name!r}): v = m.{field.name};"
    return f"if v := m.{field.name}:"


def _conversion(field: FieldDescriptor, names: dict[str, Any]) -> str:
    if is_map(field):
        return "{k: v[k] for k in v}"
    if field.enum_type is not None:
        names[f"names_{field.name}"] = aws_names(field.enum_type)
        return f"[names_{field.name}[i] for i in v]" if field.is_repeated else f"names_{field.name}[v]"
    if field.message_type is None:
        return "list(v)" if field.is_repeated else "v"
    is_time = field.message_type.full_name == "google.protobuf.Timestamp"
    names[f"write_{field.name}"] = _seconds if is_time else writer_for(field.message_type)
    return f"[write_{field.name}(i) for i in v]" if field.is_repeated else f"write_{field.name}(v)"


def _seconds(time: Any) -> float:
    """As AWS sends times: to the millisecond."""
    return float(round(time.seconds + time.nanos / 1e9, 3))
