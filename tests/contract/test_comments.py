"""The comments in the protos agree with their options: permissions, limits, features that are not built."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from kms_grpc.operations.contract.descriptors import limits, permissions
from kms_grpc.v1 import envelope_pb2, key_management_pb2, keys_pb2, options_pb2
from tests.aws_facts import errors_of
from tests.contract.build_script import build_script

FILES = (key_management_pb2, keys_pb2, envelope_pb2, options_pb2)

METHODS = [
    pytest.param(method, id=method.name)
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
FIELDS = [
    pytest.param(field, id=f"{message.name}.{field.name}")
    for file in (key_management_pb2, keys_pb2, envelope_pb2)
    for message in file.DESCRIPTOR.message_types_by_name.values()
    for field in message.fields
]


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The comments of rpcs and fields by full name, each joined into one line."""
    target = tmp_path_factory.mktemp("comments") / "set.binpb"
    build_script().protoc(f"--descriptor_set_out={target}", "--include_source_info")
    return dict(read_comments(FileDescriptorSet.FromString(target.read_bytes())))


def read_comments(files: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    for file in files.file:
        lists = {4: (file.message_type, "field"), 6: (file.service, "method")}
        for location in file.source_code_info.location:
            if len(location.path) == 4 and location.path[0] in lists and location.path[2] == 2:
                outer = lists[location.path[0]][0][location.path[1]]
                inner = getattr(outer, lists[location.path[0]][1])[location.path[3]]
                yield f"{file.package}.{outer.name}.{inner.name}", " ".join(location.leading_comments.split())


@pytest.mark.parametrize("method", METHODS)
def test_an_rpc_names_its_permission(method: MethodDescriptor, comments: dict[str, str]) -> None:
    said = re.search(r"Permission: (.*?)\. Errors:", comments[method.full_name])
    assert said, "no permission, or no errors after it"
    assert tuple(re.findall(r"kms(?:-grpc)?:\w+", said[1])) == permissions(method)
    assert permissions(method) or said[1].startswith("none")


@pytest.mark.parametrize("method", METHODS)
def test_an_rpc_names_the_errors_that_aws_lists(method: MethodDescriptor, comments: dict[str, str]) -> None:
    named = set(re.findall(r"\w+Exception", comments[method.full_name].split("Errors:")[1]))
    single = method.name.removesuffix("Batch")
    listed = errors_of(single) or {"KMSInternalException"}
    if single != method.name:  # a batch takes neither grant tokens nor dry runs
        listed -= {"InvalidGrantTokenException", "DryRunOperationException"}
    assert named >= listed
    if method.containing_service.name == "KeyManagementService":
        assert named - listed <= {"NotAuthorizedException"}, "only NotAuthorizedException is added"


INWARD = ("Tag", "RecipientInfo", "GrantConstraints", "ConditionValues")
"""Messages that stand in requests only."""


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_called_required_or_optional(field: FieldDescriptor, comments: dict[str, str]) -> None:
    said, inward = comments[field.full_name], field.containing_type.name in INWARD
    if not (inward or field.containing_type.name.endswith(("Request", "Item"))):
        assert said.startswith("Output only. ")
        return
    by_rule = {
        "DecryptRequest.ciphertext_blob",
        "ReEncryptRequest.ciphertext_blob",
        "GenerateRandomRequest.number_of_bytes",
    }
    required = limits(field).required or f"{field.containing_type.name}.{field.name}" in by_rule
    assert said.startswith(("Required. ", "Required, ") if required else "Optional. ")


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_gives_its_limits(field: FieldDescriptor, comments: dict[str, str]) -> None:
    rule, said = limits(field), comments[field.full_name]
    numbers = [rule.max, rule.items.max, rule.default_value, *([rule.min] if rule.HasField("min") else [])]
    missing = [f"{number:,}" for number in numbers if number and not re.search(rf"\b{number:,}\b", said)]
    assert missing == []
    sized = field.type in (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING) and rule.HasField("max")
    assert not sized or re.search("bytes|characters|of the characters", said), "a limit without its unit"


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_names_what_is_not_built(field: FieldDescriptor, comments: dict[str, str]) -> None:
    rule, said = limits(field), comments[field.full_name]
    assert ("Not built" in said) is (rule.unsupported or bool(rule.supported))
    for value in rule.supported:
        assert re.search(rf"every value but [A-Za-z0-9_, ]*\b{value}\b", said)


@pytest.mark.parametrize("field", FIELDS)
def test_json_names_are_spelled_as_aws_spells(field: FieldDescriptor) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]*", field.json_name)
    assert field.json_name.casefold() == field.name.replace("_", "")
