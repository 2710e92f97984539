"""The AWS door of a server with two workers: HTTP, authentication, repeated calls, listening and draining."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kms_grpc.endpoints.aws_operations import NAME_LENGTH, NO_TARGET
from kms_grpc.endpoints.aws_server import INLINE_BYTES
from tests.conftest import StartServer
from tests.endpoints.aws_calls import JSON_11, TEST, Answer, address_of, call, send, signed_headers
from tests.processes.stand_in_server import eventually
from tests.served import ACCOUNT, Served

pytestmark = pytest.mark.xdist_group("aws door")

BODY_BYTES = 64 * 1024
CONFIG = f"""
aws_listen = "127.0.0.1:0"
[[principals]]
name = "orders"
arn = "arn:aws:iam::111122223333:role/orders"
account = "111122223333"
token = "token-of-orders-0001"
policies = ["full-access"]
[limits]
http_body_bytes = {BODY_BYTES}
"""
WORKERS = {"0", "1"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("aws") / "kms.toml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def served(config: Path) -> Iterator[Served]:
    server = Served(config.with_name("data"), ["--config", str(config)])
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def address(served: Served) -> str:
    return address_of(served.data_dir)


@pytest.fixture(scope="module")
def key_id(address: str) -> str:
    return str(call(address, "CreateKey").json["KeyMetadata"]["KeyId"])


def connections(address: str) -> dict[str, http.client.HTTPConnection]:
    """Returns a connection to each worker."""
    found: dict[str, http.client.HTTPConnection] = {}
    for _ in range(200):
        connection = http.client.HTTPConnection(address, timeout=60)
        found.setdefault(call(connection, "ListKeys").worker, connection)
        if set(found) == WORKERS:
            return found
    raise AssertionError(f"200 connections reached only {set(found)}")


def access_key(
    command: str,
    *arguments: str,
    data_dir: Path,
    config: Path,
    code: int = 0,
    environment: Mapping[str, str] | None = None,
) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kms_grpc", "principals", "access-key", command, *arguments, "--data-dir", str(data_dir),
         "--config", str(config), "--output", "json"], capture_output=True, text=True, timeout=100, check=False,
         env=os.environ | (environment or {}),
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def make_access_key(data_dir: Path, config: Path, name: str = "orders") -> tuple[str, str]:
    made = json.loads(access_key("create", name, data_dir=data_dir, config=config))["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


# --- HTTP --------------------------------------------------------------------------------------------------------

UNKNOWN = "UnknownOperationException"
NOT_CALLS = [
    ("an unknown operation", "POST", "/", {"X-Amz-Target": "TrentService.MakeKey"}, UNKNOWN),
    ("an operation of another service", "POST", "/", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, UNKNOWN),
    ("an operation that AWS KMS does not have", "POST", "/", {"X-Amz-Target": "TrentService.GetLimits"}, UNKNOWN),
    ("no operation", "POST", "/", {"X-Amz-Target": ""}, UNKNOWN),
    ("two operations", "POST", "/", {"X-Amz-Target": "TrentService.ListKeys,TrentService.ListKeys"}, UNKNOWN),
    ("plain JSON", "POST", "/", {"Content-Type": "application/json"}, UNKNOWN),
    ("JSON 1.0", "POST", "/", {"Content-Type": "application/x-amz-json-1.0"}, UNKNOWN),
    ("no content type", "POST", "/", {"Content-Type": ""}, UNKNOWN),
    ("a PUT", "PUT", "/", {}, UNKNOWN),
    ("another path", "POST", "/kms", {}, UNKNOWN),
    ("an operation that is not supported yet", "POST", "/", {"X-Amz-Target": "TrentService.ReplicateKey"},
     "UnsupportedOperationException"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"), [row[1:] for row in NOT_CALLS], ids=[r[0] for r in NOT_CALLS]
)
def test_requests_that_are_not_calls(address: str, method: str, path: str, headers: dict[str, str], code: str) -> None:
    usual = signed_headers(address, "TrentService.ListKeys", b"{}", "eu-central-1", TEST, {})
    answer = send(http.client.HTTPConnection(address, timeout=60), method, path, b"{}", {**usual, **headers})
    assert (answer.status, answer.code) == (400, code)
    assert answer.headers["x-amzn-requestid"]
    assert answer.headers["content-type"] == JSON_11
    if code != UNKNOWN:
        assert answer.json["message"] == "ReplicateKey is not supported yet."


@pytest.mark.parametrize(
    ("name", "read_only", "code", "text"),
    [
        ("Sign", True, "UnsupportedOperationException", "Sign is not supported yet."),
        ("ReplicateKey", False, "UnsupportedOperationException", "ReplicateKey is not supported yet."),
        ("MakeKey", True, UNKNOWN, "X-Amz-Target must be TrentService.<Operation>, with an operation of AWS KMS."),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_operations_that_are_not_served_are_audited(
    served: Served, address: str, name: str, read_only: bool, code: str, text: str, known: bool
) -> None:
    """The record has the operation's name, as at the gRPC door, and the caller where the signature is right."""
    answer = call(address, name, key=TEST if known else ("test", "wrong"))
    assert (answer.status, answer.code) == (400, code)
    assert answer.json["message"] == text
    request_id = answer.headers["x-amzn-requestid"]
    eventually(lambda: request_id in audit(served), "the audit record")
    (record,) = [json.loads(line) for line in audit(served).splitlines() if request_id in line]
    assert (record["eventName"], record["readOnly"], record["errorCode"]) == (name, read_only, answer.code)
    assert record["errorMessage"] == answer.json["message"]
    assert record["userIdentity"].get("accountId") == (ACCOUNT if known else None)


UNKNOWN_TARGETS = [
    (b"TrentService.MakeKey", "MakeKey", "the name, as an operation's"),
    (b"TrentService.GetLimits", "GetLimits", "an operation that only the gRPC door has"),
    (b"TrentService.", "TrentService.", "no name"),
    (b"Sign", "Sign", "AWS's Sign, without the service"),
    (b"DynamoDB_20120810.ListTables", "DynamoDB_20120810.ListTables", "another service's"),
    (b'TrentService.a b"<', "a?b??", "characters that no name has"),
    (b"TrentService." + b"x" * 9000, "x" * NAME_LENGTH, "cut"),
]


@pytest.mark.parametrize(("target", "name"), [row[:2] for row in UNKNOWN_TARGETS], ids=[r[2] for r in UNKNOWN_TARGETS])
@pytest.mark.parametrize(
    ("key", "size"),
    [(TEST, 2), (TEST, INLINE_BYTES + 1), (("test", "wrong"), 2)],
    ids=["known", "large body", "wrong secret"],
)
def test_operations_that_nobody_has_are_audited(
    served: Served, address: str, target: bytes, name: str, key: tuple[str, str], size: int
) -> None:
    """Their names are those of tests/endpoints/test_grpc_door.py's methods, where both doors have them."""
    body = b"{}".ljust(size)
    headers = signed_headers(address, target.decode("latin-1"), body, "eu-central-1", key, {})
    own = http.client.HTTPConnection(address, timeout=60, source_address=("127.0.0.9", 0))
    answer = send(own, "POST", "/", body, headers)  # other tests may have used up the records of 127.0.0.1
    assert (answer.status, answer.code) == (400, "UnknownOperationException")
    request_id = answer.headers["x-amzn-requestid"]
    eventually(lambda: request_id in audit(served), "the audit record")
    (record,) = [json.loads(line) for line in audit(served).splitlines() if request_id in line]
    assert (record["eventName"], record["readOnly"], record["errorCode"]) == (name, True, answer.code)
    assert record["errorMessage"] == answer.json["message"] == NO_TARGET
    assert record["userIdentity"].get("accountId") == (ACCOUNT if key == TEST else None)


def test_a_response_to_bytes_that_are_not_http_has_a_request_id(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GARBAGE\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 400
        assert len(answer.headers["x-amzn-RequestId"]) == 36
        assert answer.read() == b"Invalid HTTP request received."


def test_a_content_type_may_name_its_charset(address: str) -> None:
    assert call(address, "ListKeys", headers={"Content-Type": f"{JSON_11}; charset=utf-8"}).status == 200


def test_a_body_beyond_the_limit_is_not_read(address: str) -> None:
    full = b'{"KeyId": "' + b"a" * (BODY_BYTES - 13) + b'"}'
    assert call(address, "DescribeKey", full).code == "ValidationException", "a body of exactly the limit is read"
    answer = call(address, "DescribeKey", full + b" ")
    assert (answer.status, answer.code, answer.headers["connection"]) == (
        413,
        "RequestEntityTooLargeException",
        "close",
    )
    with socket.create_connection(address.rsplit(":", 1), timeout=60) as raw:  # type: ignore[arg-type]
        raw.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n"
            b"X-Amz-Target: TrentService.ListKeys\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(9):
            raw.sendall(b"2000\r\n" + b" " * 8192 + b"\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413 "), "a body without Content-Length is not read either"


def test_errors_without_a_text_have_no_message(address: str, key_id: str) -> None:
    blob = call(address, "Encrypt", {"KeyId": key_id, "Plaintext": "AAAA"}).json["CiphertextBlob"]
    answer = call(address, "Decrypt", {"CiphertextBlob": blob, "EncryptionContext": {"a": "b"}})
    assert (answer.status, answer.json) == (400, {"__type": "InvalidCiphertextException"})


def test_many_calls_go_over_one_connection(address: str, key_id: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    asked = {"KeyId": key_id, "Plaintext": base64.b64encode(b"x" * 4096).decode()}
    answers = [call(connection, "Encrypt", asked) for _ in range(30)]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.worker for answer in answers}) == 1
    assert len({answer.headers["x-amzn-requestid"] for answer in answers}) == 30
    assert len({answer.json["CiphertextBlob"] for answer in answers}) == 30


def test_the_request_id_is_that_of_the_audit_record(served: Served, address: str) -> None:
    given = str(uuid.uuid4())
    answer = call(address, "ListAliases", unsigned={"amz-sdk-invocation-id": given})
    assert answer.headers["x-amzn-requestid"] == given
    odd = call(address, "ListAliases", unsigned={"amz-sdk-invocation-id": "with a space"})
    assert odd.headers["x-amzn-requestid"] not in ("", "with a space")
    ids = (given, odd.headers["x-amzn-requestid"])
    eventually(lambda: all(f'"requestID":"{request_id}"' in audit(served) for request_id in ids), "the audit records")


def audit(served: Served) -> str:
    return "".join(path.read_text() for path in (served.data_dir / "audit").glob("worker-*.jsonl"))


# --- authentication ----------------------------------------------------------------------------------------------


def test_region_and_account_come_from_the_signature(served: Served, address: str, config: Path) -> None:
    orders = make_access_key(served.data_dir, config)
    for key, account in ((TEST, "123456789012"), (orders, "111122223333")):
        for region in served.regions:
            arn = call(address, "CreateKey", key=key, region=region).json["KeyMetadata"]["Arn"]
            assert arn.startswith(f"arn:aws:kms:{region}:{account}:key/")
    refused = call(address, "ListKeys", region="mars-north-1")
    assert refused.code == "ValidationException"
    assert refused.json["message"] == "Region mars-north-1 is not served here; served are: eu-central-1, eu-west-1"


def test_a_cached_permit_does_not_replace_the_signature(address: str, key_id: str) -> None:
    """The very call that a worker answers warm is refused once its signature is wrong."""
    connection = http.client.HTTPConnection(address, timeout=60)
    asked = {"KeyId": key_id, "Plaintext": "AAAA"}
    assert [call(connection, "Encrypt", asked).status for _ in range(5)] == [200] * 5
    wrong = call(connection, "Encrypt", asked, key=("test", "guess"))
    assert (wrong.status, wrong.code) == (400, "InvalidSignatureException")
    unknown = call(connection, "Encrypt", asked, key=("nobody", "test"))
    assert unknown.code == "UnrecognizedClientException"
    body = json.dumps(asked).encode()
    sent = signed_headers(address, "TrentService.Encrypt", body, "eu-central-1", TEST, {})
    assert send(connection, "POST", "/", body.replace(b"AAAA", b"AAAB"), sent).code == "InvalidSignatureException"
    assert send(connection, "POST", "/", body, {**sent, "X-Amz-Target": "TrentService.Decrypt"}).status == 400
    assert send(connection, "POST", "/", body, sent).status == 200


def test_a_deleted_access_key_is_refused_by_all_workers_at_once(served: Served, address: str, config: Path) -> None:
    """This includes cached Permits, also in the region whose shard was not written; that region is called first."""
    workers, key = connections(address), make_access_key(served.data_dir, config)
    ids = {
        region: call(address, "CreateKey", key=key, region=region).json["KeyMetadata"]["KeyId"]
        for region in served.regions
    }
    for _ in range(2):
        described = [
            call(connection, "DescribeKey", {"KeyId": key_id}, key=key, region=region)
            for connection in workers.values()
            for region, key_id in ids.items()
            for _ in range(3)
        ]
        assert {answer.status for answer in described} == {200}
        access_key("delete", key[0], data_dir=served.data_dir, config=config)
        for connection in workers.values():
            for region, key_id in reversed(ids.items()):
                refused = call(connection, "DescribeKey", {"KeyId": key_id}, key=key, region=region)
                assert refused.code == "UnrecognizedClientException"
        key = make_access_key(served.data_dir, config)


def test_an_access_key_whose_deletion_was_killed_before_it_was_announced_is_refused(
    served: Served, address: str, config: Path
) -> None:
    """The keeper makes up for it within seconds, and so does a second `delete`, which finds nothing to delete."""
    workers = connections(address)

    def killed() -> tuple[str, str]:
        key = make_access_key(served.data_dir, config)
        assert {call(each, "ListKeys", key=key).status for each in workers.values() for _ in range(3)} == {200}
        environment = {"KMS_GRPC_FAULT": "commit.after", "KMS_GRPC_FAULT_IN": "principals"}
        access_key("delete", key[0], data_dir=served.data_dir, config=config, code=-9, environment=environment)
        return key

    key = killed()
    for connection in workers.values():
        deadline = time.monotonic() + 60
        while call(connection, "ListKeys", key=key).status == 200:
            assert time.monotonic() < deadline, "the deletion never took effect"
            time.sleep(0.05)
        assert call(connection, "ListKeys", key=key).code == "UnrecognizedClientException"
    key = killed()
    access_key("delete", key[0], data_dir=served.data_dir, config=config, code=5)
    for connection in workers.values():
        assert call(connection, "ListKeys", key=key).code == "UnrecognizedClientException"


def test_a_secret_is_shown_once(served: Served, address: str, config: Path) -> None:
    key_id, secret = make_access_key(served.data_dir, config)
    listed = access_key("list", data_dir=served.data_dir, config=config)
    assert key_id in listed
    assert secret not in listed
    call(address, "ListKeys", key=(key_id, secret))
    call(address, "ListKeys", key=(key_id, "wrong" + secret[5:]))
    for path in served.data_dir.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert secret not in served.log_text()
    assert "no caller" in access_key("create", "nobody", data_dir=served.data_dir, config=config, code=2)
    assert "NotFoundException" in access_key("delete", "AKIANONE", data_dir=served.data_dir, config=config, code=5)


def test_the_access_key_test_needs_dev_and_access_keys_survive_a_restart(
    start_server: StartServer, config: Path, tmp_path: Path
) -> None:
    server = start_server("--config", str(config), dev=False, regions=["eu-west-1"], data_dir=tmp_path / "strict")
    key = make_access_key(server.data_dir, config)
    for _ in range(2):
        where = address_of(server.data_dir)
        assert call(where, "ListKeys", region="eu-west-1").code == "UnrecognizedClientException"
        assert call(where, "ListKeys", region="eu-west-1", key=key).status == 200
        server.stop()
        server.launch()
        wait_for_door(server)


def wait_for_door(server: Served) -> None:
    server._chosen_address()


# --- repeated calls ----------------------------------------------------------------------------------------------


def test_a_repeated_create_key_makes_one_key(address: str) -> None:
    """The second attempt may reach another worker."""
    workers = connections(address)
    same, other = ({"amz-sdk-invocation-id": str(uuid.uuid4())} for _ in range(2))

    def create(worker: str, sent: dict[str, str], description: str = "once") -> Answer:
        return call(workers[worker], "CreateKey", {"Description": description}, unsigned=sent)

    first, second, third = create("0", same), create("1", same), create("0", other)
    assert first.json == second.json
    assert third.json["KeyMetadata"]["KeyId"] != first.json["KeyMetadata"]["KeyId"]
    assert create("1", same, "twice").code == "ValidationException"


# --- listening and draining --------------------------------------------------------------------------------------


def test_running_calls_finish_when_the_server_stops(start_server: StartServer) -> None:
    """Each call was answered completely or never started: the registry has every key that a caller was told of."""
    server = start_server("--aws-listen", "127.0.0.1:0")
    where, made, torn = address_of(server.data_dir), [], []

    def create() -> None:
        connection = http.client.HTTPConnection(where, timeout=60)
        while True:
            try:
                answer = call(connection, "CreateKey")
            except http.client.IncompleteRead:
                torn.append("an incomplete response")
                return
            except (OSError, http.client.HTTPException):
                return
            made.append(answer.json["KeyMetadata"]["KeyId"] if answer.status == 200 else torn.append(answer.body))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(made) < 20:
        pass
    assert server.stop() == 0
    for thread in threads:
        thread.join()
    assert torn == []
    server.start()
    kept = call(address_of(server.data_dir), "ListKeys", {"Limit": 1000}).json
    assert not kept["Truncated"]
    assert set(made) <= {entry["KeyId"] for entry in kept["Keys"]}


def test_the_address_of_the_aws_door_is_locked(served: Served, address: str, tmp_path: Path) -> None:
    second = Served(tmp_path / "second", ["--aws-listen", address])
    process = second.launch()
    assert process.wait(60) == 1
    assert f"listen {address} is served by another kms-grpc (pid {served.process.pid})" in second.log_text()
    assert "give another --aws-listen" in second.log_text()


def test_only_loopback_addresses_are_accepted(tmp_path: Path) -> None:
    second = Served(tmp_path / "open", ["--aws-listen", "0.0.0.0:0"])
    assert second.launch().wait(60) == 2
    assert "aws_listen '0.0.0.0:0': only loopback" in second.log_text()


def test_a_unix_socket(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "kms"
    start_server("--aws-listen", f"unix:{path}", workers=1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = http.client.HTTPConnection("kms", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    sent = signed_headers("kms", "TrentService.ListKeys", b"{}", "eu-west-1", TEST, {})
    assert send(connection, "POST", "/", b"{}", sent).json == {"Keys": [], "Truncated": False}
