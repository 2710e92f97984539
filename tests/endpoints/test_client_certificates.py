"""Client certificates at both doors: asked for, judged on every call, and never resumed."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from cryptography.x509 import UniformResourceIdentifier as Uri

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import key_management_pb2_grpc
from tests.certificates import Authority, lay, named
from tests.endpoints.aws_calls import JSON_11, Answer, address_of, signed_headers
from tests.endpoints.aws_calls import send as send_http
from tests.processes.stand_in_server import eventually
from tests.served import Served
from tests.workers.connections import outcome
from tests.workers.mounted import IN_FORCE, Mounted, principal, said

pytestmark = pytest.mark.xdist_group("tls")

SERVER_CA, A, B = Authority(), Authority(name=named("CA a")), Authority(name=named("CA b"))
ORDERS, BILLING = (f"a-token-of-{name}-0123456789" for name in ("orders", "billing"))
OF_ORDERS = Uri("spiffe://td/ns/x/sa/orders")
UNKNOWN, EXPIRED, MISSING = (
    "UnrecognizedClientException",
    "ExpiredTokenException",
    "MissingAuthenticationTokenException",
)
NO_HANDSHAKE = ("SSLError", "SSLEOFError", "ConnectionResetError", "BrokenPipeError", "RemoteDisconnected")
REGION = "eu-central-1"

CONFIGURATION = """
[tls]
certificate_file = "{folder}/server.pem"
key_file = "{folder}/server.key"
client_certificates = "{mode}"
[[client_bundles]]
name = "ours"
file = "{folder}/clients.pem"
[[mappings]]
name = "workloads"
bundle = "ours"
claims = {{ spiffe = "spiffe://td/ns/*/sa/*" }}
arn = "arn:aws:iam::123456789012:role/{{spiffe.2}}"
account = "123456789012"
policies = ["full-access"]
"""
CALLERS = principal("orders", ORDERS, '["full-access"]') + principal("billing", BILLING, '["full-access"]')


class Client(NamedTuple):
    """A certificate and its key, as bytes and as files."""

    certificate: bytes
    key: bytes
    folder: Path

    @classmethod
    def of(cls, authority: Authority, folder: Path, name: Uri = OF_ORDERS, **more: Any) -> Client:
        certificate, key = authority.client(name, **more)
        folder.mkdir(exist_ok=True)
        (folder / "client.pem").write_bytes(certificate + key)
        return cls(certificate, key, folder)

    def channel(self, served: Served) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(SERVER_CA.pem, self.key, self.certificate)
        return grpc.secure_channel(served.address, credentials, [("grpc.use_local_subchannel_pool", 1)])

    def context(self) -> ssl.SSLContext:
        context = plain_context()
        context.load_cert_chain(self.folder / "client.pem")
        return context


def plain_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=SERVER_CA.pem.decode())


def by_grpc(channel: grpc.Channel, token: str | None = None) -> str:
    stub = key_management_pb2_grpc.KeyManagementServiceStub(channel)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        found = outcome(stub.ListKeys.future(pb.ListKeysRequest(), metadata=metadata, timeout=30, wait_for_ready=False))
    except grpc.RpcError as error:
        return str(error.code().name)
    return found if isinstance(found, str) else "OK"


def on_new_channel(served: Served, client: Client, token: str | None = None) -> str:
    with client.channel(served) as channel:
        return by_grpc(channel, token)


def connection(served: Served, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(address_of(served.data_dir).replace("127.0.0.1", "localhost"), context=context)


def by_http(where: http.client.HTTPSConnection, key: tuple[str, str] | None = None) -> str:
    """Returns the outcome of a ListKeys, signed with an access key or without a signature."""
    host = f"{where.host}:{where.port}"
    usual = {"Content-Type": JSON_11, "X-Amz-Target": "TrentService.ListKeys", "Host": host}
    headers = signed_headers(host, "TrentService.ListKeys", b"{}", REGION, key, {}) if key else usual
    try:
        answer: Answer = send_http(where, "POST", "/", b"{}", headers)
    except OSError as error:
        return type(error).__name__
    return "OK" if answer.status == 200 else answer.code


class Scene(NamedTuple):
    served: Served
    mounted: Mounted
    folder: Path

    def vouch(self, *authorities: Authority) -> None:
        """Replaces the bundle on disk, and waits until it is in force, for handshakes too."""
        before = len(said(self.served, IN_FORCE))
        new = self.folder / "new"
        new.write_bytes(b"".join(each.pem for each in authorities))
        new.replace(self.folder / "clients.pem")
        eventually(lambda: len(said(self.served, IN_FORCE)) > before, "the bundle")

    def client(self, folder: str, authority: Authority = A, **more: Any) -> Client:
        return Client.of(authority, self.folder / folder, **more)


def started(folder: Path, mode: str, *options: str, listen: str = "localhost:0") -> Scene:
    folder.mkdir(exist_ok=True)
    lay(folder, *SERVER_CA.pair())
    (folder / "ca.pem").write_bytes(SERVER_CA.pem)
    (folder / "clients.pem").write_bytes(A.pem)
    mounted = Mounted(folder / "mounted")
    mounted.swap(
        f'listen = "{listen}"\naws_listen = "127.0.0.1:0"\n' + CALLERS + CONFIGURATION.format(folder=folder, mode=mode)
    )
    aws = ("--config", str(mounted.path), *options)
    served = Served(folder / "data", aws, listen=listen, workers=1, dev=False, tls_ca=folder / "ca.pem")
    served.launch()
    served.address = served._chosen_address()
    eventually(lambda: said(served, "serving"), f"serving\n{served.log_text()}")
    return Scene(served, mounted, folder)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = started(tmp_path_factory.mktemp("mtls"), "required")
    yield made
    made.served.close()


def access_key(scene: Scene, name: str) -> tuple[str, str]:
    where = ["--data-dir", str(scene.served.data_dir), "--config", str(scene.mounted.path), "-o", "json"]
    command = [sys.executable, "-m", "kms_grpc", "principals", "access-key", "create", name, *where]
    made = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout)
    return made["AccessKey"]["AccessKeyId"], made["AccessKey"]["SecretAccessKey"]


def test_a_certificate_is_required_and_names_its_caller_at_the_grpc_door(scene: Scene) -> None:
    orders = scene.client("orders")
    nobody = scene.client("nobody", name=Uri("spiffe://td/x"))
    with orders.channel(scene.served) as channel:
        assert by_grpc(channel) == by_grpc(channel) == "OK", "a certificate alone"
        assert by_grpc(channel, ORDERS) == by_grpc(channel, ORDERS) == "OK", "a certificate and a token of one caller"
        assert by_grpc(channel, BILLING) == UNKNOWN, "of two callers"
        assert by_grpc(channel, "a-token-of-nobody") == UNKNOWN
    assert on_new_channel(scene.served, nobody) == UNKNOWN, "a certificate that no rule knows"
    assert on_new_channel(scene.served, nobody, ORDERS) == UNKNOWN
    assert on_new_channel(scene.served, scene.client("of-b", B)) == "UNAVAILABLE", "a CA that is in no bundle"
    with grpc.secure_channel(scene.served.address, grpc.ssl_channel_credentials(SERVER_CA.pem)) as without:
        assert by_grpc(without, ORDERS) == "UNAVAILABLE", "no certificate"


def test_a_certificate_is_required_and_names_its_caller_at_the_aws_door(scene: Scene) -> None:
    keys = {name: access_key(scene, name) for name in ("orders", "billing")}
    where = connection(scene.served, scene.client("orders").context())
    assert by_http(where) == by_http(where) == "OK"
    assert by_http(where, keys["orders"]) == by_http(where, keys["orders"]) == "OK"
    assert by_http(where, keys["billing"]) == UNKNOWN
    assert by_http(connection(scene.served, scene.client("nobody", name=Uri("spiffe://td/x")).context())) == UNKNOWN
    for context in (plain_context(), scene.client("of-b", B).context()):
        assert by_http(connection(scene.served, context), keys["orders"]) in NO_HANDSHAKE


def test_a_ca_that_is_taken_out_speaks_for_nobody_from_then_on(scene: Scene) -> None:
    """On open connections, on resumed and on new ones, at both doors."""
    of_a, of_b = scene.client("of-a"), scene.client("of-b", B)
    context = of_a.context()
    open_channel, open_connection = of_a.channel(scene.served), connection(scene.served, context)
    assert by_grpc(open_channel) == by_http(open_connection) == "OK"
    session = open_connection.sock.session  # type: ignore[union-attr]
    scene.vouch(B)
    assert by_grpc(open_channel) == by_http(open_connection) == UNKNOWN
    assert resumed(scene.served, context, session) in ("SSLError", UNKNOWN)
    eventually(lambda: on_new_channel(scene.served, of_a) == "UNAVAILABLE", "handshakes with the new bundle")
    assert on_new_channel(scene.served, of_b) == by_http(connection(scene.served, of_b.context())) == "OK"
    scene.vouch(A, B)
    eventually(lambda: on_new_channel(scene.served, of_a) == "OK", "both CAs")
    open_channel.close()


def resumed(served: Served, context: ssl.SSLContext, session: Any) -> str:
    """Returns the outcome of a call on a connection that offers an earlier session."""
    host, _, port = address_of(served.data_dir).rpartition(":")
    lines = ("POST / HTTP/1.1", "Host: x", f"Content-Type: {JSON_11}", "X-Amz-Target: TrentService.ListKeys")
    request = "".join(f"{line}\r\n" for line in (*lines, "Content-Length: 2", "Connection: close", "")) + "{}"
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        try:
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as wrapped:
                wrapped.sendall(request.encode())
                answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
                assert not wrapped.session_reused, "no session is resumed"
        except (ssl.SSLError, ConnectionResetError):
            return "SSLError"
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["__type"])


def test_a_certificate_expires_on_an_open_connection(scene: Scene) -> None:
    client = scene.client("short", until=timedelta(seconds=12))
    ends = time.time() + 12
    channel, where = client.channel(scene.served), connection(scene.served, client.context())
    assert by_grpc(channel) == by_http(where) == "OK"
    time.sleep(max(0.0, ends + 1 - time.time()))
    assert by_grpc(channel) == by_http(where) == EXPIRED
    channel.close()
    assert on_new_channel(scene.served, client) == "UNAVAILABLE"


def test_a_certificate_may_be_optional_at_the_aws_door(tmp_path: Path) -> None:
    scene = started(tmp_path / "optional", "optional", listen=f"unix:{tmp_path}/kms.sock")
    try:
        key = access_key(scene, "orders")
        assert by_http(connection(scene.served, plain_context()), key) == "OK"
        assert by_http(connection(scene.served, plain_context())) == MISSING
        assert by_http(connection(scene.served, scene.client("orders").context())) == "OK"
        assert by_http(connection(scene.served, scene.client("of-b", B).context()), key) in NO_HANDSHAKE
    finally:
        scene.served.close()
