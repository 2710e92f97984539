"""A service started by the command line, in a process group that tests can kill as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from kms_grpc.v1 import key_management_pb2_grpc
from tests.ending import ENDING_WITH_US

ACCOUNT = "123456789012"
REGION = "eu-central-1"
START_SECONDS = 60
CALL_SECONDS = 30
CHANNEL = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # bounds one attempt, which a loaded machine answers late
    ("grpc.max_reconnect_backoff_ms", 100),
]
"""Options that give each channel its own connection, so that channels reach different workers, and turn retries off."""


class Refused(Exception):
    """The service answered with an error; `reason` is its name."""

    def __init__(self, reason: str, text: str, facts: dict[str, str]) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text
        self.facts = facts


class Lost(Exception):
    """No answer came; the call may have happened."""


class Caller:
    """Stubs over one connection. Calls raise Refused or Lost."""

    def __init__(self, address: str, token: str, region: str | None = None) -> None:
        self.channel = grpc.insecure_channel(address, CHANNEL)
        self.stub = key_management_pb2_grpc.KeyManagementServiceStub(self.channel)
        self._metadata = [("authorization", f"Bearer {token}"), *([("kms-region", region)] if region else [])]

    def call(self, name: str, request: Any, request_id: str | None = None) -> Any:
        metadata = [*self._metadata, *([("kms-request-id", request_id)] if request_id else [])]
        try:
            return getattr(self.stub, name)(request, metadata=metadata, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise as_known(error) from None

    def close(self) -> None:
        self.channel.close()


def as_known(error: Any) -> Exception:
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return Refused(info.reason, error.details() or "", dict(info.metadata))
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Lost(error.details())
    raise AssertionError(f"an error without ErrorInfo: {error.code()} {error.details()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """`kms-grpc serve` on a data directory. Its output goes to `log`."""

    def __init__(self, data_dir: Path, regions: Sequence[str] = (REGION,), more: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.regions = list(regions)
        self.more = list(more)
        self.address = f"127.0.0.1:{free_port()}"
        self.log = data_dir.with_name(data_dir.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def token(self) -> str:
        return (self.data_dir / "dev.token").read_text().strip()

    def caller(self, region: str | None = None) -> Caller:
        return Caller(self.address, self.token, region)

    def exec(self, fault: str | None = None) -> subprocess.Popen[bytes]:
        """Starts without waiting. `fault` is NAME:N; its N-th passing kills the whole group."""
        command = [
            *ENDING_WITH_US,
            sys.executable,
            "-m",
            "kms_grpc",
            "serve",
            "--dev",
            "--data-dir",
            str(self.data_dir),
        ]
        command += ["--listen", self.address, "--workers", "2", *self.more]
        for region in self.regions:
            command += ["--region", region]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KMS_GRPC_")}
        if fault:
            environment |= {"KMS_GRPC_FAULT": fault, "KMS_GRPC_FAULT_GROUP": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return self.process

    def start(self, fault: str | None = None) -> None:
        """Starts the service and waits until its health is SERVING."""
        self.exec(fault)
        assert self.becomes_ready(), f"the service ended while it started:\n{self.log_text()}"

    def becomes_ready(self) -> bool:
        """Waits until the service is SERVING; returns False if it ends before."""
        assert self.process
        with grpc.insecure_channel(self.address, CHANNEL) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            deadline = time.monotonic() + START_SECONDS
            while self.process.poll() is None:
                assert time.monotonic() < deadline, f"not ready after {START_SECONDS} s:\n{self.log_text()}"
                with contextlib.suppress(grpc.RpcError):
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=0.5, wait_for_ready=True)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return True
                time.sleep(0.01)
        return False

    def log_text(self) -> str:
        return self.log.read_text("utf-8", "replace")[-4000:]

    def kill(self) -> None:
        """Sends SIGKILL to all its processes."""
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait_for_death()

    def wait_for_death(self, seconds: float = 60) -> int:
        """Waits until no process of the group is left; returns the exit status."""
        assert self.process
        status = self.process.wait(seconds)
        wait_until(lambda: not group_lives(self.process.pid), "processes of the group live on")  # type: ignore[union-attr]
        return status

    def stop(self) -> int:
        """Sends SIGTERM; returns the exit status."""
        assert self.process
        self.process.terminate()
        return self.wait_for_death()

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()


def group_lives(group: int) -> bool:
    """Returns whether the group has a process that is not a zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                return True
    return False


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
