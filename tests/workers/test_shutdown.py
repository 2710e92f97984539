"""The end of a server as its callers and its audit log show it."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kms_grpc.client import KeyManagementClient
from kms_grpc.v1 import key_management_pb2 as pb
from tests.conftest import StartServer
from tests.faults.service import wait_until
from tests.served import Served
from tests.workers.connections import SECONDS, Caller, connect, worker_pid

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CALLERS = 4
CALLS_BEFORE = 200

STOPPED = "DependencyTimeoutException"


def audited(server: Served, outcome: str | None) -> set[str]:
    """Returns the request ids of the calls that were done (None) or ended in this error; every line must be whole."""
    lines = (line for path in (server.data_dir / "audit").glob("worker-*.jsonl") for line in path.open("rb"))
    return {record["requestID"] for record in map(json.loads, lines) if record.get("errorCode") == outcome}


class Work:
    """Threads that encrypt and decrypt until the server ends, each call with its own request id."""

    def __init__(self, callers: list[Caller], key: str) -> None:
        self.answered: dict[str, list[str]] = {"Encrypt": [], "Decrypt": []}
        self.failed: dict[str, grpc.StatusCode] = {}
        self._key = key
        self._enough = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._run, args=(caller,)) for caller in callers]
        for thread in self._threads:
            thread.start()

    def wait_for_calls(self) -> None:
        for _ in range(CALLS_BEFORE):
            assert self._enough.acquire(timeout=SECONDS)

    def end(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, caller: Caller) -> None:
        try:
            while True:
                blob = self._call(
                    caller, "Encrypt", pb.EncryptRequest(key_id=self._key, plaintext=b"x")
                ).ciphertext_blob
                self._call(caller, "Decrypt", pb.DecryptRequest(ciphertext_blob=blob))
                self._enough.release()
        except grpc.RpcError:
            pass

    def _call(self, caller: Caller, name: str, request: object) -> pb.EncryptResponse:
        request_id = str(uuid.uuid4())
        try:
            answer: pb.EncryptResponse = caller.send(name, request, request_id).result()
        except grpc.RpcError as error:
            self.failed[request_id] = error.code()
            raise
        self.answered[name].append(request_id)
        return answer


@pytest.fixture
def server(start_server: StartServer) -> Served:
    return start_server(workers=2)


@pytest.fixture
def work(server: Served) -> Iterator[Work]:
    with ExitStack() as held:
        callers = connect(server, held)
        work = Work(callers[:CALLERS], callers[0].call("CreateKey").key_metadata.key_id)
        work.wait_for_calls()
        yield work


def test_sigterm_under_load(server: Served, work: Work) -> None:
    """Calls that started were answered, and all answered calls are in the audit log. Later calls get UNAVAILABLE."""
    assert server.stop() == 0
    work.end()
    assert set(work.failed.values()) == {grpc.StatusCode.UNAVAILABLE}
    assert {*work.answered["Encrypt"], *work.answered["Decrypt"]} <= audited(server, None)
    assert not audited(server, None) & work.failed.keys(), "no call was done without a response"
    assert audited(server, STOPPED) <= work.failed.keys()


def test_sigkill_under_load(server: Served, work: Work) -> None:
    """Decrypt was audited before each response."""
    server.kill()
    work.end()
    assert set(work.failed.values()) == {grpc.StatusCode.UNAVAILABLE}
    server.start()
    lines = [line for path in (server.data_dir / "audit").glob("worker-*.jsonl") for line in path.open("rb")]
    whole = {json.loads(line).get("requestID") for line in lines if line.endswith(b"}\n")}
    assert set(work.answered["Decrypt"]) <= whole


def test_health_reports_not_serving_before_the_end(start_server: StartServer, tmp_path: Path) -> None:
    """Endless Watch calls do not delay the end until drain_seconds are over."""
    config = tmp_path / "kms.toml"
    config.write_text("drain_seconds = 600.0\n")
    server = start_server("--config", str(config), workers=2)
    with ExitStack() as held:
        watches = [
            health_pb2_grpc.HealthStub(caller.channel).Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
            for caller in connect(server, held)
        ]
        assert [next(watch).status for watch in watches] == [SERVING] * len(watches)
        server.process.send_signal(signal.SIGTERM)
        assert [next(watch).status for watch in watches] == [NOT_SERVING] * len(watches)
        assert server.process.wait(SECONDS) == 0


@pytest.mark.parametrize(("workers", "names"), [(1, ["kms"]), (2, ["kms.0", "kms.1"])])
def test_unix_sockets(start_server: StartServer, tmp_path: Path, workers: int, names: list[str]) -> None:
    """Each worker has a socket with mode 0600; a restarted worker uses it again."""
    server = start_server(listen=f"unix:{tmp_path}/kms", workers=workers)
    for index, name in enumerate(names):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        for starts in (1, 2):
            wait_until(lambda: server.log_text().count(f"worker-{index} is ready") == starts, "ready")  # noqa: B023
            with KeyManagementClient(f"unix:{tmp_path}/{name}", token=server.token) as client:
                assert client.generate_random(8).plaintext
            os.kill(worker_pid(server, index), signal.SIGKILL)
    assert server.stop() == 0
    assert not list(tmp_path.glob("kms*"))
