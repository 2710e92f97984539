"""A field's limits as two things: a condition that is quick to check, and the words for what it violates.

Both are made from the field's `limits` in the contract. The condition is Python source over the message `m`, so that a
message's conditions can be joined into one expression, e.g. for EncryptRequest

    not unknown(m) and 1 <= len(m.key_id) <= 2048 and 1 <= len(m.plaintext) <= 4096 and m.encryption_algorithm in {0, 1}

It holds for a message that uses only what is built, within its limits. Where it doesn't, `violations` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.operations import constraint_texts as texts
from kms_grpc.operations.descriptors import aws_names, limits, numbers
from kms_grpc.v1.options_pb2 import Limits

MEASURED_BY_LENGTH = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One field and its limits. `limits` differs from the contract's only where a door's own limit stands in."""

    field: FieldDescriptor
    limits: Limits

    @property
    def is_message(self) -> bool:
        return self.field.message_type is not None and not self.is_map

    @property
    def is_map(self) -> bool:
        kind = self.field.message_type
        return kind is not None and bool(kind.GetOptions().map_entry)

    def is_absent(self, message: Message) -> bool:
        """Whether the field isn't there; without presence of its own, an empty value counts as absent."""
        if self.field.has_presence:
            return not message.HasField(self.field.name)
        return not getattr(message, self.field.name)


def field_rule(field: FieldDescriptor, largest: int | None = None) -> FieldRule:
    """The rule of `field`; `largest` replaces the contract's `max` where a door has its own."""
    own = Limits()
    own.CopyFrom(limits(field))
    if largest is not None:
        own.max = largest
    return FieldRule(field, own)


# --- the quick way -----------------------------------------------------------------------------------------------


def condition(rule: FieldRule, names: dict[str, Any]) -> str | None:
    """Source that is true for a field within its limits; None if it has none. What it calls is put into `names`."""
    value = f"m.{rule.field.name}"
    if rule.limits.unsupported:
        return f"not m.HasField({rule.field.name!r})" if rule.field.has_presence and not _is_flag(rule) else f"not {value}"
    terms = [*_range_terms(rule, value), *_item_terms(rule, value, names)]
    within = " and ".join(terms)
    if rule.limits.required:
        return " and ".join([_presence(rule), *terms])
    if not terms or not _excludes_default(rule):
        return within or None
    return f"({within} or not {_presence(rule)})"


def _is_flag(rule: FieldRule) -> bool:
    return rule.field.type == FieldDescriptor.TYPE_BOOL


def _presence(rule: FieldRule) -> str:
    return f"m.HasField({rule.field.name!r})" if rule.field.has_presence else f"m.{rule.field.name}"


def _excludes_default(rule: FieldRule) -> bool:
    """Whether the empty value, which an absent field reads as, would break the limits."""
    return rule.limits.min > 0 or bool(rule.limits.pattern) or rule.is_message


def _range_terms(rule: FieldRule, value: str) -> Iterator[str]:
    size = f"len({value})" if _has_length(rule.field) else value
    low = f"{rule.limits.min} <= " if rule.limits.min > 0 or not _has_length(rule.field) and rule.limits.HasField("min") else ""
    high = f" <= {rule.limits.max}" if rule.limits.HasField("max") else ""
    if low or high:
        yield f"{low}{size}{high}"


def _item_terms(rule: FieldRule, value: str, names: dict[str, Any]) -> Iterator[str]:
    """What is checked of the value itself, or of each item: enum values, patterns, sizes of items, messages."""
    field = rule.field
    if field.enum_type is not None:
        allowed = sorted(_built_numbers(rule) | (set() if field.is_repeated else {0}))
        literal = f"{{{', '.join(map(str, allowed))}}}"
        yield f"{literal}.issuperset({value})" if field.is_repeated else f"{value} in {literal}"
    elif rule.is_message:
        names[f"fits_{field.name}"] = fits(field.message_type)
        yield f"all(map(fits_{field.name}, {value}))" if field.is_repeated else f"fits_{field.name}({value})"
    elif rule.limits.pattern:
        names[f"matches_{field.name}"] = re.compile(rule.limits.pattern).fullmatch
        yield f"matches_{field.name}({value})"
    elif rule.limits.HasField("items"):
        names[f"fits_{field.name}"] = lambda item: not broken(field, rule.limits.items, item)
        yield f"all(map(fits_{field.name}, {value}))"


def _built_numbers(rule: FieldRule) -> set[int]:
    by_name = numbers(rule.field.enum_type)
    return {by_name[name] for name in rule.limits.supported or by_name}


def fits(descriptor: Any, largest: dict[str, int] | None = None) -> Callable[[Message], bool]:
    """One expression for a whole message: whether it has no unknown fields, and every field is built and within limits."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    names: dict[str, Any] = {"unknown": UnknownFieldSet}
    rules = [field_rule(field, (largest or {}).get(field.name)) for field in descriptor.fields]
    conditions = ["not unknown(m)", *filter(None, (condition(rule, names) for rule in rules))]
    predicate: Callable[[Message], bool] = eval(f"lambda m: {' and '.join(conditions)}", names)
    return predicate
