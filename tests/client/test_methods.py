"""KeyManagementClient has a method for every operation of the service."""

from __future__ import annotations

import inspect
import re
from operator import attrgetter

import pytest

import kms_grpc.client
from kms_grpc.client import KeyManagementClient
from kms_grpc.client.connection import CREATES
from kms_grpc.client.methods import WITHOUT_METHOD
from kms_grpc.v1 import envelope_pb2, key_management_pb2

OPERATIONS = [
    rpc.name
    for file in (key_management_pb2.DESCRIPTOR, envelope_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for rpc in service.methods
]


def method_name(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_a_method_or_is_declared_as_an_exception(operation: str) -> None:
    has_method = hasattr(KeyManagementClient, method_name(operation))
    place = "kms_grpc/client/methods: add a method, or an entry in WITHOUT_METHOD in its __init__.py"
    assert has_method != (operation in WITHOUT_METHOD), f"{operation}: {place}"


def test_an_operation_without_a_method_has_another_call() -> None:
    assert set(WITHOUT_METHOD) <= set(OPERATIONS)
    for call in WITHOUT_METHOD.values():
        assert callable(attrgetter(call)(kms_grpc.client))


def test_methods_of_operations_that_create_take_a_request_id() -> None:
    """`connection.CREATES` lists the operations whose request id makes a retry safe."""
    methods = {operation: getattr(KeyManagementClient, method_name(operation), None) for operation in OPERATIONS}
    takes_id = {
        name for name, method in methods.items() if method and "request_id" in inspect.signature(method).parameters
    }
    assert takes_id == CREATES


def test_the_folder_has_the_names_that_it_promises() -> None:
    names, homes = kms_grpc.client.__all__, kms_grpc.client._HOMES
    assert sorted(names) == sorted(name for home in homes.values() for name in home)
    assert all(getattr(kms_grpc.client, name).__name__ == name for name in names)
    assert set(names) <= set(dir(kms_grpc.client))
    assert not hasattr(kms_grpc.client, "nothing")
