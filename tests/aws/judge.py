"""Checks each response to boto3 against botocore's service model, more strictly than boto3 does.

It finds unknown members, missing members that AWS always sends, nulls, wrong types, unknown enum values, and violated
lengths and patterns; in errors the code, text and status; and in all responses the headers.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from botocore.model import ListShape, OperationModel, Shape, StructureShape

from tests.aws_facts import BEYOND_THE_MODEL

ALWAYS: Mapping[str, frozenset[str]] = {
    name: frozenset(members.split())
    for name, members in {
        "KeyMetadata": "AWSAccountId KeyId Arn CreationDate Enabled Description KeyUsage KeyState Origin KeyManager"
        " CustomerMasterKeySpec KeySpec EncryptionAlgorithms MultiRegion",
        "RotationsListEntry": "KeyId KeyMaterialId KeyMaterialState",
        "GetKeyRotationStatusResponse": "KeyRotationEnabled KeyId",
        "DeleteImportedKeyMaterialResponse": "KeyId",
        "DecryptResponse": "KeyId Plaintext EncryptionAlgorithm KeyMaterialId",
        "GenerateDataKeyResponse": "CiphertextBlob Plaintext KeyId KeyMaterialId",
        "GenerateRandomResponse": "Plaintext",
        "GrantListEntry": "KeyId GrantId CreationDate IssuingAccount Operations",
        "GrantConstraints": "",
    }.items()
}
"""Members that AWS always sends for symmetric keys and without a Recipient. Other shapes have one optional member."""
PAGE_ONLY: Final = {"NextMarker"}
"""The last page of a listing has none."""


COMMON = {
    "AccessDeniedException", "ExpiredTokenException", "IncompleteSignatureException", "InvalidSignatureException",
    "MissingAuthenticationTokenException", "NotAuthorizedException", "SerializationException", "ThrottlingException",
    "UnknownOperationException", "UnrecognizedClientException", "UnsupportedOperationException", "ValidationException",
}  # fmt: skip
"""Errors of any operation; the model lists those of each operation. UnsupportedOperationException is our answer to
members that are not supported yet."""
FAULTS = {"DependencyTimeoutException": 500, "KMSInternalException": 500}
"""Errors that AWS's SDKs retry because of their status. KeyUnavailableException is a fault in the model, but here a
retry does not help."""
EMPTY = {"InvalidCiphertextException", "NotAuthorizedException"}
"""Errors that AWS sends without a text."""
CONTENT_TYPE = "application/x-amz-json-1.1"


def judge_everything(client: Any) -> None:
    """Check every later response to this client; a bad one raises AssertionError in the call."""
    client.meta.events.register("after-call.kms", _judge)


def _judge(http_response: Any, parsed: Any, model: OperationModel, **_: Any) -> None:
    headers = {name.lower(): value for name, value in http_response.headers.items()}
    assert headers["x-amzn-requestid"], "every response has a request id"
    assert headers["content-type"] == CONTENT_TYPE
    body = http_response.content
    assert int(headers["content-length"]) == len(body)
    if http_response.status_code != 200:
        judge_error(model, http_response.status_code, json.loads(body))
    elif model.output_shape is None:
        assert body == b"", f"{model.name} has no output, but the body is {body!r}"
    else:
        judge_value(model.output_shape, json.loads(body), model.name)


def judge_error(model: OperationModel, status: int, body: Any) -> None:
    """Check that the code is one of the operation or a common one, and that a text is either present or absent."""
    assert set(body) <= {"__type", "message"}, body
    code = body["__type"]
    known = COMMON | {shape.name for shape in model.error_shapes} | BEYOND_THE_MODEL.get(model.name, set())
    assert code in known, f"{code} is no error of {model.name}"
    assert status == FAULTS.get(code, 400), f"{code} with {status}"
    if code in EMPTY:
        assert "message" not in body, f"{code} has no text"
    else:
        assert isinstance(body["message"], str)
        assert body["message"], "a message must not be empty"


def judge_value(shape: Shape, value: Any, path: str) -> None:
    """Check a value against its shape. The AssertionError names the path of the fault."""
    assert value is not None, f"{path} is null"
    if isinstance(shape, StructureShape):
        _judge_structure(shape, value, path)
    elif isinstance(shape, ListShape):
        assert isinstance(value, list), f"{path} is {value!r}"
        for position, item in enumerate(value):
            judge_value(shape.member, item, f"{path}[{position}]")
    else:
        _judge_scalar(shape, value, path)


def _judge_structure(shape: StructureShape, value: Any, path: str) -> None:
    assert isinstance(value, dict), f"{path} is {value!r}"
    assert set(value) <= set(shape.members), f"{path}: unknown {set(value) - set(shape.members)}"
    wanted = ALWAYS.get(shape.name, set(shape.members) - PAGE_ONLY) | set(shape.required_members)
    assert wanted <= set(value), f"{path}: missing {wanted - set(value)}"
    for name, member in value.items():
        judge_value(shape.members[name], member, f"{path}.{name}")


def _judge_scalar(shape: Shape, value: Any, path: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,), "blob": (str,), "boolean": (bool,), "integer": (int,), "long": (int,),
        "timestamp": (int, float),
    }  # fmt: skip
    assert type(value) in kinds[shape.type_name], f"{path}, a {shape.type_name}, is {value!r}"
    size = value
    if shape.type_name == "blob":
        size = len(base64.b64decode(value, validate=True))
    elif shape.type_name == "string":
        size = len(value)
        _judge_text(shape, value, path)
    if shape.type_name not in ("boolean", "timestamp"):
        least, most = shape.metadata.get("min", size), shape.metadata.get("max", size)
        assert least <= size <= most, f"{path}: {size} is not in {least} to {most}"


def _judge_text(shape: Any, value: str, path: str) -> None:
    assert not shape.enum or value in shape.enum, f"{path}: {value!r} is not in {shape.enum}"
    pattern = shape.metadata.get("pattern")
    assert not pattern or re.search(pattern, value), f"{path}: {value!r} is not as {pattern}"
