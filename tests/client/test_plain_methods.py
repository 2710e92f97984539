"""The generated methods fill every field of their request, whatever its type. They are up to date."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.message import Message

from kms_grpc.v1 import key_management_pb2, keys_pb2
from tests.contract.build_script import ROOT, build_script

PLACE = ROOT / ".ci" / "methods.py"
TIME = datetime(2026, 1, 2, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "str": "text",
    "bytes": b"bytes",
    "int": 7,
    "bool": True,
    "datetime": TIME,
    "Mapping[str, str]": {"name": "value"},
    "Sequence[str]": ["one", "two"],
    "keys_pb2.GrantConstraints": keys_pb2.GrantConstraints(encryption_context_subset={"name": "value"}),
}


def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("methods_script", PLACE)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


METHODS = generator()
CONTRACT = METHODS.Contract(METHODS.descriptors())
RPCS = list(key_management_pb2.DESCRIPTOR.services_by_name["KeyManagementService"].methods)


def test_the_generated_methods_are_up_to_date() -> None:
    kept = (ROOT / "kms_grpc" / "client" / "methods" / "plain.py").read_text("utf-8")
    assert kept == build_script().plain_methods(), "run: python build.py --client"


class Recorder:
    """Stands for the client: `_call` and `_create` keep the request."""

    def __getattr__(self, name: str) -> Any:
        return self

    def _call(self, stub: object, request: Message, *more: object) -> Message:
        return request

    _create = _call


def value_of(field: Any, kind: str) -> Any:
    """Returns an argument for the field; an enum's is AWS's name of a value."""
    if field.enum_type is None:
        return VALUES[kind]
    name = METHODS.options_pb2.aws_name
    known = [value.GetOptions().Extensions[name] for value in field.enum_type.values if value.number]
    return known[:1] if field.is_repeated else known[0]


@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)
def test_a_method_can_be_generated_for_every_operation_of_aws(rpc: Any) -> None:
    """Also for those whose method is written by hand, since their fields show all types."""
    text = METHODS.HEAD + "\n" + METHODS.method(CONTRACT, "key_management_pb2", rpc)
    space: dict[str, Any] = {}
    exec(compile(text, "plain.py", "exec"), space)
    method = getattr(space["PlainMethods"], METHODS.snake(rpc.name))
    fields = METHODS.fields_of(rpc)
    arguments = {field.name: value_of(field, METHODS.argument(field)[0]) for field in fields}
    request = method(Recorder(), **arguments)
    filled = {field.name for field, _ in request.ListFields()}
    assert filled == set(arguments)
    for name, value in arguments.items():
        if isinstance(value, str | bytes | bool) and not request.DESCRIPTOR.fields_by_name[name].enum_type:
            assert getattr(request, name) == value
    asked = [name for name, one in inspect.signature(method).parameters.items() if one.default is one.empty]
    assert asked == ["self", *(field.name for field in fields if METHODS.limits(field).required)]


def test_tags_times_and_enums_are_converted() -> None:
    assert METHODS.argument(key_management_pb2.TagResourceRequest.DESCRIPTOR.fields_by_name["tags"])[1] == "tags_of({})"
    field = key_management_pb2.ImportKeyMaterialRequest.DESCRIPTOR.fields_by_name["valid_to"]
    assert METHODS.argument(field) == ("datetime", "timestamp({})")
    field = key_management_pb2.CreateKeyRequest.DESCRIPTOR.fields_by_name["origin"]
    assert METHODS.argument(field) == ("str", "by_aws_name(keys_pb2.OriginType, {})")
    assert keys_pb2.OriginType.DESCRIPTOR.file.name.endswith("keys.proto")


def test_a_type_without_an_argument_is_named() -> None:
    field = key_management_pb2.DescribeKeyResponse.DESCRIPTOR.fields_by_name["key_metadata"]
    with pytest.raises(SystemExit, match=r"key_metadata.*by hand"):
        METHODS.argument(field)
    assert str(ROOT) in sys.path
