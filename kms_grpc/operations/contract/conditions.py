"""The contract's limits as one expression per message, for the hot path.

Whether a request uses only what is built, and all of it within its limits, is compiled from the `limits` of its fields
into a single Python expression; for EncryptRequest that is

    not unknown(m) and (1 <= len(m.key_id) <= 2048) and (1 <= len(m.plaintext) <= 4096)
    and (m.encryption_algorithm in {1} or not m.encryption_algorithm) and not m.grant_tokens

so that a good request costs half a microsecond. Why a request is refused is told by `constraints`, which reads the
same limits the slow way; tests hold the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from kms_grpc.operations.contract.constraints import LimitsOf, constraints
from kms_grpc.operations.contract.descriptors import is_map, limits, numbers
from kms_grpc.v1.options_pb2 import Limits

Fits = Callable[[Message], bool]


def fits(descriptor: Descriptor, own: LimitsOf) -> Fits:
    """The predicate of a message type. `own` are limits that stand in for the contract's."""
    names: dict[str, Any] = {"unknown": UnknownFieldSet}
    terms = ["not unknown(m)"]
    for field in descriptor.fields:
        terms += _terms(field, own.get(field.name) or limits(field), names)
    predicate: Fits = eval(f"lambda m: {' and '.join(terms)}", names)  # noqa: S307 - made from our own descriptors alone
    return predicate


def _terms(field: FieldDescriptor, rule: Limits, names: dict[str, Any]) -> Iterator[str]:
    """The field's conditions. What they call is put into `names`."""
    present = f"m.HasField({field.name!r})" if field.has_presence else f"m.{field.name}"
    present = f"len({present}) > 0" if field.is_repeated else present
    if rule.unsupported:
        yield f"not m.{field.name}" if field.type == FieldDescriptor.TYPE_BOOL else f"not {present}"
        return
    if rule.required and rule.min < 1:
        yield present
    within = " and ".join([*_size_terms(field, rule), *_value_terms(field, rule, names)])
    if within:
        yield within if rule.required else f"({within} or not {present})"


def _size_terms(field: FieldDescriptor, rule: Limits) -> Iterator[str]:
    counted = field.is_repeated or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    size = f"len(m.{field.name})" if counted else f"m.{field.name}"
    low = f"{rule.min} <= " if rule.HasField("min") else ""
    high = f" <= {rule.max}" if rule.HasField("max") else ""
    if low or high:
        yield f"({low}{size}{high})"


def _value_terms(field: FieldDescriptor, rule: Limits, names: dict[str, Any]) -> Iterator[str]:
    value = f"m.{field.name}"
    if field.enum_type is not None:
        known = numbers(field.enum_type)
        built = ", ".join(str(known[name]) for name in rule.supported or known)
        yield f"{{{built}}}.issuperset({value})" if field.is_repeated else f"{value} in {{{built}}}"
        return
    check = _check(field, rule)
    if check is not None:
        names[f"{field.name}_fits"] = check
        yield f"all(map({field.name}_fits, {value}))" if field.is_repeated else f"{field.name}_fits({value})"


def _check(field: FieldDescriptor, rule: Limits) -> Callable[[Any], bool] | None:
    """What can't be written as an expression: a message of its own, a pattern, the sizes of a list's items."""
    if field.message_type is not None:
        if rule.judged_apart:
            return lambda item: not UnknownFieldSet(item)
        return None if is_map(field) else fits(field.message_type, {})
    if field.is_repeated:
        items = rule.items
        return (
            (lambda item: all(holds for holds, _ in constraints(field, items, item)))
            if rule.HasField("items")
            else None
        )
    matches = re.compile(rule.pattern).fullmatch
    return (lambda text: matches(text) is not None) if rule.pattern else None


def _is_within(field: FieldDescriptor, rule: Limits, value: Any) -> bool:
    return all(holds for holds, _ in constraints(field, rule, value))
