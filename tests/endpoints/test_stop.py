"""The end of the gRPC door: no call ends without a reason that says whether it may be repeated."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.endpoints.calls import OPERATIONS, OWN_CONNECTION, metadata, refused
from tests.endpoints.http2 import BareHeaders
from tests.endpoints.test_waiting_calls import WorkerDoor, loop, prepared, registry_held, until, waiting
from tests.operations.service import ALICE, Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")

STOPPED = ("UNAVAILABLE", "DependencyTimeoutException")
UNAVAILABLE = 14


@pytest.fixture
def door(prepared: Path, tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[WorkerDoor]:
    limits = {"threads": 1}
    host = Host(Path(shutil.copytree(prepared, tmp_path / "data")), limits=limits, listen="127.0.0.1:0")
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()
    host.close()


class Caller:
    """Calls ListKeys without end, one call after the other, until a call is not answered."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._method = channel.unary_unary(OPERATIONS["ListKeys"].path)
        self.answered = 0
        self.ended: tuple[str, str | None] | None = None
        self._call()

    def _call(self) -> None:
        self._method.future(b"", metadata=metadata(ALICE.token), timeout=60).add_done_callback(self._next)

    def _next(self, call: Any) -> None:
        if call.code() is grpc.StatusCode.OK:
            self.answered += 1
            self._call()
        else:
            reply = refused(call)
            self.ended = reply.code, reply.reason


def test_calls_that_begin_while_the_door_closes_are_refused_with_a_reason(door: WorkerDoor) -> None:
    """70 of 72 callers once got CANCELLED: gRPC drops the calls that it has not handed over yet."""
    channels = [grpc.insecure_channel(f"127.0.0.1:{door.server.port}", OWN_CONNECTION) for _ in range(6)]
    callers = [Caller(channel) for channel in channels for _ in range(12)]
    until(lambda: all(caller.answered for caller in callers))
    door.run(door.server.drain(10))
    until(lambda: all(caller.ended for caller in callers))
    assert Counter(caller.ended for caller in callers) == {STOPPED: len(callers)}
    for channel in channels:
        channel.close()


def test_calls_that_outlast_the_drain_are_refused_with_a_reason(door: WorkerDoor) -> None:
    """One call has the thread, which finishes its work all the same; the others wait for it."""
    method, token = door.channel.unary_unary(OPERATIONS["CreateKey"].path), metadata(ALICE.token)
    with registry_held(door):
        calls = [method.future(b"", metadata=token, timeout=60) for _ in range(3)]
        until(lambda: waiting(door) == 3)
        door.run(door.server.drain(1))
        ends = [refused(call.exception()) for call in calls]
        assert [(end.code, end.reason) for end in ends] == [STOPPED] * 3
    until(lambda: door.worker.counted()["CreateKey"] == {"OK": 1, "Cancelled": 2})


@pytest.mark.parametrize("name", ["ListKeys", "EncryptBatch"])
def test_calls_whose_message_never_comes_are_refused_with_a_reason(door: WorkerDoor, name: str) -> None:
    token = [(b"authorization", f"Bearer {ALICE.token}".encode())]
    bare = BareHeaders(f"127.0.0.1:{door.server.port}", OPERATIONS[name].path, token, 3)
    until(lambda: door.server.calls.under_way == 3)
    drained = threading.Thread(target=lambda: door.run(door.server.drain(1)))
    drained.start()
    assert bare.statuses(3) == [UNAVAILABLE] * 3
    drained.join()
    bare.close()
