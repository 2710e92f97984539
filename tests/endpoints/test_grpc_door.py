"""The gRPC door over a socket: errors, authentication, metadata, limits, standard services, audit."""

from __future__ import annotations

import json
import time
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from kms_grpc.audit.sampling import PER_SECOND
from kms_grpc.endpoints.aws_operations import NAME_LENGTH
from kms_grpc.v1 import key_management_pb2 as pb
from tests.endpoints.calls import OPERATIONS, Reply, ask, metadata, refused
from tests.endpoints.conftest import MESSAGE_BYTES, STRANGER_TOKEN
from tests.endpoints.http2 import status_of_call
from tests.served import ACCOUNT, Served

pytestmark = pytest.mark.xdist_group("door")

HOME, AWAY = "eu-central-1", "eu-west-1"
LIST_KEYS = "/kms_grpc.v1.KeyManagementService/ListKeys"
ABSENT = "12345678-90ab-4cde-8f01-234567890abc"


@pytest.fixture(scope="module")
def key(door: Served, channel: grpc.Channel) -> Any:
    return ask(channel, "CreateKey", sent=metadata(door.token)).answer.key_metadata


@pytest.fixture(scope="module")
def blob(door: Served, channel: grpc.Channel, key: Any) -> bytes:
    request = pb.EncryptRequest(key_id=key.key_id, plaintext=b"p")
    sealed: bytes = ask(channel, "Encrypt", request, metadata(door.token)).answer.ciphertext_blob
    return sealed


# --- errors ---------------------------------------------------------------------------------------------------------

ERRORS = [
    ("DescribeKey", {"key_id": "x"}, "NOT_FOUND", "NotFoundException", "Invalid keyId 'x'"),
    (
        "DescribeKey",
        {},
        "INVALID_ARGUMENT",
        "ValidationException",
        "1 validation error detected: Value null at 'keyId'",
    ),
    ("DescribeKey", {"key_id": "arn:"}, "INVALID_ARGUMENT", "InvalidArnException", "Invalid arn 'arn:'"),
    (
        "Encrypt",
        {"key_id": "{key}", "plaintext": b"p", "dry_run": True},
        "ABORTED",
        "DryRunOperationException",
        "The request would",
    ),
    ("CreateKey", {"multi_region": True}, "FAILED_PRECONDITION", "UnsupportedOperationException", "MultiRegion"),
    ("Decrypt", {"ciphertext_blob": b"x"}, "INVALID_ARGUMENT", "InvalidCiphertextException", ""),
    ("ListKeys", {"marker": "x"}, "INVALID_ARGUMENT", "InvalidMarkerException", "The marker"),
    (
        "CreateAlias",
        {"alias_name": "alias/aws/s3", "target_key_id": "{key}"},
        "PERMISSION_DENIED",
        "NotAuthorizedException",
        "",
    ),
    (
        "CreateAlias",
        {"alias_name": "alias/a:b", "target_key_id": "{key}"},
        "INVALID_ARGUMENT",
        "ValidationException",
        "alias/a:b contains",
    ),
    (
        "DescribeKey",
        {"key_id": f"arn:aws:kms:{HOME}:999999999999:key/{ABSENT}"},
        "PERMISSION_DENIED",
        "AccessDeniedException",
        "User: ",
    ),
]


@pytest.mark.parametrize(("name", "fields", "code", "reason", "text"), ERRORS)
def test_errors(
    door: Served, channel: grpc.Channel, key: Any, name: str, fields: dict[str, Any], code: str, reason: str, text: str
) -> None:
    """An error has status, ErrorInfo, text and trailers, but RetryInfo only if a retry helps."""
    fields = {field: key.key_id if value == "{key}" else value for field, value in fields.items()}
    reply = ask(channel, name, OPERATIONS[name].request(**fields), metadata(door.token, request_id="mine"))
    assert (reply.code, reply.reason, reply.domain) == (code, reason, "kms_grpc.v1")
    assert reply.text.startswith(text)
    assert bool(reply.text) is bool(text)
    assert reply.facts["region"] == HOME
    assert not reply.retry_info
    assert reply.trailers["kms-request-id"] == "mine"
    assert reply.trailers["kms-region"] == HOME
    assert reply.trailers["kms-worker"] in ("0", "1")


def test_errors_of_a_key_name_it_and_its_state(door: Served, channel: grpc.Channel) -> None:
    made = ask(channel, "CreateKey", sent=metadata(door.token)).answer.key_metadata
    ask(channel, "DisableKey", pb.DisableKeyRequest(key_id=made.key_id), metadata(door.token))
    reply = ask(channel, "Encrypt", pb.EncryptRequest(key_id=made.key_id, plaintext=b"p"), metadata(door.token))
    assert (reply.code, reply.reason) == ("FAILED_PRECONDITION", "DisabledException")
    assert reply.text == f"{made.arn} is disabled."
    assert reply.facts == {"key": made.arn, "state": "Disabled", "region": HOME}


LONG = [
    ("x" * 2048, "the longest ASCII"),
    ("é" * 2048, "two bytes each"),
    ("\U0001f511" * 2048, "four bytes each"),
    ("%" * 2048, "percent signs, which are encoded"),
    ("\0\x1f\x7f" * 682, "control characters"),
]


@pytest.mark.parametrize(("text", "reason"), LONG, ids=[reason for _, reason in LONG])
@pytest.mark.parametrize("region", [None, "r" * 64, "r" * 6000])
def test_trailers_stay_under_4_kib(
    door: Served, channel: grpc.Channel, text: str, reason: str, region: str | None
) -> None:
    """Long key ids, regions and request ids are cut in the trailers."""
    reply = ask(channel, "DescribeKey", pb.DescribeKeyRequest(key_id=text), metadata(door.token, region, "i" * 128))
    assert reply.reason == ("NotFoundException" if region is None else "ValidationException")
    assert reply.text.startswith("Invalid keyId '" + text[:3] if region is None else "Region r")
    assert reply.trailer_bytes < 4096


def test_many_violations_at_once_stay_under_4_kib(door: Served, channel: grpc.Channel) -> None:
    request = pb.CreateKeyRequest(
        description="é" * 9000, key_spec=99, key_usage=99, origin=99, policy="é" * 5, xks_key_id="é"
    )  # type: ignore[arg-type]
    reply = ask(channel, "CreateKey", request, metadata(door.token))
    assert reply.reason == "ValidationException"
    assert reply.text.endswith("…")
    assert reply.trailer_bytes < 4096


# --- authentication -------------------------------------------------------------------------------------------------

TOKENS = [
    ([], "MissingAuthenticationTokenException", "none"),
    ([("authorization", "")], "MissingAuthenticationTokenException", "empty"),
    ([("authorization", "Basic YWxpY2U6")], "MissingAuthenticationTokenException", "another scheme"),
    ([("authorization", "Bearer")], "MissingAuthenticationTokenException", "a scheme alone"),
    ([("authorization", "Bearer ")], "UnrecognizedClientException", "an empty token"),
    ([("authorization", "Bearer wrong")], "UnrecognizedClientException", "a wrong one"),
    ([("authorization", "Bearer {token}x")], "UnrecognizedClientException", "one character too many"),
    ([("authorization", "Bearer  {token}")], "UnrecognizedClientException", "two blanks"),
    ([("authorization", "Bearer {token}, Bearer {token}")], "UnrecognizedClientException", "two in one"),
]


@pytest.mark.parametrize(("sent", "reason", "case"), TOKENS, ids=[case for *_, case in TOKENS])
def test_unknown_callers(
    door: Served, channel: grpc.Channel, sent: list[tuple[str, str]], reason: str, case: str
) -> None:
    """Every operation refuses them before it checks anything else, and never repeats the token."""
    filled = [(name, value.replace("{token}", door.token)) for name, value in sent]
    for name in OPERATIONS:
        reply = ask(channel, name, b"\xff", [*filled, ("kms-region", "nowhere")])
        assert (reply.code, reply.reason) == ("UNAUTHENTICATED", reason)
        assert door.token not in str(reply)


def test_schemes_are_not_case_sensitive(door: Served, channel: grpc.Channel) -> None:
    """Source: RFC 9110, section 11.1."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert ask(channel, "ListKeys", sent=[("authorization", f"{scheme} {door.token}")]).code == "OK"


def test_another_account_sees_nothing(door: Served, channel: grpc.Channel, key: Any, blob: bytes) -> None:
    sent = metadata(STRANGER_TOKEN)
    reply = ask(channel, "DescribeKey", pb.DescribeKeyRequest(key_id=key.arn), sent)
    assert (reply.code, reply.reason) == ("PERMISSION_DENIED", "AccessDeniedException")
    assert "key" not in reply.facts
    assert ask(channel, "Decrypt", pb.DecryptRequest(ciphertext_blob=blob), sent).reason == "AccessDeniedException"
    assert ask(channel, "DescribeKey", pb.DescribeKeyRequest(key_id=key.key_id), sent).reason == "NotFoundException"
    assert not ask(channel, "ListKeys", sent=sent).answer.keys


# --- metadata -------------------------------------------------------------------------------------------------------


def test_regions(door: Served, channel: grpc.Channel) -> None:
    assert ask(channel, "ListKeys", sent=metadata(door.token)).trailers["kms-region"] == HOME
    assert ask(channel, "ListKeys", sent=metadata(door.token, AWAY)).trailers["kms-region"] == AWAY
    reply = ask(channel, "ListKeys", sent=metadata(door.token, "us-east-1"))
    assert (reply.code, reply.reason) == ("INVALID_ARGUMENT", "ValidationException")
    assert reply.text == f"Region us-east-1 is not served here; served are: {HOME}, {AWAY}"
    assert reply.facts == {"region": "us-east-1"}


def test_request_ids(door: Served, channel: grpc.Channel, key: Any) -> None:
    """The server returns a sent id, also on the warm path, makes one if none was sent, and refuses invalid ones."""
    request = pb.DescribeKeyRequest(key_id=key.key_id)
    replies = [ask(channel, "DescribeKey", request, metadata(door.token, request_id=f"id-{i}")) for i in range(5)]
    assert [reply.trailers["kms-request-id"] for reply in replies] == [f"id-{i}" for i in range(5)]
    fresh = {ask(channel, "DescribeKey", request, metadata(door.token)).trailers["kms-request-id"] for _ in range(5)}
    assert len(fresh) == 5
    for bad in ("a b", "x" * 129):
        reply = ask(channel, "DescribeKey", request, metadata(door.token, request_id=bad))
        assert reply.reason == "ValidationException"


HEADERS = [
    ([], 0, "no unusual header"),
    ([(b"kms-region", b"\xff\xfe")], 3, "a region that is not UTF-8"),
    ([(b"kms-region", b"eu\0central")], 3, "a region with a zero byte"),
    ([(b"kms-request-id", b"\xff\xfe")], 3, "a request id that is not UTF-8"),
    ([(b"kms-request-id", b"")], 0, "an empty request id"),
    ([(b"user-agent", b"\xff\xfe\0")], 0, "a user agent that is not UTF-8"),
    ([(b"authorization", b"Bearer \xff\xfe")], 16, "a token that is not UTF-8"),
    ([(b"grpc-timeout", b"0S")], None, "a deadline that has passed"),
]


@pytest.mark.parametrize(("headers", "status", "case"), HEADERS, ids=[case for *_, case in HEADERS])
def test_metadata_that_grpc_clients_cannot_send(
    door: Served, headers: list[tuple[bytes, bytes]], status: int | None, case: str
) -> None:
    token = (
        [] if headers and headers[0][0] == b"authorization" else [(b"authorization", b"Bearer " + door.token.encode())]
    )
    try:
        seen = status_of_call(door.address, LIST_KEYS, [*token, *headers])
    except ConnectionError:
        assert status is None
        return
    assert seen == status if status is not None else seen in (4, 14)


def test_invalid_metadata_writes_no_log(door: Served) -> None:
    """Otherwise any client could fill the log."""
    status_of_call(door.address, LIST_KEYS, [(b"authorization", b"Bearer \xff"), (b"kms-region", b"\xff\xfe")])
    assert "Traceback" not in door.log_text()
    assert "Invalid encoding" not in door.log_text()


# --- methods and sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/kms_grpc.v1.KeyManagementService/ReplicateKey", "UnsupportedOperationException"),
        ("/kms_grpc.v1.KeyManagementService/Sign", "UnsupportedOperationException"),
        ("/kms_grpc.v1.KeyManagementService/encrypt", "UnknownOperationException"),
        ("/kms_grpc.v1.KeyManagementService/", "UnknownOperationException"),
        ("/kms_grpc.v1.EnvelopeService/Sign", "UnknownOperationException"),
        ("/kms_grpc.v1.NoService/Encrypt", "UnknownOperationException"),
        ("/x/y", None),
        ("/", None),
    ],
)
def test_unknown_methods(door: Served, channel: grpc.Channel, path: str, reason: str | None) -> None:
    reply = call_of(channel, path, metadata(door.token))
    assert (reply.code, reply.reason) == ("UNIMPLEMENTED", reason)
    assert reply.domain == (reason and "kms_grpc.v1")
    if reason == "UnsupportedOperationException":
        assert reply.text == f"{path.rpartition('/')[2]} is not supported yet."
    elif reason:
        assert path in reply.text


def call_of(channel: grpc.Channel, path: str, sent: list[tuple[str, str]]) -> Reply:
    """Calls a method that must be refused."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", metadata=sent, timeout=60)
    return refused(caught.value)


@pytest.mark.parametrize(
    ("name", "read_only", "recorded"),
    [("Sign", True, "Sign"), ("ReplicateKey", False, "ReplicateKey"), ("MakeKey" * 20, True, ("MakeKey" * 20)[:64])],
    ids=["not built", "not built, and changes keys", "a name that AWS does not have"],
)
@pytest.mark.parametrize("known", [True, False])
def test_operations_that_are_not_served_are_audited(
    door: Served, channel: grpc.Channel, name: str, read_only: bool, recorded: str, known: bool
) -> None:
    time.sleep(0 if known else 2 / PER_SECOND)  # unknown callers of other tests may have used up this address's records
    request_id = f"unserved-{recorded[:20]}-{known}"
    sent = metadata(door.token if known else "x" * 40, AWAY, request_id)
    reply = call_of(channel, f"/kms_grpc.v1.KeyManagementService/{name}", sent)
    assert reply.trailers["kms-request-id"] == request_id
    (record,) = records(door, request_id)
    assert (record["eventName"], record["readOnly"], record["awsRegion"]) == (recorded, read_only, AWAY)
    assert (record["errorCode"], record["errorMessage"]) == (reply.reason, reply.text)
    assert record["userIdentity"].get("accountId") == (ACCOUNT if known else None)


UNKNOWN_METHODS = [
    ("KeyManagementService/MakeKey", "MakeKey", True, "the name, as an operation's"),
    ("KeyManagementService/MakeKey", "MakeKey", False, "an unknown caller"),
    ("EnvelopeService/Sign", "EnvelopeService/Sign", True, "AWS's Sign would be another operation"),
    ("NoService/Encrypt", "NoService/Encrypt", True, "Encrypt was not called"),
    ('KeyManagementService/a b"<', "a?b??", True, "characters that no name has"),
    ("KeyManagementService/" + "x" * 9000, "x" * NAME_LENGTH, True, "cut"),
]


@pytest.mark.parametrize(
    ("path", "name", "known"), [row[:3] for row in UNKNOWN_METHODS], ids=[row[3] for row in UNKNOWN_METHODS]
)
def test_methods_that_nobody_has_are_audited(
    door: Served, channel: grpc.Channel, path: str, name: str, known: bool
) -> None:
    """Their names are those of tests/endpoints/test_aws_door.py's targets, where both doors have them."""
    time.sleep(0 if known else 2 / PER_SECOND)  # unknown callers of other tests may have used up this address's records
    request_id = f"unknown-{len(path)}-{known}"
    reply = call_of(channel, f"/kms_grpc.v1.{path}", metadata(door.token if known else "x" * 40, AWAY, request_id))
    (record,) = records(door, request_id)
    assert (record["eventName"], record["readOnly"], record["awsRegion"]) == (name, True, AWAY)
    assert (record["errorCode"], record["errorMessage"]) == ("UnknownOperationException", reply.text)
    assert record["userIdentity"].get("accountId") == (ACCOUNT if known else None)


def test_metadata_beyond_the_limit_is_always_refused(door: Served, channel: grpc.Channel) -> None:
    """gRPC's own limits are 8 KiB and 16 KiB, and between them it refuses by chance. The error names the limit."""
    for size in (4_000, 8_000, 12_000, 15_000):
        codes = {ask(channel, "ListKeys", sent=[*metadata(door.token), ("x-long", "x" * size)]).code for _ in range(30)}
        assert codes == {"OK"}, size
    replies = [ask(channel, "ListKeys", sent=[*metadata(door.token), ("x-long", "x" * 16_500)]) for _ in range(30)]
    assert {reply.code for reply in replies} == {"RESOURCE_EXHAUSTED"}
    assert all("16384" in reply.text for reply in replies), replies[0].text


def test_messages_beyond_the_limit(door: Served, channel: grpc.Channel, key: Any) -> None:
    """gRPC itself refuses them, with the status documented at GetLimits; the connection stays open."""
    limits = ask(channel, "GetLimits", sent=metadata(door.token)).answer.calls
    assert limits.max_request_message_bytes == MESSAGE_BYTES
    over = ask(channel, "CreateKey", b"\x0a" + bytes(MESSAGE_BYTES), metadata(door.token))
    assert over.code == "RESOURCE_EXHAUSTED"
    within = ask(channel, "CreateKey", bytes(MESSAGE_BYTES), metadata(door.token))
    assert within.reason == "ValidationException"
    assert ask(channel, "DescribeKey", pb.DescribeKeyRequest(key_id=key.key_id), metadata(door.token)).code == "OK"


# --- standard services ----------------------------------------------------------------------------------------------


def test_health(door: Served, channel: grpc.Channel) -> None:
    """The health service needs no token."""
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "kms_grpc.v1.KeyManagementService", "kms_grpc.v1.EnvelopeService"):
        assert (
            stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60).status
            == health_pb2.HealthCheckResponse.SERVING
        )
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(channel: grpc.Channel, version: str) -> None:
    """Both versions have the same messages."""
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="kms_grpc.v1.KeyManagementService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="kms_grpc.v1.Nothing"),
    ]
    listed, file, nothing = list(method(iter(asked), timeout=60))
    assert {service.name for service in listed.list_services_response.service} == {
        "kms_grpc.v1.KeyManagementService",
        "kms_grpc.v1.EnvelopeService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    names = {FileDescriptorProto.FromString(raw).name for raw in file.file_descriptor_response.file_descriptor_proto}
    assert "kms_grpc/v1/key_management.proto" in names
    assert nothing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "kms_grpc.v1.Nothing" in nothing.error_response.error_message


# --- audit ----------------------------------------------------------------------------------------------------------


def records(door: Served, request_id: str) -> list[dict[str, Any]]:
    """Waits for the audit records of one call and returns them."""
    for _ in range(200):
        found = []
        for log in (door.data_dir / "audit").glob("*.jsonl"):
            found += [json.loads(line) for line in log.read_bytes().splitlines() if request_id.encode() in line]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no record of {request_id}")


@pytest.mark.parametrize("name", ["Encrypt", "CreateAlias", "ListKeys"])
@pytest.mark.parametrize("how", ["done", "refused", "unknown caller", "malformed"])
def test_each_call_leaves_one_record(door: Served, channel: grpc.Channel, key: Any, name: str, how: str) -> None:
    fields = {
        "Encrypt": {"key_id": key.arn, "plaintext": b"p"},
        "CreateAlias": {"alias_name": f"alias/{name}-{how.replace(' ', '-')}", "target_key_id": key.arn},
        "ListKeys": {},
    }[name]
    if how == "refused":
        fields |= {"Encrypt": {"dry_run": True}, "CreateAlias": {"alias_name": "x"}, "ListKeys": {"marker": "x"}}[name]
    raw = b"\xff" if how == "malformed" else OPERATIONS[name].request(**fields).SerializeToString()
    request_id = f"{name}-{how.replace(' ', '-')}"
    reply: Reply = ask(
        channel, name, raw, metadata("x" * 40 if how == "unknown caller" else door.token, request_id=request_id)
    )
    (record,) = records(door, request_id)
    assert (record["eventName"], record["requestID"], record.get("errorCode")) == (name, request_id, reply.reason)
    assert record.get("errorMessage", "") == reply.text
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert "grpc-python/" in record["userAgent"]
    assert record["userIdentity"].get("accountId") == (None if how == "unknown caller" else ACCOUNT)
