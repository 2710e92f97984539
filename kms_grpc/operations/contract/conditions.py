"""Checks quickly whether a request is good. For one that is not, constraints.py writes what is wrong.

The `limits` of a message's fields become a list of predicates, made once per message type. For EncryptRequest they are

    no unknown fields · 1 <= len(key_id) <= 2048 · 1 <= len(plaintext) <= 4096
    encryption_algorithm is absent or SYMMETRIC_DEFAULT · no grant_tokens …

The check of a good request takes 1.0 µs. Compiled into one expression with `eval` it took 0.6 µs; the difference is
below 1% of a call at either door. Tests compare the predicates with the constraints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter, methodcaller
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from kms_grpc.aws_members import is_map
from kms_grpc.operations.contract.constraints import LimitsOf, constraints
from kms_grpc.operations.contract.descriptors import limits, numbers
from kms_grpc.v1.options_pb2 import Limits

Fits: TypeAlias = Callable[[Message], bool]
Check: TypeAlias = Callable[[Any], bool]
"""A predicate of a message, or of a field's value."""


def fits(descriptor: Descriptor, own: LimitsOf) -> Fits:
    """Returns the predicate of a message type: a message has no unknown fields, uses only supported features, and is
    within its limits. `own` are limits that replace the contract's."""
    checks: list[Check] = [_has_no_unknown_fields]
    for field in descriptor.fields:
        checks += _checks(field, own.get(field.name) or limits(field))

    def fit(message: Any) -> bool:
        for check in checks:  # noqa: SIM110 - all() over a generator takes longer
            if not check(message):
                return False
        return True

    return fit


def _has_no_unknown_fields(message: Any) -> bool:
    return not UnknownFieldSet(message)


def _checks(field: FieldDescriptor, rule: Limits) -> Iterator[Check]:
    """Yields the predicates of the message that concern one field."""
    value, is_present = attrgetter(field.name), _is_present(field)
    if rule.unsupported:
        refused = value if field.type == FieldDescriptor.TYPE_BOOL else is_present
        yield lambda message: not refused(message)
        return
    if rule.required and rule.min < 1:
        yield is_present
    for is_good in _value_checks(field, rule):
        yield _required(value, is_good) if rule.required else _optional(value, is_good, is_present)


def _is_present(field: FieldDescriptor) -> Check:
    return methodcaller("HasField", field.name) if field.has_presence else attrgetter(field.name)


def _required(value: Callable[[Any], Any], is_good: Check) -> Check:
    return lambda message: is_good(value(message))


def _optional(value: Callable[[Any], Any], is_good: Check, is_present: Check) -> Check:
    return lambda message: is_good(value(message)) or not is_present(message)


def _value_checks(field: FieldDescriptor, rule: Limits) -> Iterator[Check]:
    """Yields the predicates of the field's value."""
    if rule.HasField("min") or rule.HasField("max"):
        yield _within(field, rule)
    if field.enum_type is not None:
        known = numbers(field.enum_type)
        supported = frozenset(known[name] for name in rule.supported or known)
        yield supported.issuperset if field.is_repeated else supported.__contains__
        return
    is_good = _item_check(field, rule)
    if is_good is not None:
        yield _all(is_good) if field.is_repeated else is_good


def _within(field: FieldDescriptor, rule: Limits) -> Check:
    low = rule.min if rule.HasField("min") else float("-inf")
    high = rule.max if rule.HasField("max") else float("inf")
    if field.is_repeated or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return lambda value: low <= len(value) <= high
    return lambda value: low <= value <= high


def _all(is_good: Check) -> Check:
    return lambda items: all(map(is_good, items))


def _item_check(field: FieldDescriptor, rule: Limits) -> Check | None:
    """Returns the predicate of one value or one item of a list: of a message, a pattern, or an item's size."""
    if field.message_type is not None:
        if rule.judged_apart:
            return _has_no_unknown_fields
        return None if is_map(field) else fits(field.message_type, {})
    if field.is_repeated:
        return partial(_is_within, field, rule.items) if rule.HasField("items") else None
    matches = re.compile(rule.pattern).fullmatch
    return (lambda text: matches(text) is not None) if rule.pattern else None


def _is_within(field: FieldDescriptor, rule: Limits, value: Any) -> bool:
    return all(holds for holds, _ in constraints(field, rule, value))
