"""Both doors with TLS: stock clients and openssl, names and CAs, and certificates renewed during operation."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import grpc
import pytest

from kms_grpc.client import EnvelopeClient, KeyManagementClient, ServiceUnreachable, StreamClient
from kms_grpc.client.aio import AsyncKeyManagementClient, AsyncStreamClient
from kms_grpc.config import Tls
from kms_grpc.configuration_error import ConfigurationError
from kms_grpc.endpoints.tls import ServerTls
from tests.certificates import DAY, NAMES, Authority, lay
from tests.endpoints.calls import OWN_CONNECTION, ask, metadata
from tests.processes.stand_in_server import eventually
from tests.served import Served

pytestmark = pytest.mark.xdist_group("tls")

CA = Authority()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls")
    (made / "ca.pem").write_bytes(CA.pem)
    lay(made, *CA.pair())
    return made


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    """A server with two workers that listens on all addresses, and an AWS door, with the same certificate."""
    pair = ["--tls-certificate", str(folder / "server.pem"), "--tls-key", str(folder / "server.key")]
    doors = ["--aws-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    made = Served(folder / "data", [*pair, *doors], listen="0.0.0.0:0", tls_ca=folder / "ca.pem")
    made.launch()
    made.address = made._chosen_address().replace("0.0.0.0", "127.0.0.1")
    yield made
    try:
        assert made.stop() == 0
    finally:
        made.close()


@pytest.fixture(autouse=True)
def valid_files(folder: Path) -> None:
    """Write a valid pair before a test if a file is missing. The server may still use an earlier pair."""
    if not (folder / "server.key").exists():
        lay(folder, *CA.pair())


def secure(served: Served, ca: bytes = CA.pem, name: str | None = None) -> grpc.Channel:
    options = [*OWN_CONNECTION, *([("grpc.ssl_target_name_override", name)] if name else [])]
    return grpc.secure_channel(served.address, grpc.ssl_channel_credentials(ca), options)


def answers(served: Served, **how: Any) -> str:
    with secure(served, **how) as channel:
        return ask(channel, "GetLimits", sent=metadata(served.token), seconds=10).code


def s_client(address: str, *options: str) -> str:
    """Returns the output of openssl about a handshake."""
    command = ["openssl", "s_client", "-connect", address, *options]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def aws_address(served: Served) -> str:
    return (served.data_dir / "run" / "aws-address").read_text().strip()


# --- handshakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({}, "OK"),
        ({"name": "kms.test"}, "OK"),  # another name in the certificate
        ({"name": "kms.other"}, "UNAVAILABLE"),  # a name that is not in it
        ({"ca": Authority().pem}, "UNAVAILABLE"),  # another CA with the same name
    ],
)
def test_a_stock_client(served: Served, how: dict[str, Any], code: str) -> None:
    assert answers(served, **how) == code


def test_both_workers_serve_the_port_under_tls(served: Served) -> None:
    seen = set()
    for _ in range(200):
        with secure(served) as channel:
            seen.add(ask(channel, "GetLimits", sent=metadata(served.token)).trailers["kms-worker"])
        if seen == {"0", "1"}:
            return
    raise AssertionError(f"200 connections reached only worker {seen}")


@pytest.mark.parametrize(("door", "protocol"), [("grpc", "h2"), ("aws", "http/1.1")])
def test_only_tls_1_3_is_accepted(served: Served, folder: Path, door: str, protocol: str) -> None:
    address = served.address if door == "grpc" else aws_address(served)
    output = s_client(address, "-alpn", "h2" if door == "grpc" else "http/1.1", "-CAfile", str(folder / "ca.pem"))
    assert "New, TLSv1.3, Cipher is TLS_AES_" in output
    assert "Verification: OK" in output
    assert ("ALPN protocol: h2" in output) is (door == "grpc")
    older = s_client(address, "-tls1_2")
    assert "Cipher is (NONE)" in older, "a TLS 1.2 handshake must fail"


def test_failed_handshakes_write_no_log(served: Served) -> None:
    """Otherwise any client could fill the log, also with gRPC's own messages."""
    before = served.log_text()
    for _ in range(5):
        with grpc.insecure_channel(served.address, OWN_CONNECTION) as channel:
            reply = ask(channel, "ListKeys", sent=metadata(served.token), seconds=10)
        assert (reply.code, reply.reason) == ("UNAVAILABLE", None)
    assert answers(served) == "OK"
    assert answers(served, name="kms.other") == "UNAVAILABLE"
    assert served.log_text() == before


# --- our clients ----------------------------------------------------------------------------------------------------


def test_every_client_speaks_tls(served: Served, folder: Path) -> None:
    where: dict[str, Any] = {"token": served.token, "tls_ca": folder / "ca.pem"}

    async def asynchronous(key_id: str) -> bytes:
        async with AsyncKeyManagementClient(served.address, **where) as kms:
            blob = (await kms.encrypt(key_id, b"awaited")).ciphertext_blob
            plain = (await kms.decrypt(blob)).plaintext
        async with AsyncStreamClient(served.address, **where) as streams:
            message = [part async for part in streams.encrypt(key_id, [b"content"])]
            return plain + b"".join([part async for part in streams.decrypt(message)])

    with KeyManagementClient(served.address, **where) as kms, StreamClient(served.address, **where) as streams:
        key_id = kms.create_key("under TLS").key_metadata.key_id
        with EnvelopeClient(kms) as envelope:
            assert envelope.decrypt(envelope.encrypt(key_id, b"record")) == b"record"
        message = b"".join(streams.encrypt(key_id, [bytes(3 << 20)]))
        assert b"".join(streams.decrypt([message])) == bytes(3 << 20)
        assert asyncio.run(asynchronous(key_id)) == b"awaitedcontent"


def test_several_endpoints_under_one_name(served: Served, folder: Path) -> None:
    twice = f"{served.address},{served.address}"
    with KeyManagementClient(twice, token=served.token, tls_ca=folder / "ca.pem", tls_name="kms.test") as kms:
        assert kms.generate_random(7).plaintext
    with (
        KeyManagementClient(twice, token=served.token, tls_ca=folder / "ca.pem", tls_name="kms.other") as kms,
        pytest.raises(ServiceUnreachable),
    ):
        kms.generate_random(7)


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KMS_GRPC_")}
    return subprocess.run(
        [sys.executable, "-m", "kms_grpc", *arguments],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line(served: Served, folder: Path) -> None:
    result = command("keys", "list", **served.variables())
    assert result.returncode == 0, result.stderr
    ca = str(folder / "ca.pem")
    named = {"KMS_GRPC_TOKEN": served.token}
    assert command("limits", "--endpoint", served.address, "--tls-ca", ca, **named).returncode == 0
    other = command("limits", "--endpoint", served.address, "--tls-ca", ca, "--tls-name", "kms.other", **named)
    clear = command("limits", "--endpoint", served.address, **named)
    for refused in (other, clear):
        assert (refused.returncode, len(refused.stderr.splitlines())) == (3, 1)
        assert "--tls-ca" in refused.stderr


def test_check_shows_when_the_certificate_expires(served: Served, folder: Path) -> None:
    """`check` needs only the data directory and ignores the environment variables of clients."""
    result = command("check", "--data-dir", str(served.data_dir), KMS_GRPC_TLS_CA="/nowhere")
    assert f":{served.address.rpartition(':')[2]} is SERVING" in result.stdout, result.stdout + result.stderr
    assert "its TLS certificate expires in 23 hours" in result.stdout
    asked = command("check", "--endpoint", served.address, "--tls-ca", str(folder / "ca.pem"))
    assert (asked.returncode, "is SERVING" in asked.stdout) == (0, True)


def test_bench_load(served: Served, folder: Path) -> None:
    arguments = ["bench", "load", "--endpoint", served.address, "--tls-ca", str(folder / "ca.pem"), "--seconds", "0.2"]
    result = command(*arguments, "--workers", "2", "--size", "4096", "-o", "json", KMS_GRPC_TOKEN=served.token)
    assert result.returncode == 0, result.stderr
    (load,) = json.loads(result.stdout)["loads"]
    assert (load["failures"], load["workers"]) == ({}, ["0", "1"])
    assert load["calls"] > 0
    wrong = command(*arguments, "--tls-name", "kms.other", KMS_GRPC_TOKEN=served.token)
    assert (wrong.returncode, "CERTIFICATE_VERIFY_FAILED" in wrong.stderr) == (1, True)


def aws(served: Served, ca: Path) -> Any:
    once = botocore.config.Config(retries={"total_max_attempts": 1})
    known = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": served.regions[0]}
    return boto3.client("kms", endpoint_url=f"https://{aws_address(served)}", verify=str(ca), config=once, **known)


def test_boto3(served: Served, folder: Path) -> None:
    kms = aws(served, folder / "ca.pem")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.decrypt(CiphertextBlob=kms.encrypt(KeyId=key_id, Plaintext=b"p")["CiphertextBlob"])["Plaintext"] == b"p"
    (folder / "other.pem").write_bytes(Authority().pem)
    with pytest.raises(botocore.exceptions.SSLError):
        aws(served, folder / "other.pem").list_keys()


# --- renewal during operation ---------------------------------------------------------------------------------------


def names_served(address: str) -> str:
    """Returns the subjectAltName of the certificate that a handshake shows."""
    shown = ssl.get_server_certificate(tuple(address.rsplit(":", 1)), timeout=20)  # type: ignore[arg-type]
    result = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=shown, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_new_connections_use_a_renewed_certificate_and_old_ones_stay_open(served: Served, folder: Path) -> None:
    with secure(served) as channel:
        before = ask(channel, "GetLimits", sent=metadata(served.token))
        lay(folder, *CA.pair(names=[*NAMES, "renewed.test"]))
        eventually(
            lambda: (
                served.log_text().count('"the TLS certificate was renewed","names":"localhost kms.test renewed') == 2
            ),
            "both workers use it",
        )
        for _ in range(10):
            assert answers(served, name="renewed.test") == "OK"
        assert "renewed.test" in names_served(aws_address(served))
        after = ask(channel, "GetLimits", sent=metadata(served.token))
    assert (after.code, after.trailers["kms-worker"]) == ("OK", before.trailers["kms-worker"])
    assert "PRIVATE KEY" not in served.log_text()


def test_an_invalid_pair_is_rejected(served: Served, folder: Path) -> None:
    """The key belongs to another certificate, as between two writes. Each worker logs this once."""
    mine, others = CA.pair(names=[*NAMES, "halfway.test"]), CA.pair()
    lay(folder, mine[0], others[1])
    said = "the renewed TLS certificate is rejected, the earlier one stays in use: tls:"
    eventually(lambda: served.log_text().count(said) == 2, "both workers reject it")
    time.sleep(2.5)  # two more checks
    assert (answers(served), answers(served, name="halfway.test")) == ("OK", "UNAVAILABLE")
    assert served.log_text().count(said) == 2
    lay(folder, *mine)
    eventually(lambda: [answers(served, name="halfway.test") for _ in range(8)] == ["OK"] * 8, "both workers use it")


def test_a_metric_shows_the_time_to_expiry(served: Served) -> None:
    line = next(line for line in served.log_text().splitlines() if '"message":"metrics"' in line)
    with urllib.request.urlopen(json.loads(line)["address"], timeout=20) as page:
        lines = page.read().decode().splitlines()
    values = [float(one.split()[1]) for one in lines if one.startswith("kms_grpc_worker_tls_seconds_to_expiry{")]
    assert len(values) == 2
    assert all(0 < value <= DAY.total_seconds() for value in values)


# --- every fault of a renewed pair, with handshakes by gRPC and by Python's ssl, without a server ---------------------


@contextmanager
def grpc_server(tls: ServerTls) -> Iterator[Callable[[str], str]]:
    """Runs a gRPC server; yields a function that calls it by a host name and returns the status code."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    port = server.add_secure_port("127.0.0.1:0", tls.credentials)
    server.start()

    def call(name: str) -> str:
        options = [*OWN_CONNECTION, ("grpc.ssl_target_name_override", name)]
        credentials = grpc.ssl_channel_credentials(CA.pem)
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            try:
                channel.unary_unary("/no/such")(b"", timeout=10)
            except grpc.RpcError as error:
                return str(error.code().name)
        raise AssertionError("the method does not exist")

    yield call
    server.stop(None).wait()


def by_python(context: ssl.SSLContext, name: str) -> bool:
    """True if a handshake succeeds with a client that expects the name."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=CA.pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


@pytest.mark.parametrize(
    "pair",
    [
        (None, None),  # both files are missing
        (b"", CA.pair()[1]),  # created but not yet written
        (CA.pair()[0], CA.pair()[1]),  # only one of the two is written
        CA.pair(until=-DAY / 2),
        CA.pair(since=DAY / 2),
        CA.pair(names=()),
    ],
    ids=["missing", "empty", "halfway", "expired", "not-yet-valid", "nameless"],
)
def test_an_invalid_renewed_pair_never_affects_a_handshake(
    pair: tuple[bytes | None, bytes | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = lay(tmp_path, *CA.pair(["first.test"]))
    tls = ServerTls(files)
    context = tls.context()
    with grpc_server(tls) as call:
        lay(tmp_path, *pair)
        for _ in range(3):
            tls.look()
        assert (call("first.test"), call("second.test")) == ("UNIMPLEMENTED", "UNAVAILABLE")
        assert by_python(context, "first.test")
        assert caplog.text.count("is rejected, the earlier one stays in use: tls: ") == 1
        lay(tmp_path, *CA.pair(["second.test"]))
        tls.look()
        assert (call("second.test"), call("first.test")) == ("UNIMPLEMENTED", "UNAVAILABLE")
        assert (by_python(context, "second.test"), by_python(context, "first.test")) == (True, False)
    assert "PRIVATE" not in caplog.text


def test_a_certificate_is_used_once_it_becomes_valid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The files do not change again, so they must be checked again without a change."""
    caplog.set_level("INFO")
    now = datetime.now(UTC)
    tls = ServerTls(lay(tmp_path, *CA.pair(["first.test"])), lambda: now)
    lay(tmp_path, *CA.pair(["later.test"], since=DAY / 2, until=2 * DAY))
    tls.look()
    assert "is valid from" in caplog.text and "was renewed" not in caplog.text
    now += DAY * 0.75
    tls.look()
    assert caplog.text.count("was renewed") == 1
    assert 1.2 * DAY.total_seconds() < tls.seconds_to_expiry < 1.25 * DAY.total_seconds()


# --- refused starts -------------------------------------------------------------------------------------------------


def test_a_start_with_an_invalid_pair_is_refused(tmp_path: Path) -> None:
    files: Tls = lay(tmp_path, CA.pair()[0], CA.pair()[1])
    options = ["--tls-certificate", str(files.certificate_file), "--tls-key", str(files.key_file)]
    refused = Served(tmp_path / "data", options)
    refused.launch()
    assert refused.process.wait(60) == 1
    assert f"cannot start: tls: {files.key_file}: is not the key of the first certificate" in refused.log_text()
    assert "PRIVATE" not in refused.log_text()
    with pytest.raises(ConfigurationError):
        ServerTls(files)
