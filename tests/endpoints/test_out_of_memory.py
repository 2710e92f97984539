"""Memory in the gRPC door: calls for which there is none, and messages of refused calls, which are freed at once."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc.v1 import envelope_pb2
from tests.endpoints.calls import Reply, ask, metadata, refused
from tests.endpoints.test_waiting_calls import WorkerDoor, loop, prepared, recorded, until
from tests.operations.service import ALICE, Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")


@pytest.fixture
def door(prepared: Path, tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[WorkerDoor]:
    host = Host(Path(shutil.copytree(prepared, tmp_path / "data")), listen="127.0.0.1:0")
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()
    host.close()


def single(door: WorkerDoor) -> Reply:
    return door.ask("ListKeys", "lost")


def batch(door: WorkerDoor) -> Reply:
    return door.ask("EncryptBatch", "lost")


def stream(door: WorkerDoor) -> Reply:
    message = envelope_pb2.EncryptStreamRequest(key_id="k", plaintext=b"p", last=True).SerializeToString()
    method = door.channel.stream_stream("/kms_grpc.v1.EnvelopeService/EncryptStream")
    call = method(iter([message]), metadata=metadata(ALICE.token, request_id="lost"), timeout=60)
    try:
        list(call)
    except grpc.RpcError as error:
        return refused(error)
    raise AssertionError("was answered")


@pytest.mark.parametrize("call", [single, batch, stream])
def test_a_call_for_which_there_is_no_memory_gets_an_error_of_the_service(
    door: WorkerDoor, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    """gRPC itself answers UNKNOWN, with the text of the exception."""

    async def fails(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(door.blocking_pool, "execute", fails)
    monkeypatch.setattr(door.blocking_pool, "run", fails)
    reply = call(door)
    assert (reply.code, reply.reason) == ("INTERNAL", "KMSInternalException")
    assert "MemoryError" not in reply.text
    assert [code for code, _ in recorded(door, "lost")] == ["KMSInternalException"]
    monkeypatch.undo()
    assert door.ask("ListKeys").code == "OK"


@pytest.mark.parametrize("name", ["Encrypt", "EncryptBatch"])
def test_the_message_of_a_refused_call_is_freed_at_once(
    door: WorkerDoor, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An error refers to its frames, and these to the message. Where one of them kept the error, messages of 4 MiB each
    stayed until the next garbage collection."""
    execute = door.worker.executor.execute
    held: list[bytes] = []

    def refused(operation: Any, credentials: Any, raw: bytes, *rest: Any, **options: Any) -> bytes:
        held.append(raw)
        return execute(operation, credentials, raw, *rest, **options)

    monkeypatch.setattr(door.worker.executor, "warm", lambda *_: None)
    monkeypatch.setattr(door.worker.executor, "execute", refused)
    gc.disable()
    try:
        assert ask(door.channel, name, b"\xff" * 100_000, metadata(ALICE.token)).code == "INVALID_ARGUMENT"
        until(lambda: sys.getrefcount(held[0]) == 2)
    finally:
        gc.enable()
