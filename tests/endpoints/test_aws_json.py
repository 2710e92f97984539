"""AWS's JSON codec without a server: requests, invalid requests, and responses."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from kms_grpc.endpoints.aws_json import AwsJson
from kms_grpc.endpoints.aws_operations import AWS_OPERATIONS
from kms_grpc.errors import KMSError
from kms_grpc.operations.contract.descriptors import is_always_sent
from kms_grpc.operations.table import TABLE
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

WIRE = AwsJson()
OPERATIONS = {
    operation.name: operation for operation in TABLE if operation.service == "kms_grpc.v1.KeyManagementService"
}
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
ENUM_OF_SPECS = "Member must satisfy enum value set: [AES_256, AES_128]"


def refusal(name: str, body: bytes | dict[str, Any]) -> tuple[str, str]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        request, judge = WIRE.read(OPERATIONS[name].request, raw)
        judge(request)
    except KMSError as error:
        return error.code, error.text
    raise AssertionError(f"accepted: {request}")


def read(name: str, body: dict[str, Any]) -> Any:
    request, judge = WIRE.read(OPERATIONS[name].request, json.dumps(body).encode())
    judge(request)
    return request


def written(answer: Any) -> Any:
    return json.loads(WIRE.write(answer))


# --- members that are there twice ---------------------------------------------------------------------------------

TWICE = [
    ("the same value", b'{"KeyId": "a", "KeyId": "a"}'),
    ("another value", b'{"KeyId": "a", "Plaintext": "AA==", "KeyId": "b"}'),
    ("white space before the colon", b'{"KeyId" :"a", "KeyId"\n\t:"b"}'),
    ("one is spelled with an escape", b'{"KeyId": "a", "Key\\u0049d": "b"}'),
    ("a pair of the encryption context", b'{"KeyId": "a", "EncryptionContext": {"a": "b", "a": "c"}}'),
    ("a member of a structure in a list", b'{"GrantTokens": [{"a": 1, "a": 1}]}'),
    ("a text of one colon", b'{"KeyId": ":", "KeyId" : "b"}'),
    ("the second is null", b'{"KeyId": "a", "KeyId": null}'),
    ("a member that the operation does not have", b'{"x": 1, "x": 1}'),
]
ONCE = [
    ("colons in texts", {"KeyId": "arn:aws:kms", "EncryptionContext": {"a:": ":", ":": '":'}, "Plaintext": "AA=="}),
    ("quotes before colons", {"KeyId": "a", "EncryptionContext": {'a":': '":"', '"': '\\":'}, "Plaintext": "AA=="}),
    ("one name at two depths", {"KeyId": "a", "EncryptionContext": {"KeyId": "a"}, "Plaintext": "AA=="}),
    ("names that differ in case", {"KeyId": "a", "EncryptionContext": {"a": "a", "A": "a"}, "Plaintext": "AA=="}),
]  # fmt: skip


@pytest.mark.parametrize("body", [row[1] for row in TWICE], ids=[row[0] for row in TWICE])
def test_a_member_that_is_there_twice_is_refused(body: bytes) -> None:
    assert refusal("Encrypt", body) == (
        "SerializationException",
        "An object in the body of the request has a member twice.",
    )


@pytest.mark.parametrize("body", [row[1] for row in ONCE], ids=[row[0] for row in ONCE])
def test_texts_and_names_that_only_look_like_a_second_member_are_accepted(body: dict[str, Any]) -> None:
    request, _ = WIRE.read(pb.EncryptRequest, json.dumps(body).encode())
    assert (request.key_id, dict(request.encryption_context)) == (body["KeyId"], body["EncryptionContext"])


def test_members_in_a_very_deep_body() -> None:
    for depth in range(100, 2_000, 100):
        body = b'{"a":' * depth + b"1" + b"}" * depth
        assert refusal("Encrypt", body)[0] in ("SerializationException", "ValidationException")


# --- requests ----------------------------------------------------------------------------------------------------


def test_requests_with_every_type_of_member() -> None:
    assert read("CreateKey", {"Description": "é", "Origin": "EXTERNAL", "Tags": [{"TagKey": "a", "TagValue": ""}]}) == (
        pb.CreateKeyRequest(
            description="é", origin=keys_pb2.ORIGIN_TYPE_EXTERNAL, tags=[keys_pb2.Tag(tag_key="a", tag_value="")]
        )
    )
    assert read("Encrypt", {"KeyId": KEY, "Plaintext": "AAE=", "EncryptionContext": {"a": "b"}, "DryRun": True}) == (
        pb.EncryptRequest(key_id=KEY, plaintext=b"\0\1", encryption_context={"a": "b"}, dry_run=True)
    )
    assert read("ListKeys", {"Limit": 7, "Marker": None}) == pb.ListKeysRequest(limit=7)
    assert read("UntagResource", {"KeyId": KEY, "TagKeys": ["a", "b"]}).tag_keys == ["a", "b"]
    given = {"KeyId": KEY, "ImportToken": "AA==", "EncryptedKeyMaterial": "AA==", "ValidTo": 1_800_000_000.25}
    assert read("ImportKeyMaterial", given).valid_to == Timestamp(seconds=1_800_000_000, nanos=250_000_000)
    assert read("ImportKeyMaterial", {**given, "ValidTo": 0}).HasField("valid_to"), "0 is a time, not an absent member"


SERIALIZATION, VALIDATION = "SerializationException", "ValidationException"
INVALID_JSON = [
    b"",
    b"{",
    b"nothing",
    b"{'a': 1}",
    b'{"KeyId": "\xff"}',
    b'{"KeyId": NaN}',
    b"[" * 100_000,
    b'{"a":1}x',
]
WRONG_TYPES = [
    ("ListKeys", [], "must be a JSON object"),
    ("ListKeys", "x", "must be a JSON object"),
    ("ListKeys", None, "must be a JSON object"),
    ("Encrypt", {"KeyId": 1}, "KeyId must be a string."),
    ("Encrypt", {"KeyId": [KEY]}, "KeyId must be a string."),
    ("Encrypt", {"Plaintext": "no base64"}, "Plaintext must be a string in base64."),
    ("Encrypt", {"Plaintext": "AA"}, "Plaintext must be a string in base64."),
    ("Encrypt", {"Plaintext": "AA==AA=="}, "Plaintext must be a string in base64."),
    ("Encrypt", {"Plaintext": "A\u00e9=="}, "Plaintext must be a string in base64."),
    ("Encrypt", {"Plaintext": [0, 1]}, "Plaintext must be a string in base64."),
    ("Encrypt", {"DryRun": "true"}, "DryRun must be true or false."),
    ("Encrypt", {"DryRun": 1}, "DryRun must be true or false."),
    ("Encrypt", {"EncryptionContext": ["a"]}, "EncryptionContext must be an object."),
    ("Encrypt", {"EncryptionContext": {"a": 1}}, "EncryptionContext must be an object of strings."),
    ("Encrypt", {"EncryptionContext": {"a": None}}, "EncryptionContext must be an object of strings."),
    ("ListKeys", {"Limit": "7"}, "Limit must be an integer"),
    ("ListKeys", {"Limit": 7.5}, "Limit must be an integer"),
    ("ListKeys", {"Limit": True}, "Limit must be an integer"),
    ("ListKeys", {"Limit": 2**31}, "Limit must be an integer from -2147483648 to 2147483647."),
    ("CreateKey", {"KeySpec": 1}, "KeySpec must be a string."),
    ("CreateKey", {"Tags": {"TagKey": "a"}}, "Tags must be a list."),
    ("CreateKey", {"Tags": ["a"]}, "Tags.1 must be an object."),
    ("CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}, {"TagKey": 1}]}, "Tags.2.TagKey must be a string."),
    ("UntagResource", {"TagKeys": ["a", None]}, "TagKeys.2 must be a string."),
    ("ImportKeyMaterial", {"ValidTo": "2027-01-01T00:00:00Z"}, "ValidTo must be a number of seconds since 1970."),
    ("ImportKeyMaterial", {"ValidTo": -1}, "ValidTo must be a number of seconds since 1970."),
    ("ImportKeyMaterial", {"ValidTo": 1e300}, "ValidTo must be a number of seconds since 1970."),
    ("ImportKeyMaterial", {"ValidTo": True}, "ValidTo must be a number of seconds since 1970."),
]


@pytest.mark.parametrize("raw", INVALID_JSON, ids=lambda raw: repr(raw[:16]))
def test_invalid_json(raw: bytes) -> None:
    assert refusal("Encrypt", raw) == (SERIALIZATION, "The body of the request is not valid JSON.")


@pytest.mark.parametrize(("name", "body", "text"), WRONG_TYPES)
def test_values_of_a_wrong_type(name: str, body: Any, text: str) -> None:
    code, message = refusal(name, json.dumps(body).encode())
    assert code == SERIALIZATION
    assert text in message


def test_unpaired_surrogates_are_refused() -> None:
    assert refusal("Encrypt", b'{"KeyId": "\\ud800"}')[0] == SERIALIZATION
    assert refusal("Encrypt", b'{"EncryptionContext": {"\\udfff": ""}}')[0] == SERIALIZATION


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("ListKeys", {"Limits": 1}, "ListKeysRequest has no member 'Limits'."),
        ("ListKeys", {"limit": 1}, "ListKeysRequest has no member 'limit'."),
        ("CreateKey", {"Tags": [{"Key": "a"}]}, "Tag has no member 'Tags.1.Key'."),
        ("ListKeys", {"\n" * 99: 1}, "ListKeysRequest has no member '" + "\n" * 64 + "'."),
    ],
)
def test_unknown_members(name: str, body: Any, text: str) -> None:
    """An unknown member is refused by its name and never ignored, as at the gRPC door."""
    assert refusal(name, body) == (VALIDATION, text)


CONSTRAINTS = [
    ("Encrypt", {"KeyId": KEY}, "Value null at 'plaintext' failed to satisfy constraint: Member must not be null"),
    ("GenerateDataKey", {"KeyId": KEY, "KeySpec": "AES_512"},
     f"Value 'AES_512' at 'keySpec' failed to satisfy constraint: {ENUM_OF_SPECS}"),
    ("GenerateDataKey", {"KeyId": KEY, "KeySpec": ""},
     f"Value '' at 'keySpec' failed to satisfy constraint: {ENUM_OF_SPECS}"),
    ("GenerateRandom", {"NumberOfBytes": 0},
     "Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1"),
    ("Decrypt", {"CiphertextBlob": "A" * 8196},
     "Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length less than or equal to 6144"),
    ("CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}, {"TagKey": "", "TagValue": "b"}]},
     "Value '' at 'tags.2.member.tagKey' failed to satisfy constraint: Member must have length greater than or equal to"
     " 1"),
    ("CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}, {"TagValue": "b"}]},
     "Value null at 'tags.2.member.tagKey' failed to satisfy constraint: Member must not be null"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "text"), CONSTRAINTS)
def test_violated_constraints_are_reported_in_awss_words(name: str, body: Any, text: str) -> None:
    assert refusal(name, body) == (VALIDATION, f"1 validation error detected: {text}")


def test_each_unknown_enum_value_is_reported_as_sent() -> None:
    text = refusal("CreateKey", {"KeySpec": "ONE", "Origin": "TWO", "KeyUsage": "THREE"})[1]
    assert text.startswith("3 validation errors detected: Value 'ONE' at 'keySpec'")
    assert "..." not in text
    listed = refusal("ListKeys", {"ResourceOwners": ["SELF", "FOUR"]})[1]
    assert "Value '[SELF, FOUR]' at 'resourceOwners'" in listed


def test_the_largest_blob_is_that_of_aws() -> None:
    assert len(read("Decrypt", {"CiphertextBlob": "A" * 8192}).ciphertext_blob) == 6144


# --- responses ---------------------------------------------------------------------------------------------------


def test_responses_with_every_type_of_member() -> None:
    metadata = keys_pb2.KeyMetadata(
        key_id=KEY, key_state=keys_pb2.KEY_STATE_PENDING_DELETION, aws_account_id="111122223333",
        creation_date=Timestamp(seconds=1_800_000_000, nanos=123_456_789), expiration_model=0,
        encryption_algorithms=[keys_pb2.ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT],
    )  # fmt: skip
    assert written(pb.DescribeKeyResponse(key_metadata=metadata)) == {
        "KeyMetadata": {
            "KeyId": KEY, "AWSAccountId": "111122223333", "KeyState": "PendingDeletion", "Enabled": False,
            "CreationDate": 1_800_000_000.123, "Description": "", "MultiRegion": False,
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        }
    }  # fmt: skip
    assert written(pb.EncryptResponse(key_id=KEY, ciphertext_blob=b"\xff\xfe")) == {
        "KeyId": KEY,
        "CiphertextBlob": "//4=",
    }
    assert written(pb.ListKeysResponse()) == {"Keys": [], "Truncated": False}
    assert written(pb.GetKeyRotationStatusResponse(key_id=KEY)) == {"KeyId": KEY, "KeyRotationEnabled": False}
    assert WIRE.write(pb.EnableKeyResponse()) == b"", "an operation without output has an empty body"


def fields_of(of: Descriptor, seen: set[str]) -> list[FieldDescriptor]:
    """Returns all fields of a message and of the messages in it."""
    found = []
    for field in of.fields:
        found.append(field)
        if field.message_type is not None and field.message_type.full_name not in seen:
            seen.add(field.message_type.full_name)
            found += fields_of(field.message_type, seen)
    return found


ABSENT_IF_EMPTY = {
    "EncryptionAlgorithms", "SigningAlgorithms", "MacAlgorithms", "KeyAgreementAlgorithms", "EncapsulationAlgorithms",
    "EncryptionContextEquals", "EncryptionContextSubset",
}  # fmt: skip
"""A key has one of these lists, depending on its usage, and a grant has the constraint that it was given; AWS omits the
others."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_false_and_empty_members_are_sent_where_aws_sends_them(name: str) -> None:
    """Every boolean and list of a response is always sent, unless it has presence."""
    for field in fields_of(OPERATIONS[name].response.DESCRIPTOR, set()):
        plain = field.type == FieldDescriptor.TYPE_BOOL or field.is_repeated
        if plain and not field.has_presence and field.json_name not in ABSENT_IF_EMPTY:
            assert is_always_sent(field), field.full_name


def test_all_operations_of_aws_are_known_by_name() -> None:
    model = botocore.session.get_session().get_service_model("kms")
    assert set(model.operation_names) <= AWS_OPERATIONS
    assert set(OPERATIONS) <= AWS_OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_times_and_blobs_have_awss_types(name: str) -> None:
    """Each timestamp and blob of botocore's model has the corresponding type in the proto."""
    model = botocore.session.get_session().get_service_model("kms").operation_model(name)
    kinds = {"timestamp": FieldDescriptor.TYPE_MESSAGE, "blob": FieldDescriptor.TYPE_BYTES}
    for shape, message in (
        (model.input_shape, OPERATIONS[name].request),
        (model.output_shape, OPERATIONS[name].response),
    ):
        fields = {field.json_name: field for field in message.DESCRIPTOR.fields}
        for member, of in (shape.members if shape else {}).items():
            if of.type_name in kinds and member in fields:
                assert fields[member].type == kinds[of.type_name], member
