"""Batches whose responses nobody reads: they give way to other batches once they have waited for long."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms_grpc.endpoints.bulk import EACH, SLOTS
from kms_grpc.endpoints.unread_answers import ENDING
from tests.endpoints.calls import OPERATIONS
from tests.endpoints.http2 import BareHeaders
from tests.endpoints.test_waiting_calls import WorkerDoor, loop, prepared, until
from tests.operations.service import ALICE, Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")

TOKEN = [(b"authorization", f"Bearer {ALICE.token}".encode())]
CONNECTIONS = SLOTS // EACH


@pytest.fixture
def idle_seconds() -> float:
    return 1.0


@pytest.fixture
def door(prepared: Path, tmp_path: Path, loop: asyncio.AbstractEventLoop, idle_seconds: float) -> Iterator[WorkerDoor]:
    limits = {"bulk_waiting_ms": 300, "stream_idle_seconds": idle_seconds}
    host = Host(Path(shutil.copytree(prepared, tmp_path / "data")), limits=limits, listen="127.0.0.1:0")
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()
    host.close()


def items(door: WorkerDoor) -> list[dict[str, object]]:
    key = door.ask("CreateKey").answer.key_metadata
    return [{"key_id": key.key_id, "plaintext": b"p"}]


def unread(door: WorkerDoor, sent: list[dict[str, object]]) -> list[BareHeaders]:
    """Occupies every slot with a call whose response is not read."""
    operation = OPERATIONS["EncryptBatch"]
    message = operation.request(items=sent).SerializeToString()
    opened = [
        BareHeaders(f"127.0.0.1:{door.server.port}", operation.path, TOKEN, EACH, message) for _ in range(CONNECTIONS)
    ]
    until(lambda: len(door.server._bulk._unread._since) == SLOTS)
    return opened


def test_unread_responses_give_way(door: WorkerDoor) -> None:
    """Four connections once kept all other batches from being served for ever. The responses that gRPC could not send
    are bounded too: beyond the bound, connections are closed."""
    sent = items(door)
    waves = []
    for _ in range(4):
        waves.append(unread(door, sent))
        until(lambda: door.ask("EncryptBatch", items=sent).code == "OK")
    until(lambda: any(connection.is_closed() for connection in waves[0]))
    assert not any(connection.is_closed() for connection in waves[-1])
    assert len(door.server._bulk._unread._ending) <= 2 * ENDING
    for connection in (connection for wave in waves for connection in wave):
        connection.close()


@pytest.mark.parametrize("idle_seconds", [3600.0])
def test_a_response_that_has_not_waited_long_keeps_its_slot(door: WorkerDoor) -> None:
    sent = items(door)
    opened = unread(door, sent)
    reply = door.ask("EncryptBatch", items=sent)
    assert (reply.code, reply.reason, reply.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
    assert len(door.server._bulk._unread._since) == SLOTS
    for connection in opened:
        connection.close()
