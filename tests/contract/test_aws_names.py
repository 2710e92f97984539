"""The contract against AWS's own model (aws_model.json): members, enum values, limits, errors, secrets.

Where the contract differs from the model on purpose, the difference stands in a table here with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from kms_grpc.aws_members import aws_names, is_map
from kms_grpc.operations.contract.descriptors import is_secret, limits
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.aws_facts import MODEL, SHAPES, limits_of

SERVICE = pb.DESCRIPTOR.services_by_name["KeyManagementService"]

ONE_ENUM_FOR_TWO_SHAPES = {"CustomerMasterKeySpec": "KeySpec"}
"""AWS has a second shape for the deprecated member's values; both members always have the same value."""


def messages() -> Iterator[tuple[Descriptor, str]]:
    """Yields every message that stands for a shape of AWS's model, with the shape's name."""
    described = [method for method in SERVICE.methods if method.name in MODEL["operations"]]
    for method in described:  # tests/test_completeness.py names the others
        operation = MODEL["operations"][method.name]
        yield method.input_type, operation["input"]
        if "output" in operation:
            yield method.output_type, operation["output"]
    for name, message in keys_pb2.DESCRIPTOR.message_types_by_name.items():
        if name in SHAPES:
            yield message, name


MESSAGES = [pytest.param(message, SHAPES[shape], id=message.name) for message, shape in messages()]
FIELDS = [
    pytest.param(field, SHAPES[shape]["members"][field.json_name], id=f"{message.name}.{field.name}")
    for message, shape in messages()
    for field in message.fields
    if field.json_name in SHAPES[shape]["members"]
]


def test_the_contract_is_compared_with_every_shape_it_has() -> None:
    """Only shapes of strings, numbers, lists and maps have no message or enum."""
    compared = {shape for _, shape in messages()}
    assert {name for name, shape in SHAPES.items() if shape["type"] == "structure"} == compared
    assert set(keys_pb2.DESCRIPTOR.message_types_by_name) <= compared, "python tests/contract/extract_aws_model.py"


@pytest.mark.parametrize("name", MODEL["operations"])
def test_each_operation_is_an_rpc_with_messages_of_its_own(name: str) -> None:
    method = SERVICE.methods_by_name[name]
    assert (method.input_type.name, method.output_type.name) == (f"{name}Request", f"{name}Response")
    if "output" not in MODEL["operations"][name]:
        assert not method.output_type.fields, "AWS's answer is empty"


@pytest.mark.parametrize(("message", "shape"), MESSAGES)
def test_a_message_has_exactly_the_members_of_aws(message: Descriptor, shape: dict[str, Any]) -> None:
    assert {field.json_name for field in message.fields} == set(shape["members"])


def type_name(field: FieldDescriptor) -> str:
    """Returns the name that AWS's model has for the field's type."""
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
def test_a_field_has_the_type_of_aws(field: FieldDescriptor, shape: str) -> None:
    assert type_name(field) == SHAPES[shape]["type"]
    item = SHAPES[shape].get("member", shape)
    if "enum" in SHAPES[item]:
        assert field.enum_type.name == ONE_ENUM_FOR_TWO_SHAPES.get(item, item)
    if SHAPES[item].get("sensitive"):
        assert is_secret(field), "AWS calls it sensitive: debug_redact"


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "enum" in shape])
def test_an_enum_has_all_values_of_aws_in_the_same_spelling(name: str) -> None:
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


REQUEST_FIELDS = [
    param
    for param in FIELDS
    if param.values[0].containing_type.name.endswith("Request")
    or param.values[0].containing_type.name in ("Tag", "RecipientInfo")
]


@pytest.mark.parametrize(("field", "name"), REQUEST_FIELDS)
def test_a_field_has_the_limits_of_aws(field: FieldDescriptor, name: str) -> None:
    """For a length, no `min` means 0. An empty list counts as absent, so its `min` is not compared."""
    rule, shape = limits(field), SHAPES[name]
    smallest, largest = limits_of(field.containing_type.name, field.json_name, name)
    assert (rule.max if rule.HasField("max") else None) == largest
    if not field.is_repeated:
        assert rule.min == (smallest or 0)
    if "member" in shape:
        item = SHAPES[shape["member"]]
        assert (rule.items.min, rule.items.max) == (item.get("min", 0), item.get("max", 0))


@pytest.mark.parametrize(("message", "shape"), [p for p in MESSAGES if p.values[0].name.endswith("Request")])
def test_a_request_requires_the_members_that_aws_requires(message: Descriptor, shape: dict[str, Any]) -> None:
    required = {field.json_name for field in message.fields if limits(field).required}
    assert required == set(shape.get("required", []))
