"""The bench's own server, which serves the yardsticks too (server_process.py), on a data directory of the bench."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kms_grpc import config
from kms_grpc.bench import own_certificate
from kms_grpc.bench.children import BenchFailed, environment
from kms_grpc.bench.http2 import CallAnswer, LoadConnection
from kms_grpc.bench.http_echo import PORT_FILE
from kms_grpc.bench.sockets import Trust
from kms_grpc.config import Settings
from kms_grpc.processes.isolation import python_module

REGION: Final = "eu-central-1"
SERVER_MODULE: Final = "kms_grpc.bench.server_process"
HEALTH: Final = "/grpc.health.v1.Health/Check"
SERVING: Final = b"\x08\x01"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0
POLL_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Target:
    """A server, with the token and region that a call's metadata carries."""

    endpoint: str
    token: str | None
    region: str | None
    aws_endpoint: str | None = None
    echo_endpoint: str | None = None
    """The echo beside the AWS door."""
    trust: Trust | None = None
    """The trusted certificates for TLS; None for plain text."""

    @property
    def metadata(self) -> list[tuple[str, str]]:
        pairs = (("authorization", self.token and f"Bearer {self.token}"), ("kms-region", self.region))
        return [(name, value) for name, value in pairs if value]


@contextmanager
def own_server(data_dir: Path, workers: int, aws: bool = False, tls: bool = False) -> Iterator[Target]:
    """Runs a server while entered: with `aws` also for AWS's clients, with `tls` under TLS.

    Raises BenchFailed if the server fails.
    """
    server = BenchServer(data_dir, workers, aws, tls)
    try:
        server.start()
        token = (data_dir / "dev.token").read_text("ascii").strip()
        yield Target(server.endpoint, token, REGION, server.aws_endpoint, server.echo_endpoint, server.trust)
    finally:
        server.stop()


class BenchServer:
    """A child process `kms-grpc serve`. Its log is `serve.log` in the data directory."""

    def __init__(self, data_dir: Path, workers: int, aws: bool = False, tls: bool = False) -> None:
        self.data_dir = data_dir
        self._certified = own_certificate.make(data_dir / "tls") if tls else None
        self.trust = Trust(str(self._certified.ca)) if self._certified else None
        self.aws_endpoint = f"127.0.0.1:{free_port()}" if aws else None
        self.echo_endpoint = f"127.0.0.1:{free_port()}" if aws else None
        self.endpoint = f"127.0.0.1:{free_port()}"
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts the server; returns the seconds from exec to the first SERVING."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.echo_endpoint is not None:
            (self.data_dir / PORT_FILE).write_text(self.echo_endpoint.rpartition(":")[2])
        with (self.data_dir / "serve.log").open("ab") as log:
            begun = time.perf_counter()
            command = python_module(SERVER_MODULE, "serve", str(os.getpid()))
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment())
            assert self._process.stdin is not None
            with self._process.stdin as given:
                given.write(config.to_json(self._settings()))
        while not is_serving(self.endpoint, self.trust):
            self._check(begun)
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - begun

    def stop(self) -> None:
        """Sends SIGTERM, and kills the server if it does not end in time."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _check(self, begun: float) -> None:
        assert self._process is not None
        if self._process.poll() is None and time.perf_counter() - begun < START_SECONDS:
            return
        lines = (self.data_dir / "serve.log").read_text("utf-8", "replace").splitlines() or ["its log is empty"]
        raise BenchFailed(f"the bench's server did not start: {lines[-1]}")

    def _settings(self) -> Settings:
        values: dict[str, Any] = {
            "data_dir": str(self.data_dir), "listen": self.endpoint, "aws_listen": self.aws_endpoint,
            "regions": [REGION], "workers": self._workers, "dev": True,
        }  # fmt: skip
        if self._certified:
            values["tls"] = {
                "certificate_file": str(self._certified.certificate), "key_file": str(self._certified.key)
            }  # fmt: skip
        return config.from_values(values)


def is_serving(endpoint: str, trust: Trust | None = None) -> bool:
    """Returns whether grpc.health.v1 answers SERVING."""
    with contextlib.suppress(OSError):
        connection = LoadConnection(endpoint, lambda *_: None, trust)
        try:
            answer: CallAnswer = connection.call(HEALTH, b"", ())
        finally:
            connection.close()
        return answer.status == 0 and answer.message == SERVING
    return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
