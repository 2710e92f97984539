"""Calls that wait for a worker's threads or for the registry, also after their caller has gone.

The door of a worker runs in the test process, so that a test can hold the registry's write lock and see which calls
wait for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.grpc_server import GrpcServer
from kms_grpc.operations.call import Call
from kms_grpc.operations.handlers.importing import take_pair
from kms_grpc.operations.operation import Operation, compiled
from kms_grpc.operations.table import TABLE
from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.v1 import envelope_pb2
from tests.endpoints.calls import OPERATIONS, OWN_CONNECTION, Reply, ask, metadata, refused
from tests.operations.external_keys import EXTERNAL, wanted
from tests.operations.service import ALICE, Host, Worker, prepare

pytestmark = pytest.mark.xdist_group("door")

GIVEN_UP = "The call was cancelled before its answer, by its caller or by the end of the server."
LIMITS = {"threads": 1, "read_threads": 1, "waiting_calls": 3, "streams": 2}


class WorkerDoor:
    """A worker and its gRPC door. `loop` is the process's only event loop with gRPC: two would crash gRPC."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop, table: Iterable[Operation] = TABLE) -> None:
        self.worker: Worker = host.worker()
        self.loop = loop
        self.server: GrpcServer = self.run(self._start(host, table))
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}", OWN_CONNECTION)

    async def _start(self, host: Host, table: Iterable[Operation]) -> GrpcServer:
        self.blocking_pool = BlockingPool(self.worker.executor, host.settings.limits)
        server = GrpcServer(self.worker.executor, self.blocking_pool, table, host.settings, 0)
        await server.start()
        return server

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def ask(self, name: str, request_id: str = "", seconds: float = 60, **fields: Any) -> Reply:
        sent = metadata(ALICE.token, request_id=request_id or None)
        return ask(self.channel, name, OPERATIONS[name].request(**fields), sent, seconds)

    def close(self) -> None:
        self.channel.close()
        self.run(self.server.drain(10))
        self.blocking_pool.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "data"
    folder.mkdir()
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, daemon=True).start()
    return made


@pytest.fixture
def host(prepared: Path, tmp_path: Path) -> Iterator[Host]:
    made = Host(Path(shutil.copytree(prepared, tmp_path / "data")), limits=LIMITS, listen="127.0.0.1:0")
    yield made
    made.close()


@pytest.fixture
def door(host: Host, loop: asyncio.AbstractEventLoop) -> Iterator[WorkerDoor]:
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()


@contextmanager
def registry_held(door: WorkerDoor) -> Iterator[None]:
    """Hold the write lock of the home region's registry during the block."""
    path = door.worker.shard().registry._store._path  # type: ignore[attr-defined]
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition was not met in time")


def waiting(door: WorkerDoor) -> int:
    return door.blocking_pool.pending


def keys(door: WorkerDoor) -> int:
    return len(door.ask("ListKeys").answer.keys)


def healthy(door: WorkerDoor) -> bool:
    """True if health reports SERVING. Calls sent earlier on the same connection have then arrived."""
    answer = health_pb2_grpc.HealthStub(door.channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def recorded(door: WorkerDoor, request_id: str) -> list[tuple[str | None, str | None]]:
    """Returns error code and text of each audit record of a call."""
    lines = [*door.worker.audit(), *door.worker.outbox()]
    return [(line.get("errorCode"), line.get("errorMessage")) for line in lines if line.get("requestID") == request_id]


def test_a_call_beyond_the_queue_is_rejected(door: WorkerDoor) -> None:
    """One call has the thread and three wait: the next one is rejected at once with a retryable error, recorded and
    counted. Warm calls are still served."""
    made = door.ask("CreateKey").answer.key_metadata
    door.ask("Encrypt", key_id=made.key_id, plaintext=b"p")
    with ThreadPoolExecutor(4) as threads:
        with registry_held(door):
            held = [threads.submit(door.ask, "CreateKey") for _ in range(4)]
            until(lambda: waiting(door) == 4)
            reply = door.ask("UpdateKeyDescription", "rejected", key_id=made.key_id, description="d")
            assert (reply.code, reply.reason, reply.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
            assert door.ask("Encrypt", key_id=made.key_id, plaintext=b"p").code == "OK"
            assert healthy(door)
        assert [call.result().code for call in held] == ["OK"] * 4
    assert recorded(door, "rejected") == [("ThrottlingException", reply.text)]
    assert door.worker.counted()["UpdateKeyDescription"] == {"ThrottlingException": 1}
    assert keys(door) == 5


def test_reads_never_wait_behind_writers(door: WorkerDoor) -> None:
    """All threads and places for writes are taken, and one more write was begun as a read: the first look at an AWS
    managed key makes it. Cold reads, and an admission of a stream, are answered meanwhile."""
    made, other = (door.ask("CreateKey").answer.key_metadata for _ in range(2))
    with ThreadPoolExecutor(4) as threads:
        with registry_held(door):
            held = [threads.submit(door.ask, "DescribeKey", key_id="alias/aws/s3")]
            held += [threads.submit(door.ask, "CreateKey") for _ in range(3)]
            until(lambda: waiting(door) == 4)
            assert door.ask("ListKeys").code == "OK"
            assert door.ask("DescribeKey", key_id=made.key_id).code == "OK"
            assert door.ask("Encrypt", key_id=other.key_id, plaintext=b"cold").code == "OK"
            first = envelope_pb2.EncryptStreamRequest(key_id=made.key_id, last=True).SerializeToString()
            stream = door.channel.stream_stream("/kms_grpc.v1.EnvelopeService/EncryptStream")
            assert list(stream(iter([first]), metadata=metadata(ALICE.token), timeout=60))
            assert not any(call.done() for call in held)
        assert [call.result().code for call in held] == ["OK"] * 4
    assert door.worker.counted()["DescribeKey"] == {"OK": 2}, "the call that had to write is counted once"


def test_slow_calls_do_not_delay_others(host: Host, loop: asyncio.AbstractEventLoop) -> None:
    """Calls that generate a wrapping key pair use a thread of their own, although the pool has only one."""
    gate = threading.Event()

    def slow(call: Call, request: Any) -> Any:
        assert gate.wait(60)
        return take_pair(call, request)

    rows = [compiled(dataclasses.replace(row.kind, prepare=slow)) if row.is_slow else row for row in TABLE]
    door = WorkerDoor(host, loop, rows)
    made = door.ask("CreateKey", origin=EXTERNAL).answer.key_metadata
    with ThreadPoolExecutor(2) as threads:
        held = [threads.submit(door.ask, "GetParametersForImport", **wanted(made.key_id)) for _ in range(2)]
        until(lambda: waiting(door) == 2)
        assert door.ask("UpdateKeyDescription", key_id=made.key_id, description="meanwhile").code == "OK"
        assert keys(door) == 1
        assert waiting(door) == 2
        gate.set()
        assert len({call.result().answer.public_key for call in held}) == 2
    door.close()


def test_streams_are_counted_before_they_are_admitted(door: WorkerDoor) -> None:
    """Streams that wait for their admission count against the limit."""
    made = door.ask("CreateKey").answer.key_metadata
    first = envelope_pb2.EncryptStreamRequest(key_id=made.key_id, last=True).SerializeToString()
    method = door.channel.stream_stream("/kms_grpc.v1.EnvelopeService/EncryptStream")
    gate = threading.Event()
    door.blocking_pool._reads.threads.submit(gate.wait, 60)
    calls = [method(iter([first]), metadata=metadata(ALICE.token), timeout=60) for _ in range(5)]
    until(lambda: sum(call.done() for call in calls) == 3)
    gate.set()
    assert sorted(refused(call).reason or "" for call in calls if call.done()) == ["ThrottlingException"] * 3
    assert all(list(call) for call in calls if not call.done())
    assert door.worker.counted()["EncryptStream"] == {"ThrottlingException": 3, "OK": 2}


def test_a_call_whose_deadline_passes_while_it_waits_never_starts(door: WorkerDoor) -> None:
    with ThreadPoolExecutor(1) as threads, registry_held(door):
        threads.submit(door.ask, "CreateKey")
        until(lambda: waiting(door) == 1)
        assert door.ask("CreateKey", "too-late", 0.3).code == "DEADLINE_EXCEEDED"
        until(lambda: waiting(door) == 1)
    assert recorded(door, "too-late") == [("DeadlineExceeded", "The deadline of the call passed before its answer.")]
    assert door.worker.counted()["CreateKey"] == {"OK": 1, "DeadlineExceeded": 1}
    assert keys(door) == 1


def test_a_call_cancelled_while_it_waits_never_starts(door: WorkerDoor) -> None:
    with ThreadPoolExecutor(1) as threads, registry_held(door):
        threads.submit(door.ask, "CreateKey")
        until(lambda: waiting(door) == 1)
        sent = metadata(ALICE.token, request_id="given-up")
        call = door.channel.unary_unary(OPERATIONS["CreateKey"].path).future(b"", metadata=sent)
        until(lambda: waiting(door) == 2)
        call.cancel()
        until(lambda: waiting(door) == 1)
    assert recorded(door, "given-up") == [("Cancelled", GIVEN_UP)]
    assert door.worker.counted()["CreateKey"] == {"OK": 1, "Cancelled": 1}
    assert keys(door) == 1


def test_a_call_cancelled_while_it_runs_is_finished_and_recorded(door: WorkerDoor) -> None:
    with registry_held(door):
        sent = metadata(ALICE.token, request_id="running")
        call = door.channel.unary_unary(OPERATIONS["CreateKey"].path).future(b"", metadata=sent)
        until(lambda: door.blocking_pool._writes.queue.running == 1)
        call.cancel()
        assert healthy(door), "the cancellation has arrived"
    until(lambda: door.worker.counted().get("CreateKey", {}).get("OK", 0) == 1)
    assert recorded(door, "running") == [(None, None)]
    assert keys(door) == 1


def test_a_key_that_was_changed_on_disk(door: WorkerDoor) -> None:
    """Calls on it get KeyUnavailableException and are told not to retry; other keys are served."""
    damaged, good = door.ask("CreateKey").answer.key_metadata, door.ask("CreateKey").answer.key_metadata
    path = door.worker.shard().registry._store._path  # type: ignore[attr-defined]
    with sqlite3.connect(path) as disk:
        disk.execute("UPDATE keys SET description = 'not mine' WHERE key_id = ?", (damaged.key_id,))
    disk.close()
    door.worker.change(good.key_id, description="")  # makes the worker read the shard again
    door.worker.shard()._clear()
    reply = door.ask("Encrypt", key_id=damaged.key_id, plaintext=b"p")
    assert (reply.code, reply.reason, reply.facts["key"]) == ("UNAVAILABLE", "KeyUnavailableException", damaged.arn)
    assert reply.trailers["grpc-retry-pushback-ms"] == "-1"
    assert not reply.retry_info
    assert reply.trailer_bytes < 4096
    assert door.ask("Encrypt", key_id=good.key_id, plaintext=b"p").code == "OK"
    assert [entry.key_id for entry in door.ask("ListKeys").answer.keys] == [good.key_id]


def test_drain(door: WorkerDoor) -> None:
    """Watchers of health see NOT_SERVING, and running calls finish before the door closes."""
    watched = health_pb2_grpc.HealthStub(door.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    with ThreadPoolExecutor(1) as threads:
        with registry_held(door):
            call = threads.submit(door.ask, "CreateKey")
            until(lambda: waiting(door) == 1)
            draining = asyncio.run_coroutine_threadsafe(door.server.drain(30), door.loop)
            assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watched.cancel()
        assert call.result().code == "OK"
    draining.result(60)
    assert door.ask("ListKeys", seconds=5).code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_an_rpc_without_a_row_cannot_be_served(host: Host, loop: asyncio.AbstractEventLoop) -> None:
    door = WorkerDoor(host, loop, [row for row in TABLE if row.name != "DescribeKey"])
    assert door.ask("DescribeKey", key_id="x").code == "UNIMPLEMENTED"
    assert door.ask("ListKeys").code == "OK"
    door.close()
