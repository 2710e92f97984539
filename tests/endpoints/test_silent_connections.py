"""Connections that send little or nothing: gRPC's options end them."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.endpoints import grpc_options
from tests.endpoints.calls import OPERATIONS
from tests.endpoints.http2 import PREFACE, BareHeaders, is_closed, settings
from tests.endpoints.test_waiting_calls import WorkerDoor, healthy, loop, prepared, until
from tests.operations.service import ALICE, Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")

TOKEN = [(b"authorization", f"Bearer {ALICE.token}".encode())]


@pytest.fixture
def changed() -> dict[str, int]:
    return {}


@pytest.fixture
def door(
    prepared: Path,
    tmp_path: Path,
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, int],
) -> Iterator[WorkerDoor]:
    for name, milliseconds in changed.items():
        assert hasattr(grpc_options, name)
        monkeypatch.setattr(grpc_options, name, milliseconds)
    host = Host(Path(shutil.copytree(prepared, tmp_path / "data")), listen="127.0.0.1:0")
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()
    host.close()


def nothing(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def no_call(address: str) -> socket.socket:
    opened = nothing(address)
    opened.sendall(PREFACE + settings())
    return opened


def no_message(address: str) -> socket.socket:
    return BareHeaders(address, OPERATIONS["ListKeys"].path, TOKEN, 3).connection


@pytest.mark.parametrize(
    ("changed", "sends"),
    [
        pytest.param({"HANDSHAKE_MS": 300}, nothing, id="no HTTP/2; gRPC waits two minutes"),
        pytest.param({"CONNECTION_IDLE_MS": 300}, no_call, id="no call; gRPC waits for ever"),
        pytest.param(
            {"KEEPALIVE_MS": 300, "KEEPALIVE_TIMEOUT_MS": 300},
            no_message,
            id="calls without messages, of a peer that is gone; gRPC asks after two hours",
        ),
        pytest.param(
            {"CONNECTION_AGE_MS": 300, "CONNECTION_GRACE_MS": 300},
            no_message,
            id="calls without messages, of a peer that is there",
        ),
    ],
)
def test_a_silent_connection_is_closed(door: WorkerDoor, sends: Any) -> None:
    silent = sends(f"127.0.0.1:{door.server.port}")
    until(lambda: is_closed(silent))
    silent.close()
    assert healthy(door)
    assert door.ask("ListKeys").code == "OK"
    until(lambda: door.server.calls.under_way == 0)


def test_a_connection_that_only_pings_is_closed(door: WorkerDoor) -> None:
    pinging = no_call(f"127.0.0.1:{door.server.port}")
    ping = (8).to_bytes(3) + bytes([6, 0]) + bytes(4) + bytes(8)
    pinging.sendall(20 * ping)
    until(lambda: is_closed(pinging))
    pinging.close()
