"""Unexpected errors in the gRPC door, such as MemoryError: gRPC itself answers them UNKNOWN, with their text."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc.v1 import envelope_pb2
from tests.endpoints.calls import Reply, metadata, refused
from tests.endpoints.test_waiting_calls import WorkerDoor, loop, prepared, recorded
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


@pytest.mark.parametrize("ask", [single, batch, stream])
def test_a_call_for_which_there_is_no_memory_gets_an_error_of_the_service(
    door: WorkerDoor, monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(door.blocking_pool, "execute", fails)
    monkeypatch.setattr(door.blocking_pool, "run", fails)
    reply = ask(door)
    assert (reply.code, reply.reason) == ("INTERNAL", "KMSInternalException")
    assert "MemoryError" not in reply.text
    assert [code for code, _ in recorded(door, "lost")] == ["KMSInternalException"]
    monkeypatch.undo()
    assert door.ask("ListKeys").code == "OK"
