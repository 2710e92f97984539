"""Idle streams: they may stay open until the worker reaches its limit of streams."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kms_grpc.v1 import envelope_pb2
from tests.endpoints.calls import OWN_CONNECTION, Reply, metadata, refused
from tests.endpoints.test_waiting_calls import WorkerDoor, loop, prepared, until
from tests.operations.service import ALICE, Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")

STREAMS = 2
PATH = "/kms_grpc.v1.EnvelopeService/EncryptStream"
PART = bytes(1 << 20)


@pytest.fixture
def idle_seconds() -> float:
    return 1.0


@pytest.fixture
def door(prepared: Path, tmp_path: Path, loop: asyncio.AbstractEventLoop, idle_seconds: float) -> Iterator[WorkerDoor]:
    limits = {"streams": STREAMS, "stream_idle_seconds": idle_seconds}
    host = Host(Path(shutil.copytree(prepared, tmp_path / "data")), limits=limits, listen="127.0.0.1:0")
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()
    host.close()


class Stream:
    """A call of EncryptStream on a connection of its own."""

    def __init__(self, door: WorkerDoor, key_id: str, request_id: str = "") -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{door.server.port}", OWN_CONNECTION)
        self._first = envelope_pb2.EncryptStreamRequest(key_id=key_id, plaintext=b"p").SerializeToString()
        self._go = threading.Semaphore(0)
        self._ended = False
        self.parts = 0
        sent = metadata(ALICE.token, request_id=request_id or None)
        self.call = self._channel.stream_stream(PATH)(self._messages(), metadata=sent, timeout=60)

    def _messages(self) -> Iterator[bytes]:
        yield self._first
        while self._go.acquire(timeout=60) and not self._ended:
            self.parts += 1
            yield envelope_pb2.EncryptStreamRequest(plaintext=PART).SerializeToString()

    def send(self, parts: int = 1) -> None:
        for _ in range(parts):
            self._go.release()

    def read(self) -> Reply | None:
        """Reads all responses; returns the error at the end, or None."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            return refused(error)
        return None

    def close(self) -> None:
        self._ended = True
        self._go.release()
        self._channel.close()


def run_stream(door: WorkerDoor, key_id: str) -> Reply | None:
    """Runs a stream of one message; returns the error, or None."""
    message = envelope_pb2.EncryptStreamRequest(key_id=key_id, plaintext=b"p", last=True).SerializeToString()
    try:
        list(door.channel.stream_stream(PATH)(iter([message]), metadata=metadata(ALICE.token), timeout=60))
    except grpc.RpcError as error:
        return refused(error)
    return None


def key(door: WorkerDoor) -> str:
    return str(door.ask("CreateKey").answer.key_metadata.key_id)


@pytest.mark.parametrize("parts", [pytest.param(0, id="sends nothing"), pytest.param(64, id="reads nothing")])
def test_a_new_stream_replaces_an_idle_one(door: WorkerDoor, parts: int) -> None:
    key_id = key(door)
    held = {f"held-{number}": Stream(door, key_id, f"held-{number}") for number in range(STREAMS)}
    for one in held.values():
        one.send(parts)
    until(lambda: door.server._streams.running == STREAMS)
    until(lambda: run_stream(door, key_id) is None)
    ends = [line for line in door.worker.audit() if line["requestID"] in held and "errorCode" in line]
    assert [(line["errorCode"], line["additionalEventData"]["stream"]) for line in ends] == [
        ("ThrottlingException", "failed")
    ]
    error = held[ends[0]["requestID"]].read()
    assert error is not None
    assert (error.code, error.reason, error.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
    assert "neither sent nor read" in error.text
    for one in held.values():
        one.close()
    streams = door.server._streams
    until(lambda: (streams.running, len(streams._ending), door.server.calls.under_way) == (0, 0, 0))
    assert run_stream(door, key_id) is None


@pytest.mark.parametrize("idle_seconds", [3600.0])
def test_a_stream_that_is_not_idle_for_long_is_not_replaced(door: WorkerDoor) -> None:
    key_id = key(door)
    held = [Stream(door, key_id) for _ in range(STREAMS)]
    until(lambda: door.server._streams.running == STREAMS)
    reply = run_stream(door, key_id)
    assert reply is not None and (reply.code, reply.reason) == ("RESOURCE_EXHAUSTED", "ThrottlingException")
    assert "limit of concurrent streams" in reply.text
    assert all(one.call.is_active() for one in held)
    for one in held:
        one.close()


def test_idle_streams_stay_open_below_the_limit(door: WorkerDoor) -> None:
    """The stream that has been idle longest ends; an active one stays."""
    key_id = key(door)
    quiet, busy = Stream(door, key_id), Stream(door, key_id)
    until(lambda: door.server._streams.running == STREAMS)
    threading.Thread(target=busy.read).start()

    def served() -> bool:
        busy.send()
        return run_stream(door, key_id) is None

    until(served)
    assert busy.call.is_active()
    gone = quiet.read()
    assert gone is not None and gone.reason == "ThrottlingException"
    for _ in range(5):
        assert run_stream(door, key_id) is None, "no stream is replaced below the limit"
    assert busy.call.is_active()
    busy.close()
    quiet.close()
