"""HTTP at the AWS door, byte by byte: requests to upgrade, the spelling of header names, health checks."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime

import pytest

from tests.conftest import StartServer
from tests.endpoints.aws_calls import TEST, address_of, signed_headers
from tests.served import Served

BODY = b'{"Limit": 7}'
UPGRADE = {
    "Connection": "Upgrade, HTTP2-Settings",
    "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    "Upgrade": "h2c",
}
"""Headers of the first request that Java's HttpClient sends on a connection."""
ANSWER = b'{"Keys":[],"Truncated":false}'


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Served(tmp_path_factory.mktemp("http") / "data", ["--aws-listen", "127.0.0.1:0"], workers=1)
    server.start()
    yield address_of(server.data_dir)
    server.close()


def request(address: str, more: dict[str, str] | None = None, body: bytes = BODY, *, chunked: bool = False) -> bytes:
    """Returns a signed ListKeys as bytes."""
    signed = signed_headers(address, "TrentService.ListKeys", body, "eu-central-1", TEST, {})
    length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    lines = [f"{name}: {value}\r\n" for name, value in {**signed, **length, **(more or {})}.items()]
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    return b"POST / HTTP/1.1\r\n" + "".join(lines).encode() + b"\r\n" + sent


class Connection:
    """A connection that sends segments as they are given, and reads one answer after another."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, segments: Sequence[bytes], pause: float = 0.02) -> None:
        for number, segment in enumerate(segments):
            if number:
                time.sleep(pause)
            self._socket.sendall(segment)

    def segment(self) -> bytes:
        """Returns the bytes of one read."""
        return self._socket.recv(65536)

    def answer(self, *, has_body: bool = True) -> tuple[bytes, bytes]:
        """Returns an answer's head, as bytes, and its body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._read.readline()
            assert line, f"the server closed after {head!r}"
            head += line
        (length,) = re.findall(rb"\r\nContent-Length: (\d+)\r\n", head)
        return head, self._read.read(int(length)) if has_body else b""


# --- requests to upgrade -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["a length", "chunks"])
@pytest.mark.parametrize("segments", ["one", "two", "bytes of the body"])
def test_a_request_to_upgrade_is_answered_as_any_other(address: str, segments: str, chunked: bool) -> None:
    """RFC 9110 §7.8: a server may ignore Upgrade. Java's HttpClient sends it with its first request."""
    sent = request(address, UPGRADE, chunked=chunked)
    head, end, body = sent.partition(b"\r\n\r\n")
    parts = {
        "one": [sent],
        "two": [head + end, body],
        "bytes of the body": [head + end, *(body[at : at + 1] for at in range(len(body)))],
    }[segments]
    with Connection(address) as connection:
        for _ in range(2):
            connection.send(parts, pause=0.002 if len(parts) > 2 else 0.05)
            status, answered = connection.answer()
            assert (status.split(b"\r\n")[0], answered) == (b"HTTP/1.1 200 OK", ANSWER)
        connection.send([request(address)])
        assert connection.answer()[1] == ANSWER, "the connection goes on without an upgrade"


def test_a_head_may_be_cut_anywhere(address: str) -> None:
    sent = request(address, UPGRADE)
    with Connection(address) as connection:
        for at in range(1, sent.index(b"\r\n\r\n") + 5, 37):
            connection.send([sent[:at], sent[at:]], pause=0.004)
            assert connection.answer()[1] == ANSWER, at


def test_requests_to_upgrade_may_follow_at_once(address: str) -> None:
    """The requests are pipelined: all are read from one segment, with and without an upgrade."""
    with Connection(address) as connection:
        connection.send([request(address, UPGRADE) + request(address) + request(address, UPGRADE, chunked=True)])
        assert [connection.answer()[1] for _ in range(3)] == [ANSWER] * 3


@pytest.mark.parametrize("upgrade", ["websocket", "h2c, websocket", "TLS/1.0", "x" * 200])
def test_any_other_upgrade_is_ignored_too(address: str, upgrade: str) -> None:
    with Connection(address) as connection:
        connection.send([request(address, {"Connection": "upgrade", "Upgrade": upgrade})])
        assert connection.answer()[1] == ANSWER


def test_a_signed_upgrade_is_verified(address: str) -> None:
    """The headers of an ignored upgrade are kept for the signature."""
    signed = signed_headers(address, "TrentService.ListKeys", BODY, "eu-central-1", TEST, UPGRADE)
    assert "http2-settings" in signed["Authorization"]
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**signed, "Content-Length": str(len(BODY))}.items())
    with Connection(address) as connection:
        connection.send([b"POST / HTTP/1.1\r\n" + lines.encode() + b"\r\n" + BODY])
        assert connection.answer()[1] == ANSWER


@pytest.mark.parametrize("path", [b"a:80", b"/"])
def test_connect_is_refused(address: str, path: bytes) -> None:
    with Connection(address) as connection:
        connection.send([b"CONNECT " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"])
        head, _ = connection.answer()
        assert head.startswith(b"HTTP/1.1 400 ")


# --- the answer's bytes ------------------------------------------------------------------------------------------

NAMES = [b"Date", b"x-amzn-RequestId", b"Content-Type", b"Content-Length", b"kms-worker"]


def names(head: bytes) -> list[bytes]:
    return [line.partition(b":")[0] for line in head.split(b"\r\n")[1:] if line]


def test_header_names_are_spelled_as_aws_spells_them(address: str) -> None:
    """A widely used client in C compares Content-Length with its case."""
    with Connection(address) as connection:
        connection.send([request(address)])
        head, body = connection.answer()
        assert names(head) == NAMES
        assert b"\r\nContent-Length: %d\r\n" % len(body) in head
        stated = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        assert stated[b"Content-Type"] == b"application/x-amz-json-1.1"
        assert len(stated[b"x-amzn-RequestId"]) == 36
        assert parsedate_to_datetime(stated[b"Date"].decode()).tzinfo is not None
        connection.send([request(address, {"X-Amz-Target": "TrentService.Nothing"})])
        refused, _ = connection.answer()
        assert names(refused) == NAMES, "a refusal has the same headers"


def test_a_connection_that_ends_says_so(address: str) -> None:
    with Connection(address) as connection:
        connection.send([request(address, {"Connection": "close"})])
        assert names(connection.answer()[0]) == [*NAMES, b"Connection"]
    with Connection(address) as connection:
        connection.send([b"GARBAGE\r\n\r\n"])
        head, _ = connection.answer()
        assert names(head) == [*NAMES[:4], b"Connection"]


def test_an_answer_is_one_segment(address: str) -> None:
    """Head and body are written at once: clients get an answer with one read."""
    with Connection(address) as connection:
        connection.send([request(address)])
        assert connection.segment().endswith(ANSWER)


# --- health checks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/ping"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_load_balancers_are_told_that_the_service_is_healthy(address: str, method: str, path: str) -> None:
    """The answer needs no signature and says nothing else about the service."""
    with Connection(address) as connection:
        for _ in range(2):
            connection.send([f"{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()])
            head, body = connection.answer(has_body=method == "GET")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nContent-Length: 7\r\n" in head
            assert b"\r\nContent-Type: text/plain\r\n" in head
            assert body == (b"healthy" if method == "GET" else b"")
            assert b"kms" not in head.lower().replace(b"kms-worker", b"")
        connection.send([request(address)])
        assert connection.answer()[1] == ANSWER, "the connection serves calls too"


@pytest.mark.parametrize(("method", "path"), [("GET", "/x"), ("GET", "/ping/x"), ("PUT", "/ping"), ("POST", "/ping")])
def test_other_paths_and_methods_are_no_health_checks(address: str, method: str, path: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request(method, path)
    assert connection.getresponse().status == 400
    connection.close()


def test_health_checks_leave_no_audit_record(start_server: StartServer) -> None:
    server = start_server("--aws-listen", "127.0.0.1:0", workers=1)
    connection = http.client.HTTPConnection(address_of(server.data_dir), timeout=30)
    for _ in range(3):
        connection.request("GET", "/ping")
        assert connection.getresponse().read() == b"healthy"
    connection.close()
    server.stop()
    records = "".join(path.read_text() for path in (server.data_dir / "audit").glob("worker-*.jsonl"))
    assert "eventName" not in records
