"""The contract against AWS's own model (aws_model.json): members, enum values, limits, errors, secrets.

Where the contract differs from the model on purpose, the difference stands in a table here with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from kms_grpc.aws_members import aws_names, is_map
from kms_grpc.operations.contract.descriptors import is_secret, limits
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

MODEL = json.loads(Path(__file__).with_name("aws_model.json").read_text())
SHAPES = MODEL["shapes"]
SERVICE = pb.DESCRIPTOR.services_by_name["KeyManagementService"]

ONE_ENUM_FOR_TWO_SHAPES = {"CustomerMasterKeySpec": "KeySpec"}
"""AWS keeps the former name's values in a shape of its own, though both members always carry the same value."""

OWN_LIMITS = {
    ("DecryptRequest", "CiphertextBlob"): (1, 65663, "what a batch of 64 KiB items made must open alone"),
    ("ReEncryptRequest", "CiphertextBlob"): (1, 65663, "the same"),
    ("CreateKeyRequest", "Tags"): (None, 200, "AWS answers TagException beyond 50; a list must end somewhere"),
    ("TagResourceRequest", "Tags"): (None, 200, "the same"),
    ("UntagResourceRequest", "TagKeys"): (None, 200, "the same"),
    ("DecryptRequest", "DryRunModifiers"): (None, 10, "AWS has one value and no end"),
    ("ReEncryptRequest", "DryRunModifiers"): (None, 10, "the same"),
    ("ListAliasesRequest", "Limit"): (1, 100, "AWS's text says 1 to 100, its shape is shared with ListKeys"),
    ("ListResourceTagsRequest", "Limit"): (1, 50, "AWS's text says 1 to 50, its shape is shared with ListKeys"),
    ("ScheduleKeyDeletionRequest", "PendingWindowInDays"): (7, 30, "AWS's text; its shape says 1 to 365"),
}
"""(message, member) → smallest, largest, and why they aren't the shape's."""


def messages() -> Iterator[tuple[Descriptor, str]]:
    """Every message that stands for a shape of AWS's, and the shape's name."""
    for method in SERVICE.methods:
        operation = MODEL["operations"][method.name]
        yield method.input_type, operation["input"]
        if "output" in operation:
            yield method.output_type, operation["output"]
    for name, message in keys_pb2.DESCRIPTOR.message_types_by_name.items():
        yield message, name


MESSAGES = [pytest.param(message, SHAPES[shape], id=message.name) for message, shape in messages()]
FIELDS = [
    pytest.param(field, SHAPES[shape]["members"][field.json_name], id=f"{message.name}.{field.name}")
    for message, shape in messages()
    for field in message.fields
    if field.json_name in SHAPES[shape]["members"]
]


def test_the_contract_is_compared_with_every_shape_it_has() -> None:
    """Shapes that no message or enum stands for are AWS's names for strings, numbers, lists and maps."""
    compared = {shape for _, shape in messages()}
    assert {name for name, shape in SHAPES.items() if shape["type"] == "structure"} == compared


@pytest.mark.parametrize("name", MODEL["operations"])
def test_each_operation_is_an_rpc_with_messages_of_its_own(name: str) -> None:
    method = SERVICE.methods_by_name[name]
    assert (method.input_type.name, method.output_type.name) == (f"{name}Request", f"{name}Response")
    if "output" not in MODEL["operations"][name]:
        assert not method.output_type.fields, "AWS answers nothing here"


@pytest.mark.parametrize(("message", "shape"), MESSAGES)
def test_members_are_awss_all_of_them_and_no_others(message: Descriptor, shape: dict[str, Any]) -> None:
    assert {field.json_name for field in message.fields} == set(shape["members"])


def type_name(field: FieldDescriptor) -> str:
    """How AWS's model would call the field's type."""
    if is_map(field):
        return "map"
    if field.is_repeated:
        return "list"
    if field.message_type is not None:
        return "timestamp" if field.message_type.full_name == "google.protobuf.Timestamp" else "structure"
    named = {
        FieldDescriptor.TYPE_BOOL: "boolean",
        FieldDescriptor.TYPE_BYTES: "blob",
        FieldDescriptor.TYPE_INT32: "integer",
    }
    return named.get(field.type, "string")


@pytest.mark.parametrize(("field", "shape"), FIELDS)
def test_types_are_awss(field: FieldDescriptor, shape: str) -> None:
    assert type_name(field) == SHAPES[shape]["type"]
    item = SHAPES[shape].get("member", shape)
    if "enum" in SHAPES[item]:
        assert field.enum_type.name == ONE_ENUM_FOR_TWO_SHAPES.get(item, item)
    if SHAPES[item].get("sensitive"):
        assert is_secret(field), "AWS calls it sensitive: (kms_grpc.v1.secret)"


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "enum" in shape])
def test_enums_carry_all_of_awss_values_in_awss_spelling(name: str) -> None:
    enum = keys_pb2.DESCRIPTOR.enum_types_by_name[ONE_ENUM_FOR_TWO_SHAPES.get(name, name)]
    spelled = set(aws_names(enum).values())
    if name in ONE_ENUM_FOR_TWO_SHAPES:
        assert spelled > set(SHAPES[name]["enum"])
    else:
        assert spelled == set(SHAPES[name]["enum"])


@pytest.mark.parametrize("enum", [pytest.param(e, id=e.name) for e in keys_pb2.DESCRIPTOR.enum_types_by_name.values()])
def test_zero_means_absent_and_names_follow_the_spelling(enum: EnumDescriptor) -> None:
    assert enum.values[0].name.endswith("_UNSPECIFIED")
    for number, spelling in aws_names(enum).items():
        tail = enum.values_by_number[number].name.removeprefix(enum.values[0].name.removesuffix("UNSPECIFIED"))
        assert tail.replace("_", "").casefold() == spelling.replace("_", "").casefold()


def expected_limits(field: FieldDescriptor, shape: dict[str, Any]) -> tuple[int | None, int | None]:
    own = OWN_LIMITS.get((field.containing_type.name, field.json_name))
    return own[:2] if own else (shape.get("min"), shape.get("max"))


REQUEST_FIELDS = [
    param
    for param in FIELDS
    if param.values[0].containing_type.name.endswith("Request")
    or param.values[0].containing_type.name in ("Tag", "RecipientInfo")
]


@pytest.mark.parametrize(("field", "name"), REQUEST_FIELDS)
def test_limits_are_awss(field: FieldDescriptor, name: str) -> None:
    """An absent `min` and a `min` of 0 say the same of a length; a list that is empty is absent."""
    rule, shape = limits(field), SHAPES[name]
    smallest, largest = expected_limits(field, shape)
    assert (rule.max if rule.HasField("max") else None) == largest
    if not field.is_repeated:
        assert rule.min == (smallest or 0)
    if "member" in shape:
        item = SHAPES[shape["member"]]
        assert (rule.items.min, rule.items.max) == (item.get("min", 0), item.get("max", 0))


@pytest.mark.parametrize(("message", "shape"), [p for p in MESSAGES if p.values[0].name.endswith("Request")])
def test_what_aws_requires_is_required(message: Descriptor, shape: dict[str, Any]) -> None:
    required = {field.json_name for field in message.fields if limits(field).required}
    assert required == set(shape.get("required", []))
