"""Unknown callers are refused before anything is spent on their calls.

Each attack here once kept good callers from being served.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endpoints.calls import OPERATIONS
from tests.endpoints.http2 import BareHeaders
from tests.endpoints.test_waiting_calls import WorkerDoor, healthy, loop, prepared
from tests.operations.service import Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")

CONNECTIONS = 3
EACH = 40
LIMITS = {"calls": 100, "calls_per_connection": EACH, "streams": 2, "bulk_waiting_ms": 200}
UNAUTHENTICATED = 16
STREAM = "/kms_grpc.v1.EnvelopeService/EncryptStream"


@pytest.fixture
def door(prepared: Path, tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[WorkerDoor]:
    host = Host(Path(shutil.copytree(prepared, tmp_path / "data")), limits=LIMITS, listen="127.0.0.1:0")
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()
    host.close()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="no token"),
        pytest.param([(b"authorization", b"Bearer of nothing that is known")], id="an unknown token"),
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        # 15 connections of 72 calls got 79 of 82 good calls refused: each counted, and waited for its message
        pytest.param(OPERATIONS["ListKeys"].path, id="single"),
        # four connections got 36 of 41 batches refused: each had a slot for as long as its message might still come
        pytest.param(OPERATIONS["EncryptBatch"].path, id="batch"),
        pytest.param(STREAM, id="stream"),
    ],
)
def test_headers_without_a_message_take_nothing_from_good_callers(
    door: WorkerDoor, path: str, headers: list[tuple[bytes, bytes]]
) -> None:
    key = door.ask("CreateKey").answer.key_metadata
    bare = [BareHeaders(f"127.0.0.1:{door.server.port}", path, headers, EACH) for _ in range(CONNECTIONS)]
    for connection in bare:
        assert connection.statuses(EACH) == [UNAUTHENTICATED] * EACH, "refused although no message came"
    assert (door.server.calls.under_way, door.server._bulk.queue.pending, door.server._streams.running) == (0, 0, 0)
    assert [door.ask("ListKeys").code for _ in range(5)] == ["OK"] * 5
    assert door.ask("EncryptBatch", items=[{"key_id": key.key_id, "plaintext": b"p"}]).code == "OK"
    assert healthy(door)
    for connection in bare:
        connection.close()
