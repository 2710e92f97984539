"""Batches whose responses nobody reads: they give way to other batches once they have waited for long."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms_grpc.endpoints.bulk import EACH, SLOTS
from kms_grpc.endpoints.unread_answers import MOST_ENDING, UnreadAnswers
from kms_grpc.errors import ThrottlingException
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
        assert len(door.server._bulk._unread._ending) <= MOST_ENDING
    until(lambda: any(connection.is_closed() for connection in waves[0]))
    assert not any(connection.is_closed() for connection in waves[-1])
    for connection in (connection for wave in waves for connection in wave):
        connection.close()


class _Unread:
    """A call whose caller reads nothing, not even its error."""

    async def send_initial_metadata(self, _: object) -> None:
        pass

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()

    def peer(self) -> str:
        return "unix:"


def test_errors_that_nobody_reads_are_bounded() -> None:
    """Calls of a Unix socket, whose connections cannot be closed, once were ended without a bound."""

    async def held(answers: UnreadAnswers) -> None:
        with pytest.raises(ThrottlingException):
            await answers.write(b"", _Unread())  # type: ignore[arg-type]
        await asyncio.Event().wait()

    async def ends() -> tuple[int, int, int]:
        answers = UnreadAnswers(0.0)
        calls = [asyncio.create_task(held(answers)) for _ in range(MOST_ENDING + 8)]
        for _ in range(2 * len(calls)):
            await asyncio.sleep(0)
            answers.make_room()
        seen = len(answers._ending), len(answers._since)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        return (*seen, len(answers._ending))

    assert asyncio.run(ends()) == (MOST_ENDING, 8, 0)


@pytest.mark.parametrize("idle_seconds", [3600.0])
def test_a_response_that_has_not_waited_long_keeps_its_slot(door: WorkerDoor) -> None:
    sent = items(door)
    opened = unread(door, sent)
    reply = door.ask("EncryptBatch", items=sent)
    assert (reply.code, reply.reason, reply.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
    assert len(door.server._bulk._unread._since) == SLOTS
    for connection in opened:
        connection.close()
