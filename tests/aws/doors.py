"""Clients of both doors with one interface: AWS's names of operations and members, and one form of errors."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import boto3
import grpc
from botocore.config import Config
from botocore.exceptions import ClientError
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kms_grpc.aws_members import is_map
from kms_grpc.operations.table import TABLE
from kms_grpc.v1.options_pb2 import aws_name
from tests.aws.judge import judge_everything
from tests.served import Served

Members = dict[str, Any]
REGION = "eu-central-1"
SERVICE = "kms_grpc.v1.KeyManagementService"
OPERATIONS = {operation.name: operation for operation in TABLE if operation.service == SERVICE}
"""The operations that AWS KMS has too. Our own ones are in EnvelopeService."""


class Refused(Exception):
    """An error response, with what both doors say about it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class DoorClient(Protocol):
    """Calls operations: `call("Encrypt", {"KeyId": …})` returns the response's members or raises Refused."""

    def call(self, operation: str, members: Members) -> Members: ...


def client(url: str, region: str = REGION, **settings: Any) -> Any:
    """Returns an ordinary boto3 client that checks every response (judge.py)."""
    made = boto3.client(
        "kms", endpoint_url=url, region_name=region, aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(**({"retries": {"mode": "standard", "total_max_attempts": 6}} | settings)),
    )  # fmt: skip
    judge_everything(made)
    return made


class BotoClient:
    """Calls the AWS door by boto3, without its validation of requests and without retries."""

    def __init__(self, served: Served, url: str) -> None:
        self._client = client(url, parameter_validation=False, retries={"total_max_attempts": 1})

    def call(self, operation: str, members: Members) -> Members:
        """See DoorClient."""
        try:
            answer = getattr(self._client, _snake(operation))(**members)
        except ClientError as error:
            body = error.response["Error"]
            raise Refused(body["Code"], body.get("Message", "")) from None
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


class StubClient:
    """Calls the gRPC door."""

    def __init__(self, served: Served, url: str) -> None:
        self._channel = grpc.insecure_channel(served.address, [("grpc.use_local_subchannel_pool", 1)])
        self._metadata = [("authorization", f"Bearer {served.token}"), ("kms-region", REGION)]

    def call(self, operation: str, members: Members) -> Members:
        """See DoorClient."""
        row = OPERATIONS[operation]
        request = _fill(row.request(), members)
        stub = self._channel.unary_unary(row.path, _bytes_of, row.response.FromString)
        metadata = [*self._metadata, ("kms-request-id", uuid.uuid4().hex)]
        try:
            return _members(stub(request, metadata=metadata, timeout=30))
        except grpc.RpcError as error:
            raise _refusal(error) from None


DOORS: Mapping[str, Callable[[Served, str], DoorClient]] = {"aws": BotoClient, "grpc": StubClient}


def _snake(operation: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()


def _refusal(error: Any) -> Refused:
    """Returns the error. AWS's name is the reason in ErrorInfo."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return Refused(info.reason, error.details() or "")
    raise AssertionError(f"an error without ErrorInfo: {error}")


# --- members to messages, and back -------------------------------------------------------------------------------


def _fill(message: Any, members: Members) -> Any:
    by_name = {field.json_name: field for field in message.DESCRIPTOR.fields}
    for name, value in members.items():
        field = by_name[name]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name).update(value)
        elif field.is_repeated and field.message_type is not None:
            for item in value:
                _fill(getattr(message, field.name).add(), item)
        elif field.message_type is not None:
            _fill_message(getattr(message, field.name), value)
        elif field.is_repeated:
            getattr(message, field.name).extend(_number_of(field, item) for item in value)
        else:
            setattr(message, field.name, _number_of(field, value))
    return message


def _fill_message(inside: Any, value: Any) -> None:
    inside.SetInParent()
    if isinstance(inside, Timestamp):
        inside.FromDatetime(value)
    else:
        _fill(inside, value)


def _number_of(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is None:
        return value
    [number] = [one.number for one in field.enum_type.values if one.GetOptions().Extensions[aws_name] == value]
    return number


def members_sent(request: Message) -> Members:
    """The members of a request that are set, by AWS's names."""
    return {
        field.json_name: dict(value) if is_map(field) else _value(field, value) for field, value in request.ListFields()
    }


def _members(message: Any) -> Members:
    """Returns the members that are set and those whose field has no presence."""
    descriptor: Descriptor = message.DESCRIPTOR
    fields = [field for field in descriptor.fields if not field.has_presence or message.HasField(field.name)]
    return {field.json_name: _value(field, getattr(message, field.name)) for field in fields}


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime()
    if field.message_type is not None:
        return _members(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].GetOptions().Extensions[aws_name]
    return value
