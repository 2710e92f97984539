"""Reflection finds symbols, files and extensions by name, and both of its versions are complete."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from kms_grpc.endpoints.reflection import SERVICES, Reflection, Request
from kms_grpc.v1 import options_pb2

SERVED = ("kms_grpc.v1.KeyManagementService", "kms_grpc.v1.EnvelopeService", "grpc.health.v1.Health")
REFLECTION = Reflection(SERVED)

SYMBOLS = [
    ("a service", "kms_grpc.v1.KeyManagementService", "kms_grpc/v1/key_management.proto"),
    ("a method", "kms_grpc.v1.KeyManagementService.Encrypt", "kms_grpc/v1/key_management.proto"),
    ("a message", "kms_grpc.v1.EncryptRequest", "kms_grpc/v1/key_management.proto"),
    ("a leading dot", ".kms_grpc.v1.EncryptRequest", "kms_grpc/v1/key_management.proto"),
    ("a field", "kms_grpc.v1.EncryptRequest.plaintext", "kms_grpc/v1/key_management.proto"),
    ("a nested message", "kms_grpc.v1.EncryptRequest.EncryptionContextEntry", "kms_grpc/v1/key_management.proto"),
    ("an enum", "kms_grpc.v1.KeySpec", "kms_grpc/v1/keys.proto"),
    ("an enum's value, in the scope around the enum", "kms_grpc.v1.KEY_SPEC_RSA_2048", "kms_grpc/v1/keys.proto"),
    ("an option", "kms_grpc.v1.secret", "kms_grpc/v1/options.proto"),
    ("an import", "google.rpc.Status", "google/rpc/status.proto"),
    ("health", "grpc.health.v1.Health.Check", "grpc_health/v1/health.proto"),
    ("reflection", "grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
    ("its forerunner", "grpc.reflection.v1alpha.ServerReflection", "grpc_reflection/v1alpha/reflection.proto"),
]
ABSENT = [
    Request(file_containing_symbol="kms_grpc.v1.KeySpec.KEY_SPEC_RSA_2048"),
    Request(file_containing_symbol="kms_grpc.v1"),
    Request(file_containing_symbol=""),
    Request(file_by_filename="kms_grpc/v1/none.proto"),
    Request(file_containing_extension={"containing_type": "google.protobuf.FieldOptions", "extension_number": 50001}),
    Request(all_extension_numbers_of_type="no.such.Message"),
]


def files(answer: Any) -> list[FileDescriptorProto]:
    return [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]


@pytest.mark.parametrize(("symbol", "file"), [row[1:] for row in SYMBOLS], ids=[row[0] for row in SYMBOLS])
def test_symbols(symbol: str, file: str) -> None:
    """The first file is the one that declares the symbol; with the others it makes a pool that has all imports."""
    found = files(REFLECTION.answer(Request(file_containing_symbol=symbol)))
    assert found[0].name == file
    waiting = {each.name: each for each in found}
    assert len(waiting) == len(found)
    pool = DescriptorPool()
    while waiting:
        ready = [each for each in waiting.values() if not waiting.keys() & set(each.dependency)]
        for each in ready:
            pool.Add(waiting.pop(each.name))
    assert pool.FindFileByName(file)


@pytest.mark.parametrize("request_", ABSENT, ids=str)
def test_symbols_files_and_extensions_that_do_not_exist(request_: Any) -> None:
    answer = REFLECTION.answer(request_)
    assert answer.error_response.error_code == 5
    assert answer.original_request == request_


def test_a_request_that_asks_nothing() -> None:
    assert REFLECTION.answer(Request()).error_response.error_code == 3


def test_files_and_extensions() -> None:
    field_options = "google.protobuf.FieldOptions"
    assert files(REFLECTION.answer(Request(file_by_filename="kms_grpc/v1/keys.proto")))[0].package == "kms_grpc.v1"
    numbers = REFLECTION.answer(Request(all_extension_numbers_of_type=field_options)).all_extension_numbers_response
    assert numbers.base_type_name == field_options
    assert options_pb2.limits.number in numbers.extension_number
    place = {"containing_type": field_options, "extension_number": options_pb2.limits.number}
    assert files(REFLECTION.answer(Request(file_containing_extension=place)))[0].name == "kms_grpc/v1/options.proto"


def test_version_1_differs_in_its_package_only() -> None:
    first, second = (files(REFLECTION.answer(Request(file_containing_symbol=name)))[0] for name in SERVICES)
    assert "v1alpha" not in str(first)
    second_as_first = str(second).replace("grpc.reflection.v1alpha", "grpc.reflection.v1")
    assert second_as_first.replace(second.name, first.name) == str(first)
