"""Rows `aws.*`: the door for AWS's own clients.

`aws.encrypt.1k` is the worker's CPU per signed call, beside a bare ASGI echo of the same sizes in the same worker.
`aws.sigv4` is the verification of a signature, beside botocore's signing.

The client's signing is not measured: a request is signed once and sent repeatedly; the server verifies each copy.
Several connections take turns, each with one call in flight.
"""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time_ns
from typing import Any, Final

import click
import msgspec

from kms_grpc.authentication.credentials import Credentials, SignedRequest
from kms_grpc.authentication.signature_v4 import FixedSigners, SignatureV4, read_scope, signature_of
from kms_grpc.authentication.signing_key import SigningKey, derive_signing_key
from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.echo import USAGE
from kms_grpc.bench.effort import ITEM_BYTES
from kms_grpc.bench.http2 import LoadConnection
from kms_grpc.bench.http_echo import ECHO_PATH
from kms_grpc.bench.server import REGION, Target, own_server
from kms_grpc.bench.statistics import BenchRow, interleaved
from kms_grpc.config import DEV_ACCESS_KEY, DEV_SECRET
from kms_grpc.endpoints.aws_operations import PREFIX
from kms_grpc.model.principal import Principal

NAMES: Final = ("aws.encrypt.1k", "aws.sigv4")
GOALS: Final = {"aws.encrypt.1k": 4.0, "aws.sigv4": 0.5}
SIGNED_BODY_BYTES: Final = 2_048
CONNECTIONS: Final = 16
JSON: Final = b"application/x-amz-json-1.1"


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    if name == "aws.sigv4":
        return _verification(bench_data)
    with (
        own_server(bench_data.fresh("serve"), 1, aws=True) as target,
        _connections(target.aws_endpoint) as to_door,
        _connections(target.echo_endpoint) as to_echo,
    ):
        load, echoing = _Load(target, to_door), _Load(target, to_echo)
        encrypt = signed_call(target, "Encrypt", load.encrypt_request())
        echo = echo_call(target, encrypt, load.answer_bytes(encrypt))
        seconds, rounds = bench_data.effort.seconds, bench_data.effort.rounds
        load.run(encrypt, bench_data.effort.warm_up)
        echoing.run(echo, bench_data.effort.warm_up)
        return [
            interleaved(
                name, "µs CPU/call", GOALS[name], lambda: load.run(encrypt, seconds),
                lambda: echoing.run(echo, seconds), rounds,
            )
        ]  # fmt: skip


# --- calls in bytes ----------------------------------------------------------------------------------------------


def signed_call(target: Target, operation: str, request: dict[str, Any]) -> bytes:
    """Returns the HTTP request of an operation, signed with the current time."""
    assert target.aws_endpoint is not None
    body = msgspec.json.encode(request)
    headers = _signed(target.aws_endpoint.encode(), f"{PREFIX}{operation}".encode(), body)
    return _http(b"/", headers, body)


def echo_call(target: Target, call: bytes, answer_bytes: int) -> bytes:
    """Returns an echo request whose request and answer are as large as the call's."""
    head, _, body = call.partition(b"\r\n\r\n")
    return head.replace(b"POST / ", b"POST %s?%d " % (ECHO_PATH.encode(), answer_bytes), 1) + b"\r\n\r\n" + body


def _signed(host: bytes, target: bytes, body: bytes) -> dict[bytes, bytes]:
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()).encode()
    headers = {b"content-type": JSON, b"host": host, b"x-amz-date": moment, b"x-amz-target": target}
    stated = b"AWS4-HMAC-SHA256 Credential=%s/%s/%s/kms/aws4_request, SignedHeaders=%s, " % (
        DEV_ACCESS_KEY.encode(), moment[:8], REGION.encode(), b";".join(headers),
    )  # fmt: skip
    scope = read_scope(stated, True)
    key = SigningKey(derive_signing_key(DEV_SECRET.encode(), scope.date, scope.region))
    signature = signature_of(key, SignedRequest(b"POST", b"/", b"", headers, body), scope, moment)
    return {**headers, b"authorization": stated + b"Signature=" + signature}


def _http(path: bytes, headers: dict[bytes, bytes], body: bytes) -> bytes:
    lines = [b"POST %s HTTP/1.1" % path, *(name + b": " + value for name, value in headers.items())]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


# --- load --------------------------------------------------------------------------------------------------------


@contextmanager
def _connections(endpoint: str | None) -> Iterator[list[socket.socket]]:
    assert endpoint is not None
    host, _, port = endpoint.rpartition(":")
    opened = [socket.create_connection((host, int(port)), timeout=60) for _ in range(CONNECTIONS)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


class _Load:
    """A closed loop over all connections, with the CPU time that the worker used for it."""

    def __init__(self, target: Target, connections: list[socket.socket]) -> None:
        self._connections = connections
        self._worker = LoadConnection(target.endpoint, lambda *_: None)
        self._target = target

    def encrypt_request(self) -> dict[str, Any]:
        """Returns an Encrypt request for 1 KiB under a new key."""
        made = msgspec.json.decode(self._ask(signed_call(self._target, "CreateKey", {})).partition(b"\r\n\r\n")[2])
        return {"KeyId": made["KeyMetadata"]["KeyId"], "Plaintext": bytes(ITEM_BYTES)}

    def answer_bytes(self, call: bytes) -> int:
        return len(self._ask(call).partition(b"\r\n\r\n")[2])

    def run(self, call: bytes, seconds: float) -> float:
        """Returns the worker's CPU per call in microseconds. All answers of a call have the same size."""
        size = len(self._ask(call))
        before, calls, end = self._used_ns(), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for each in self._connections:
                each.sendall(call)
            for each in self._connections:
                _received(each, size)
            calls += len(self._connections)
        return (self._used_ns() - before) / 1000 / calls

    def _ask(self, call: bytes) -> bytes:
        first = self._connections[0]
        first.sendall(call)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _more(first)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise BenchFailed(f"the AWS door refused: {head.splitlines()[0].decode()}")
        left = int(head.lower().partition(b"content-length: ")[2].split()[0]) - len(body)
        return answer + (_received(first, left) if left else b"")

    def _used_ns(self) -> int:
        used = msgspec.json.decode(self._worker.call(USAGE, b"", ()).message)
        return int(used["user_ns"]) + int(used["system_ns"])


def _received(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += _more(connection)
    return received


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(65_536)
    if not part:
        raise BenchFailed("the AWS door closed a connection")
    return part


# --- signatures --------------------------------------------------------------------------------------------------


def _verification(bench_data: BenchData) -> list[BenchRow]:
    if importlib.util.find_spec("botocore") is None:
        click.echo("aws.sigv4 is skipped: its reference, botocore, is not installed (pip install botocore)", err=True)
        return []
    body, calls = bytes(SIGNED_BODY_BYTES), bench_data.effort.calls
    headers = _signed(b"127.0.0.1:8080", f"{PREFIX}Encrypt".encode(), body)
    request = SignedRequest(b"POST", b"/", b"", headers, body)
    credentials = Credentials(None, REGION, "bench", False, "127.0.0.1", "", None, request)
    bench = Principal("bench", "arn:aws:iam::123456789012:root", "123456789012")
    verifier = SignatureV4(FixedSigners([(DEV_ACCESS_KEY, DEV_SECRET, bench)]), time.time_ns)
    sign = _botocores_signing(body)
    return [
        interleaved(
            "aws.sigv4", "µs", GOALS["aws.sigv4"], lambda: _cpu_us(lambda: verifier.principal(credentials), calls),
            lambda: _cpu_us(sign, calls), bench_data.effort.rounds,
        )
    ]  # fmt: skip


def _botocores_signing(body: bytes) -> Callable[[], object]:
    """Returns a function that signs a request with botocore.

    Each call creates a new request object, as botocore does; that sets a few attributes and is not measured apart.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as Signing

    signer = SigV4Auth(Signing(DEV_ACCESS_KEY, DEV_SECRET), "kms", REGION)
    headers = {"Content-Type": JSON.decode(), "X-Amz-Target": f"{PREFIX}Encrypt", "Host": "127.0.0.1:8080"}
    request = AWSRequest("POST", "http://127.0.0.1:8080/", headers=headers, data=body)
    return lambda: signer.add_auth(request)


def _cpu_us(act: Callable[[], object], calls: int) -> float:
    begun = process_time_ns()
    for _ in range(calls):
        act()
    return (process_time_ns() - begun) / 1000 / calls
