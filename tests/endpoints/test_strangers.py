"""The AWS door before it knows who calls: bounds on bytes, time, connections and descriptors, and on the log."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.authentication import signature_v4
from kms_grpc.authentication.signing_key import SigningKey, SigningKeys
from kms_grpc.endpoints import http_connection, http_server, peers
from kms_grpc.endpoints.http_answers import TEXT, Answers
from kms_grpc.endpoints.http_connection import HttpConnection, Reply, Shared
from kms_grpc.endpoints.http_requests import HEAD_BYTES, HEADERS, Request
from kms_grpc.endpoints.http_server import HttpServer
from kms_grpc.endpoints.peers import LOCAL, Peers
from kms_grpc.endpoints.refusals import Refusals
from tests import strangers
from tests.certificates import Authority
from tests.conftest import StartServer
from tests.endpoints.aws_calls import TEST, address_of, call, signed_headers
from tests.endpoints.test_aws_http import Connection, request
from tests.processes.stand_in_server import eventually
from tests.served import Served

BODY_BYTES = 4 * 1024 * 1024
ATTACKED_SECONDS = 5.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("strangers")
    config = folder / "kms.toml"
    config.write_text(f"[limits]\nhttp_body_bytes = {BODY_BYTES}\n")
    server = Served(folder / "data", ["--aws-listen", "127.0.0.1:0", "--config", str(config)], workers=1)
    server.start()
    yield server
    server.close()


@pytest.fixture
def address(served: Served) -> str:
    return address_of(served.data_dir)


def refusals(served: Served) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in served.log_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == "kms_grpc.endpoints.refusals"]


# --- heads -------------------------------------------------------------------------------------------------------

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
LARGE_HEADS = [
    ("a header beyond the limit", HEAD + b"X: " + b"a" * HEAD_BYTES + b"\r\n\r\n"),
    ("a header that never ends", HEAD + b"X: " + b"a" * (1 << 20)),
    ("a name that never ends", HEAD + b"a" * (1 << 20)),
    ("a URL that never ends", b"POST /" + b"a" * (1 << 20)),
    ("more headers than the limit", HEAD + b"X: a\r\n" * HEADERS + b"\r\n"),
    ("small headers without an end", HEAD + b"X: a\r\n" * 100_000),
    ("trailers without an end", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 100_000),
    (
        "a large head that asks to upgrade",
        HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\nX: " + b"a" * HEAD_BYTES + b"\r\n\r\n",
    ),
]


@pytest.mark.parametrize("sent", [row[1] for row in LARGE_HEADS], ids=[row[0] for row in LARGE_HEADS])
def test_a_head_has_a_limit(address: str, sent: bytes) -> None:
    with Connection(address) as connection:
        try:
            connection.send([sent])
        except OSError:
            return  # it was refused before all was sent, and the answer lost with the connection
        try:
            head, _ = connection.answer()
        except ConnectionError:
            return
        assert head.startswith(b"HTTP/1.1 431 ")
        assert b"\r\nConnection: close\r\n" in head


def test_a_head_just_beyond_the_limit_is_refused_with_431(address: str) -> None:
    """AWS answers the same. A head within the limit is served."""
    within = request(address, {"X": "a" * (HEAD_BYTES - 2000)})
    with Connection(address) as connection:
        connection.send([within])
        assert connection.answer()[0].startswith(b"HTTP/1.1 200 ")
        connection.send([request(address, {"X": "a" * HEAD_BYTES})])
        head, body = connection.answer()
        assert head.startswith(b"HTTP/1.1 431 ")
        assert body == b"The head of a request may have at most 16384 bytes and 100 headers."


def test_a_large_head_holds_no_worker(served: Served, address: str) -> None:
    """In the first version of this door, a head of 150 MB occupied the worker for 55 s."""
    begun = time.monotonic()
    with Connection(address) as connection, pytest.raises(OSError):
        connection.send([HEAD + b"X: ", *[b"a" * 65536] * 2400], pause=0)
    assert call(address, "ListKeys").status == 200
    assert time.monotonic() - begun < 20


# --- Host --------------------------------------------------------------------------------------------------------

HOSTS = [
    ("an IPv4 address", "127.0.0.1:8080", True),
    ("another address of loopback", "127.8.9.1", True),
    ("an IPv6 address", "[::1]:8080", True),
    ("a name", "localhost", True),
    ("a name in capitals with a port", "LOCALHOST:1", True),
    ("a name below localhost", "kms.localhost:8080", True),
    ("a name that an attacker points here", "attacker.example:8080", False),
    ("a name that begins like loopback", "127.0.0.1.attacker.example", False),
    ("a name that ends like localhost", "attackerlocalhost", False),
    ("another machine", "10.0.0.1:8080", False),
    ("no name", "", False),
    ("two names", "localhost, attacker.example", False),
]


@pytest.mark.parametrize(("host", "taken"), [row[1:] for row in HOSTS], ids=[row[0] for row in HOSTS])
def test_with_dev_host_must_name_loopback(address: str, host: str, taken: bool) -> None:
    """DNS rebinding: a page makes its own name resolve to 127.0.0.1, and the browser lets it read the answers."""
    signed = signed_headers(address, "TrentService.ListKeys", b"{}", "eu-central-1", TEST, {"Host": host})
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**signed, "Content-Length": "2"}.items())
    with Connection(address) as connection:
        connection.send([f"POST / HTTP/1.1\r\n{lines}\r\n{{}}".encode()])
        head, body = connection.answer()
        assert (b" 200 " in head, b"AccessDeniedException" in body) == (taken, not taken)
        connection.send([f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()])
        assert (connection.answer()[1] == b"healthy") == taken


# --- the log -----------------------------------------------------------------------------------------------------


def test_garbage_behind_a_request_leaves_one_line(start_server: StartServer) -> None:
    """The request is answered, and the bytes behind it are refused. Many such refusals leave one log line a minute."""
    server = start_server("--aws-listen", "127.0.0.1:0", workers=1)
    address = address_of(server.data_dir)
    before = len(server.log_text().splitlines())
    for _ in range(5):
        with Connection(address) as connection:
            connection.send([request(address) + b"\x16\x03\x01garbage\r\n\r\n"])
            assert connection.answer()[0].startswith(b"HTTP/1.1 200 ")
            assert connection.answer()[0].startswith(b"HTTP/1.1 400 ")
    lines = [json.loads(line) for line in server.log_text().splitlines()[before:]]
    assert [(line["level"], line["message"], line["peer"]) for line in lines] == [
        ("warning", "the AWS door refuses: Invalid HTTP request received.", "127.0.0.1")
    ]


def test_a_reason_is_logged_once_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    refused = Refusals("door", lambda: now[0])
    for second in range(121):
        now[0] = float(second)
        refused.add("too large", "10.0.0.1")
        refused.add("too late", "10.0.0.2")
    counts = [(each.getMessage().rpartition(": ")[2], each.__dict__["count"]) for each in caplog.records]
    assert counts == [("too large", 1), ("too late", 1), *[("too large", 60), ("too late", 60)] * 2]
    assert refused.count == 242


# --- time: a door in this process, whose clocks run faster -------------------------------------------------------


@asynccontextmanager
async def door(
    each: int = 100, total: int = 1000, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, Shared]]:
    """A listener that answers `ok` at once, to `POST /slow` after a moment; a `GET` counts as a verified call."""

    async def slowly(body: bytes) -> Reply:
        await asyncio.sleep(0.2)
        return 200, body, b"id", TEXT

    def serve(asked: Request, connection: HttpConnection) -> Any:
        if asked.method == b"GET":
            connection.judged()
        return slowly(asked.body) if asked.path == b"/slow" else (200, b"ok", b"id", TEXT)

    shared = Shared(serve, Answers(b"0"), Peers(total, each), Refusals("door"), BODY_BYTES)
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(listening, shared, tls)
    server.start()
    try:
        yield listening.getsockname()[1], shared
    finally:
        await server.drain(1)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (http_connection, "HEAD_SECONDS", 0.3), (http_server, "HEAD_SECONDS", 0.3),
        (http_connection, "BODY_SECONDS", 0.6), (http_connection, "STRANGER_IDLE_SECONDS", 0.3),
        (http_connection, "IDLE_SECONDS", 3.0), (http_connection, "CLOSE_SECONDS", 0.3),
        (http_connection, "LINGER_SECONDS", 0.3),
        (http_server, "LOOK_SECONDS", 0.05),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, seconds)


HALF = [
    ("nothing", [b""], b""),
    ("half a head", [b"POST / HTTP/1.1\r\nX"], b"408"),
    ("a head that trickles", [b"POST / HTTP/1.1\r\nX: ", *[b"a"] * 100], b"408"),
    ("no body", [b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n"], b"408"),
    ("a body that trickles", [b"POST / HTTP/1.1\r\nContent-Length: 200\r\n\r\n", *[b"a"] * 100], b"408"),
    ("chunks that trickle", [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 100], b"408"),
    ("a request, and then nothing", [b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"], b"200"),
    ("a request, and half of another", [b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nPOST"], b"408"),
    ("a body that waits to be told", [b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"], b"408"),
]


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(("pieces", "status"), [row[1:] for row in HALF], ids=[row[0] for row in HALF])
def test_a_half_request_ends(pieces: list[bytes], status: bytes) -> None:
    """In the first version of this door, 3,000 of 3,000 half requests were still open after 90 s."""

    async def scene() -> None:
        async with door() as (port, shared):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            reading = asyncio.create_task(reader.read())
            for piece in pieces:
                if not reading.done():
                    writer.write(piece)
                    await asyncio.sleep(0.02)
            read = await asyncio.wait_for(reading, 20)
            assert read.rpartition(b"HTTP/1.1 ")[2][:3] == status
            async with asyncio.timeout(20):
                while shared.connections:
                    await asyncio.sleep(0.01)
            assert shared.peers.connections == 0
            writer.close()

    asyncio.run(scene())


@pytest.mark.usefixtures("fast")
def test_a_tls_handshake_that_never_begins_ends(tmp_path: Path) -> None:
    certificate, key = Authority().pair()
    (tmp_path / "pair.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")

    async def scene() -> None:
        async with door(each=3, tls=context) as (port, shared):
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            await asyncio.sleep(0.1)
            assert shared.peers.connections == 3, "connections count before their handshakes"
            for reader, writer in opened:
                with closing(writer), suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), 20) == b""
            assert shared.peers.connections == 0

    asyncio.run(scene())


@pytest.mark.usefixtures("fast")
def test_an_answer_that_nobody_reads_ends_with_its_connection() -> None:
    async def scene() -> None:
        async with door() as (port, shared):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            body = b"a" * BODY_BYTES
            writer.write(b"POST /slow HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            async with asyncio.timeout(20):
                while not shared.connections:
                    await asyncio.sleep(0.01)
                while shared.connections:
                    await asyncio.sleep(0.01)
            writer.transport.abort()

    asyncio.run(scene())


@pytest.mark.usefixtures("fast")
def test_a_known_callers_connection_stays_open() -> None:
    """It stays open longer than a stranger's, and for as long as its call takes."""

    async def scene() -> None:
        async with door() as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for path in (b"/", b"/slow", b"/slow"):
                writer.write(b"GET " + path + b" HTTP/1.1\r\n\r\n")
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
                await reader.readuntil(b"\r\n\r\n" if path == b"/slow" else b"ok")
                await asyncio.sleep(0.8)
            writer.close()

    asyncio.run(scene())


def test_single_bytes_are_read_at_a_pace() -> None:
    """Each byte would wake the worker. A stranger's head that comes in single bytes is read in few pieces."""

    async def scene() -> None:
        async with door() as (port, shared):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
            (connection,) = shared.connections
            pieces = 0
            update = connection.buffer_updated

            def counted(size: int) -> None:
                nonlocal pieces
                pieces += 1
                update(size)

            connection.buffer_updated = counted  # type: ignore[method-assign]
            writer.write(b"POST / HTTP/1.1\r\nX: ")
            for _ in range(500):
                writer.write(b"a")
                await asyncio.sleep(0.001)
            assert pieces <= http_connection.FREE_PIECES + 20
            writer.close()

    asyncio.run(scene())


# --- connections, tokens and bytes of an address -----------------------------------------------------------------


class Seat:
    """A connection that remembers whether it had to give way."""

    def __init__(self, held: Peers, address: str, *, is_stranger: bool = True) -> None:
        self.is_stranger, self.gone = is_stranger, False
        self._peers = held
        peer, self.reason = held.admit(address)
        self.peer = peer
        if peer is not None:
            held.enter(peer, self)

    def give_way(self) -> None:
        self.gone = True
        assert self.peer is not None
        self._peers.leave(self.peer, self)


def test_an_address_has_a_limit_of_connections() -> None:
    held = Peers(total=10, each=3)
    seats = [Seat(held, "10.0.0.1") for _ in range(4)]
    assert [seat.peer is not None for seat in seats] == [True, True, True, False]
    assert "limits.http_connections_per_address" in seats[3].reason
    assert Seat(held, "10.0.0.2").peer is not None
    assert all(Seat(held, LOCAL).peer for _ in range(5)), "only the server's owner can open the Unix socket"


def test_a_newcomer_takes_a_strangers_place() -> None:
    """When all places are taken, a stranger of the address that has most gives way, and never a known caller."""
    held = Peers(total=6, each=4)
    known = Seat(held, "10.0.0.1", is_stranger=False)
    of_most = [Seat(held, "10.0.0.1") for _ in range(3)]
    others = [Seat(held, "10.0.0.2") for _ in range(2)]
    newcomer = Seat(held, "10.0.0.3")
    assert newcomer.peer is not None
    assert [seat.gone for seat in (known, *of_most, *others)] == [False, True, False, False, False, False]
    assert held.connections == 6
    assert Seat(held, "10.0.0.1").peer is None, "this address itself has most"


def test_an_address_pays_for_what_is_refused() -> None:
    now = [0.0]
    held = Peers(total=10_000, each=10_000, clock=lambda: now[0])
    admitted = [Seat(held, "10.0.0.1").peer is not None for _ in range(1000)]
    assert sum(admitted) == peers.SAVED - 1
    assert Seat(held, "10.0.0.2").peer is not None, "others pay nothing"
    now[0] += 100 * peers.SAVED / peers.PER_SECOND
    assert sum(Seat(held, "10.0.0.1").peer is not None for _ in range(1000)) == peers.SAVED - 1, "no more is saved"


def test_a_known_caller_pays_nothing() -> None:
    held = Peers(total=10_000, each=10_000, clock=lambda: 0.0)
    for _ in range(2000):
        seat = Seat(held, "10.0.0.1")
        assert seat.peer is not None
        seat.peer.charge(-1.0)


def test_addresses_that_are_gone_are_forgotten() -> None:
    held = Peers(total=10, each=10)
    for number in range(3 * peers.ADDRESSES):
        seat = Seat(held, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        seat.give_way()
    assert len(held._peers) <= peers.ADDRESSES


def test_bodies_that_have_not_arrived_are_bounded() -> None:
    held = Peers(total=10, each=10)
    one, two = Seat(held, "10.0.0.1").peer, Seat(held, "10.0.0.2").peer
    assert one is not None
    assert two is not None
    assert held.hold(one, peers.HELD_BYTES_EACH)
    assert not held.hold(one, 1), "the bound of one address"
    assert held.hold(two, 1)
    held.hold(one, -peers.HELD_BYTES_EACH)
    assert held.hold(one, 1)


def test_large_bodies_of_an_address_are_bounded_together(address: str) -> None:
    """Four connections send all but the last byte of 4 MiB. A fifth is refused with 503."""
    head = HEAD + b"Content-Length: %d\r\n\r\n" % BODY_BYTES
    with ExitStack() as held:
        made = [held.enter_context(Connection(address)) for _ in range(5)]
        for connection in made[:4]:
            connection.send([head, b"a" * (BODY_BYTES - 1)])
        time.sleep(0.5)
        made[4].send([head, b"a" * (64 * 1024)])
        assert made[4].answer()[0].startswith(b"HTTP/1.1 503 ")


# --- what is kept ------------------------------------------------------------------------------------------------


def test_headers_that_were_not_verified_are_not_kept(address: str) -> None:
    """In the first version of this door, a cache keyed by unverified text held 360 MB."""
    scopes = signature_v4.VerifiedScopes()
    header = b"AWS4-HMAC-SHA256 Credential=a/20270115/eu-central-1/kms/aws4_request, SignedHeaders=host, "
    scope = signature_v4.read_scope(header, True)
    for number in range(5000):
        signature_v4.read_scope(b"%b, %d" % (header, number), True)
        scopes.keep(b"%b%d" % (header, number), scope)
    scopes.keep(header + b"a" * scopes.BYTES, scope)
    assert len(scopes._kept) <= scopes.LIMIT
    assert max(map(len, scopes._kept)) <= scopes.BYTES
    assert not any(header in kept for kept in signature_v4._verified_scopes._kept)


def test_signing_keys_that_verified_nothing_are_not_kept() -> None:
    keys = SigningKeys()
    key = SigningKey(bytes(32))
    keys.keep(b"20270115", b"eu-central-1", key)
    assert keys.find(b"20270115", b"eu-central-1") is key
    for number in range(100):
        assert keys.find(b"20270115", b"region-%d" % number) is None
    assert len(keys._kept) == 1


# --- descriptors -------------------------------------------------------------------------------------------------


def open_files(server: Served, name: str) -> list[str]:
    """Returns the soft and the hard limit of a process."""
    (pid,) = {line["pid"] for line in map(json.loads, server.log_text().splitlines()) if line["process"] == name} or {
        server.process.pid
    }
    found = re.search(r"Max open files +(\d+) +(\d+)", Path(f"/proc/{pid}/limits").read_text())
    assert found is not None
    return list(found.groups())


def metric(server: Served, name: str) -> float:
    """Returns a metric of the only worker."""
    (page,) = {
        line["address"] for line in map(json.loads, server.log_text().splitlines()) if line["message"] == "metrics"
    }
    with urllib.request.urlopen(page) as answer:
        found = re.search(rf'^kms_grpc_worker_{name}{{worker="0"}} (\S+)$', answer.read().decode(), re.M)
    assert found is not None, name
    return float(found[1])


def test_the_soft_limit_of_descriptors_is_raised(start_server: StartServer) -> None:
    server = start_server("--log-level", "debug", prefix=("prlimit", "--nofile=256:2000"))
    for process in ("supervisor", "worker-0", "worker-1", "keeper"):
        assert open_files(server, process)[0] == "2000", process


def test_connections_stay_below_the_limit_of_descriptors(start_server: StartServer) -> None:
    """With 300 descriptors, strangers of two addresses open as many connections as they can. A caller is served by
    both doors, and the log and a metric tell of the strangers."""
    options = ("--aws-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    server = start_server(*options, workers=1, prefix=("prlimit", "--nofile=300:300"))
    address = address_of(server.data_dir)
    host, _, port = address.rpartition(":")
    opened = []
    for source in ("127.0.0.2", "127.0.0.3"):
        for _ in range(200):
            opened.append(socket.create_connection((host, int(port)), 5, (source, 0)))
    assert call(address, "ListKeys").status == 200
    with server.client() as kms:
        assert kms.list_keys() is not None
    eventually(lambda: "limits.http_connections are in use" in server.log_text(), "the line in the log")
    assert "instead of limits.http_connections" in server.log_text()
    eventually(lambda: metric(server, "aws_strangers_refused_total") > 0, "the metric")
    assert metric(server, "aws_connections") <= 150
    assert metric(server, "descriptors") < metric(server, "descriptors_limit") == 300
    assert len([line for line in server.log_text().splitlines() if "are in use" in line]) <= 2
    for each in opened:
        each.close()


# --- all at once -------------------------------------------------------------------------------------------------


def test_strangers_do_their_worst(start_server: StartServer) -> None:
    """The short form of `python -m tests.strangers`, without its times."""
    server = start_server("--aws-listen", "127.0.0.1:0", workers=1)
    outcome = strangers.attack(server, ATTACKED_SECONDS, set())
    assert outcome.attacked.refused == []
    assert outcome.grown_mib <= strangers.GROWN_MIB
    assert outcome.log_bytes <= strangers.LOG_BYTES
    assert "Traceback" not in outcome.log
