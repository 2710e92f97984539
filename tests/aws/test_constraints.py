"""Violates every limit in botocore's model once: both doors refuse the call with AWS's text.

The test derives the expected text from the model, the service from its own protos.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from tests.aws.doors import OPERATIONS, DoorClient, Members, Refused
from tests.aws.test_cases import MODEL
from tests.aws.world import UNKNOWN, in_days


class Broken(NamedTuple):
    """A request with one invalid member, and the expected text."""

    operation: str
    why: str
    members: Members
    text: str


NARROWER = {
    "ScheduleKeyDeletion PendingWindowInDays": (7, 30),
    "ListAliases Limit": (1, 100),
    "ListGrants Limit": (1, 100),
    "ListRetirableGrants Limit": (1, 100),
    "ListResourceTags Limit": (1, 50),
}
"""Limits that the model's documentation states more narrowly than its numbers."""
WIDER_BY_GRPC = (
    *("Decrypt CiphertextBlob", "ReEncrypt CiphertextBlob"),
    *("TagResource Tags missing", "UntagResource TagKeys missing"),
)
"""The gRPC door accepts larger values than the AWS door, and takes an absent list for an empty one."""


def _good(shape: Shape) -> Any:
    """Returns a valid value of the shape."""
    if isinstance(shape, StructureShape):
        return {name: _good(shape.members[name]) for name in shape.required_members}
    if isinstance(shape, ListShape):
        return [_good(shape.member)]
    if shape.type_name == "string":
        return shape.enum[0] if shape.enum else ("alias/none" if "alias" in shape.name.lower() else UNKNOWN)
    return {"blob": b"blob", "integer": 7, "boolean": False, "timestamp": in_days(1)}[shape.type_name]


def _required(operation: str) -> Members:
    shape = MODEL.operation_model(operation).input_shape
    return {name: _good(shape.members[name]) for name in shape.required_members}


def _broken_values(member: str, shape: Shape) -> Iterator[tuple[Any, str, str]]:
    """Yields an invalid value, its form in the text, and the constraint's text. Omits empty values of members with a
    pattern, since they violate two constraints."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    least, most = NARROWER.get(member, (least, most))
    if isinstance(shape, ListShape | MapShape | StructureShape) or shape.type_name in ("boolean", "timestamp"):
        return
    what = "value" if shape.type_name == "integer" else "length"
    if most is not None:
        value = most + 1 if what == "value" else _of_length(shape, most + 1)
        yield value, _shown(value, shape), f"Member must have {what} less than or equal to {most}"
    if least and not shape.metadata.get("pattern"):
        value = least - 1 if what == "value" else _of_length(shape, least - 1)
        yield value, _shown(value, shape), f"Member must have {what} greater than or equal to {least}"


def _of_length(shape: Shape, length: int) -> str | bytes:
    if shape.name == "ServicePrincipalType":
        return "a.a." + "a" * (length - 4)  # which fits its pattern
    return b"b" * length if shape.type_name == "blob" else "a" * length


def _shown(value: Any, shape: Shape) -> str:
    if isinstance(value, bytes) or shape.name == "GrantTokenType":
        return ""
    text = str(value)
    return f" '{text}'" if len(text) <= 257 else f" '{text[:257]}…'"


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


def _violation(path: str, shown: str, constraint: str) -> str:
    return f"1 validation error detected: Value{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _of_members(operation: str) -> Iterator[Broken]:
    good = _required(operation)
    for name, shape in MODEL.operation_model(operation).input_shape.members.items():
        if name in good:
            text = _violation(_camel(name), " null", "Member must not be null")
            yield Broken(operation, f"{name} missing", {k: v for k, v in good.items() if k != name}, text)
        for value, shown, constraint in _broken_values(f"{operation} {name}", shape):
            why = f"{name} {constraint.removeprefix('Member must have ')}"
            yield Broken(operation, why, good | {name: value}, _violation(_camel(name), shown, constraint))


BROKEN = [broken for name in OPERATIONS if name in MODEL.operation_names for broken in _of_members(name)]
INSIDE = [
    Broken("TagResource", "a tag key", {"KeyId": UNKNOWN, "Tags": [
        {"TagKey": "a", "TagValue": ""}, {"TagKey": "k" * 129, "TagValue": ""}]}, _violation(
            "tags.2.member.tagKey", f" '{'k' * 129}'", "Member must have length less than or equal to 128")),
    Broken("CreateKey", "a tag value", {"Tags": [{"TagKey": "a", "TagValue": "v" * 257}]}, _violation(
        "tags.1.member.tagValue", f" '{'v' * 257}'", "Member must have length less than or equal to 256")),
    Broken("TagResource", "no tag value", {"KeyId": UNKNOWN, "Tags": [{"TagKey": "a"}]}, _violation(
        "tags.1.member.tagValue", " null", "Member must not be null")),
    Broken("TagResource", "two at once", {"KeyId": "k" * 2049, "Tags": [{"TagKey": "k" * 129, "TagValue": ""}]}, (
        "2 validation errors detected: Value '" + "k" * 257 + "…' at 'keyId' failed to satisfy constraint: Member must"
        " have length less than or equal to 2048; Value '" + "k" * 129 + "' at 'tags.1.member.tagKey' failed to satisfy"
        " constraint: Member must have length less than or equal to 128")),
]  # fmt: skip


@pytest.mark.parametrize("broken", [*BROKEN, *INSIDE], ids=lambda broken: f"{broken.operation} {broken.why}")
def test_both_doors_refuse_with_awss_text(broken: Broken, doors: dict[str, DoorClient]) -> None:
    is_wider = f"{broken.operation} {broken.why}".startswith(WIDER_BY_GRPC)
    errors = {name: _refusal(door, broken) for name, door in doors.items() if not (is_wider and name == "grpc")}
    assert errors == {name: ("ValidationException", _expected_text(name, broken)) for name in errors}


def _expected_text(door: str, broken: Broken) -> str:
    """Returns the text of a door. Over gRPC an empty required string counts as missing, as it has no presence."""
    if door == "aws" or "" not in broken.members.values():
        return broken.text
    row = OPERATIONS[broken.operation].request.DESCRIPTOR
    [name] = [name for name, value in broken.members.items() if value == ""]
    [field] = [field for field in row.fields if field.json_name == name]
    return broken.text if field.has_presence else _violation(_camel(name), " null", "Member must not be null")


def _refusal(door: DoorClient, broken: Broken) -> tuple[str, str] | str:
    try:
        return f"was answered: {door.call(broken.operation, broken.members)}"
    except Refused as refused:
        return refused.code, refused.text


def test_an_empty_string_inside_a_list_is_shown_as_sent(doors: dict[str, DoorClient]) -> None:
    """Only in AWS's JSON an empty string differs from an absent one."""
    tags = [{"TagKey": "a", "TagValue": ""}, {"TagKey": "", "TagValue": ""}]
    with pytest.raises(Refused) as refused:
        doors["aws"].call("TagResource", {"KeyId": UNKNOWN, "Tags": tags})
    constraint = "Member must have length greater than or equal to 1"
    assert refused.value.text == _violation("tags.2.member.tagKey", " ''", constraint)
