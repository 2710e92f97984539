"""Overload of the gRPC door: calls wait, are rejected, or are served fairly beside the load."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc import errors
from kms_grpc.endpoints import call_limit, grpc_server
from kms_grpc.endpoints.blocking_pool import BlockingPool
from tests.endpoints.calls import OPERATIONS, OWN_CONNECTION, Reply, ask, metadata, refused
from tests.endpoints.test_waiting_calls import (
    WorkerDoor,
    healthy,
    loop,
    prepared,
    recorded,
    registry_held,
    until,
    waiting,
)
from tests.operations.service import ALICE, Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")

MESSAGE_BYTES = 256 * 1024
LIMITS = {
    "threads": 1, "read_threads": 1, "waiting_calls": 60, "calls_per_connection": 40, "message_bytes": MESSAGE_BYTES,
    "in_flight_bytes": 2 * MESSAGE_BYTES, "bulk_waiting_ms": 1500, "calls": 100,
}  # fmt: skip


@pytest.fixture
def host(prepared: Path, tmp_path: Path) -> Iterator[Host]:
    made = Host(Path(shutil.copytree(prepared, tmp_path / "data")), limits=LIMITS, listen="127.0.0.1:0")
    yield made
    made.close()


@pytest.fixture
def door(host: Host, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerDoor]:
    """A door that treats Encrypt and Decrypt as calls with large messages, like batches."""
    bulk = grpc_server.is_bulk
    monkeypatch.setattr(grpc_server, "is_bulk", lambda row: bulk(row) or row.name in ("Encrypt", "Decrypt"))
    opened = WorkerDoor(host, loop)
    yield opened
    opened.close()


@contextmanager
def connection(door: WorkerDoor) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{door.server.port}", OWN_CONNECTION) as channel:
        yield channel


def begin(channel: grpc.Channel, name: str, request_id: str, seconds: float = 60, **fields: Any) -> Any:
    operation = OPERATIONS[name]
    raw = operation.request(**fields).SerializeToString()
    return channel.unary_unary(operation.path).future(
        raw, metadata=metadata(ALICE.token, request_id=request_id), timeout=seconds
    )


@contextmanager
def no_memory_left(door: WorkerDoor) -> Iterator[None]:
    """Occupy the whole memory budget, so that large calls wait."""
    turn = door.server._bulk.queue.turn("another", 2 * MESSAGE_BYTES, None)
    door.run(turn.__aenter__())
    try:
        yield
    finally:
        door.run(turn.__aexit__(None, None, None))


def test_a_connection_with_fifty_calls_delays_anothers_call_by_one(door: WorkerDoor) -> None:
    with connection(door) as greedy, connection(door) as modest:
        with registry_held(door):
            many = [begin(greedy, "CreateKey", f"greedy-{number}") for number in range(50)]
            until(lambda: waiting(door) == LIMITS["calls_per_connection"])
            few = begin(modest, "CreateKey", "modest")
            until(lambda: waiting(door) == LIMITS["calls_per_connection"] + 1)
        assert few.result() and all(call.result() for call in many)
    order = [line["requestID"] for line in door.worker.outbox() if line["eventName"] == "CreateKey"]
    assert len(order) == 51
    assert order.index("modest") <= 2, order[:5]


def test_a_connection_cannot_exceed_its_concurrent_calls(door: WorkerDoor) -> None:
    """HTTP/2 announces the limit, so the client holds further calls back and none is rejected."""
    with connection(door) as greedy:
        with registry_held(door):
            many = [begin(greedy, "CreateKey", f"greedy-{number}") for number in range(100)]
            until(lambda: waiting(door) == LIMITS["calls_per_connection"])
            assert healthy(door)
            assert waiting(door) == LIMITS["calls_per_connection"]
        assert all(call.result() for call in many)


def test_a_full_queue_rejects_calls_of_the_busiest_connections(door: WorkerDoor) -> None:
    """60 calls may wait and two connections have 80; the call of a third one is still accepted."""
    with connection(door) as first, connection(door) as second, connection(door) as modest:
        with registry_held(door):
            calls = [begin(channel, "CreateKey", "greedy") for channel in (first, second) for _ in range(40)]
            until(lambda: waiting(door) == 61)
            few = begin(modest, "CreateKey", "modest")
            until(lambda: sum(call.done() for call in calls) == 20)
            assert not few.done()
        assert few.result()
        codes = [call.code().name for call in calls]
    assert (codes.count("OK"), codes.count("RESOURCE_EXHAUSTED")) == (60, 20)
    assert recorded(door, "modest") == [(None, None)]


# --- large messages ------------------------------------------------------------------------------------------------


def test_a_large_call_is_unary_on_the_wire(door: WorkerDoor) -> None:
    key = door.ask("CreateKey").answer.key_metadata
    for _ in range(2):  # without and with a Permit
        sealed = door.ask("Encrypt", key_id=key.key_id, plaintext=b"p", encryption_context={"a": "b"})
        assert {"kms-worker", "kms-region", "kms-request-id"} <= set(sealed.trailers)
        blob = sealed.answer.ciphertext_blob
        opened = door.ask("Decrypt", ciphertext_blob=blob, encryption_context={"a": "b"})
        assert opened.answer.plaintext == b"p"
    refused = door.ask("Decrypt", ciphertext_blob=blob)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "InvalidCiphertextException")
    assert door.server._bulk.queue.pending == 0 == door.blocking_pool.budget.held


def test_a_message_over_the_limit_is_recorded_as_such(door: WorkerDoor) -> None:
    """gRPC itself refuses it. It must not pass as an empty request or cause an error in the event loop."""
    complaints: list[Any] = []
    door.loop.set_exception_handler(lambda _, context: complaints.append(context))
    sent = metadata(ALICE.token, request_id="too-large")
    assert ask(door.channel, "EncryptBatch", bytes(MESSAGE_BYTES + 1), sent).code == "RESOURCE_EXHAUSTED"
    until(lambda: door.server._bulk.queue.pending == 0)
    [(code, text)] = recorded(door, "too-large")
    assert (code, f"at most {MESSAGE_BYTES} bytes" in str(text)) == ("ValidationException", True)
    assert door.ask("EncryptBatch").code == "INVALID_ARGUMENT"
    gc.collect()
    assert complaints == []
    assert door.blocking_pool.budget.held == 0


def test_the_error_of_a_cancelled_call_is_not_reported_by_asyncio(host: Host, loop: asyncio.AbstractEventLoop) -> None:
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    blocking_pool, go = BlockingPool(host.worker().executor, host.settings.limits), threading.Event()

    def fails() -> None:
        go.wait(60)
        raise errors.ValidationException("x")

    async def give_up() -> None:
        running = asyncio.ensure_future(blocking_pool.run_at_once(fails))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(give_up(), loop).result(60)
    gc.collect()
    blocking_pool.close()
    assert complaints == []


def test_a_large_call_that_has_waited_too_long_is_rejected(door: WorkerDoor) -> None:
    """It gets RESOURCE_EXHAUSTED with RetryInfo and an audit record; small calls and health are served."""
    key = door.ask("CreateKey").answer.key_metadata
    assert door.ask("Encrypt", key_id=key.key_id, plaintext=b"p").code == "OK"
    with no_memory_left(door), ThreadPoolExecutor(8) as threads:

        def encrypt(number: int) -> Reply:
            return door.ask("Encrypt", f"rejected-{number}", key_id=key.key_id, plaintext=b"p")

        replies = [threads.submit(encrypt, number) for number in range(8)]
        until(lambda: door.server._bulk.queue.waiting == 8)
        assert healthy(door)
        assert door.ask("DescribeKey", key_id=key.key_id).code == "OK"
        seen = {(reply.result().code, reply.result().reason, reply.result().retry_info) for reply in replies}
    assert seen == {("RESOURCE_EXHAUSTED", "ThrottlingException", True)}
    refused = {line["requestID"] for line in door.worker.audit() if line.get("errorCode") == "ThrottlingException"}
    assert refused == {f"rejected-{number}" for number in range(8)}
    assert door.worker.counted()["Encrypt"] == {"OK": 1, "ThrottlingException": 8}
    assert door.ask("Encrypt", key_id=key.key_id, plaintext=b"p").code == "OK"


def test_a_cancelled_large_call_never_starts(door: WorkerDoor) -> None:
    key = door.ask("CreateKey").answer.key_metadata
    with no_memory_left(door):
        call = begin(door.channel, "Encrypt", "gone", key_id=key.key_id, plaintext=b"p")
        until(lambda: door.server._bulk.queue.waiting == 1)
        call.cancel()
        until(lambda: door.server._bulk.queue.waiting == 0)
    seen: list[Any] = []
    until(lambda: bool(seen.extend(recorded(door, "gone")) or seen))
    assert [code for code, _ in seen] == ["Cancelled"]
    assert "OK" not in door.worker.counted().get("Encrypt", {})


def test_a_large_call_is_rejected_before_its_deadline(door: WorkerDoor) -> None:
    """It is rejected after half the time to its deadline, not after the queue's limit of 1.5 s."""
    key = door.ask("CreateKey").answer.key_metadata
    with no_memory_left(door):
        call = begin(door.channel, "Encrypt", "short", 1.2, key_id=key.key_id, plaintext=b"p")
        reply = refused(call.exception())
    assert (reply.code, reply.reason, reply.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
    assert [code for code, _ in recorded(door, "short")] == ["ThrottlingException"]


class Silent:
    """Calls on a connection that never send their message."""

    def __init__(self, channel: grpc.Channel, count: int, path: str = OPERATIONS["CreateKey"].path) -> None:
        self._end = threading.Event()
        method = channel.stream_unary(path)
        self.calls = [method.future(self._nothing(), metadata=metadata(ALICE.token)) for _ in range(count)]

    def _nothing(self) -> Iterator[bytes]:
        self._end.wait(60)
        yield from ()

    def codes(self) -> list[str]:
        return [call.code().name for call in self.calls if call.done()]

    def close(self) -> None:
        for call in self.calls:
            call.cancel()
        self._end.set()


def test_the_limit_of_concurrent_calls_covers_all_connections(door: WorkerDoor) -> None:
    """Further calls are rejected and recorded; health checks are exempt. An unknown caller is still refused as such."""
    with connection(door) as first, connection(door) as second, connection(door) as third:
        silent = [Silent(channel, 33 + (channel is first)) for channel in (first, second, third)]
        until(lambda: door.server.calls.under_way == 100)
        reply = door.ask("ListKeys", "one-more")
        assert (reply.code, reply.reason, reply.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
        assert reply.trailers["kms-request-id"] == "one-more"
        stranger = ask(door.channel, "ListKeys", None, metadata("no such token, 16 long", request_id="stranger"))
        assert stranger.reason == "UnrecognizedClientException"
        assert healthy(door)
        for calls in silent:
            calls.close()
        until(lambda: door.server.calls.under_way == 0)
    assert door.ask("ListKeys").code == "OK"
    by = {line["requestID"]: line for line in door.worker.audit()}
    codes = [by[name]["errorCode"] for name in ("one-more", "stranger")]
    assert codes == ["ThrottlingException", "UnrecognizedClientException"]
    assert [by[name]["userIdentity"]["type"] for name in ("one-more", "stranger")] == ["AssumedRole", "Unknown"]
    assert door.worker.counted()["ListKeys"] == {"OK": 1, "ThrottlingException": 1, "UnrecognizedClientException": 1}


def test_calls_without_a_message_occupy_at_most_half_the_limit(
    door: WorkerDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_limit, "ARRIVAL_SECONDS", 0.1)
    with connection(door) as first, connection(door) as second:
        silent = [Silent(channel, 35) for channel in (first, second)]
        until(lambda: [code for calls in silent for code in calls.codes()] == ["DEADLINE_EXCEEDED"] * 20)
        until(lambda: door.server.calls.under_way == 50)
        assert door.ask("ListKeys").code == "OK"
        for calls in silent:
            calls.close()
        until(lambda: door.server.calls.under_way == 0)
    assert door.worker.counted()["CreateKey"] == {"DeadlineExceeded": 20, "Cancelled": 50}


def test_calls_beyond_half_the_limit_get_the_same_responses(door: WorkerDoor) -> None:
    """Beyond half the limit the message of a call is read by another handler."""
    key = door.ask("CreateKey").answer.key_metadata
    with connection(door) as first, connection(door) as second:
        silent = [Silent(channel, 26) for channel in (first, second)]
        until(lambda: door.server.calls.under_way == 52)
        assert door.ask("DescribeKey", key_id=key.key_id).answer.key_metadata == key
        missing = door.ask("DescribeKey", key_id="no-such-key")
        assert (missing.code, missing.reason) == ("NOT_FOUND", "NotFoundException")
        too_large = ask(door.channel, "DescribeKey", bytes(MESSAGE_BYTES + 1), metadata(ALICE.token))
        assert too_large.code == "RESOURCE_EXHAUSTED"
        for calls in silent:
            calls.close()


def test_waiting_large_calls_are_not_read(door: WorkerDoor) -> None:
    """A waiting client sends no more than HTTP/2's initial window, so other messages have memory."""
    key = door.ask("CreateKey").answer.key_metadata
    sent = bytes(MESSAGE_BYTES - 4096)
    with no_memory_left(door), connection(door) as channel:
        encrypt, token = channel.unary_unary(OPERATIONS["Encrypt"].path), metadata(ALICE.token)
        calls = [encrypt.future(sent, metadata=token, timeout=1.2) for _ in range(30)]
        until(lambda: door.server._bulk.queue.waiting == 30)
        assert door.blocking_pool.budget.held == 2 * MESSAGE_BYTES, "only the reservation of the test"
        assert {call.code().name for call in calls} <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert door.ask("Encrypt", key_id=key.key_id, plaintext=b"p").code == "OK"


def test_a_batch_waits_for_its_turn_and_is_answered(door: WorkerDoor) -> None:
    key = door.ask("CreateKey").answer.key_metadata
    items = [{"key_id": key.key_id, "plaintext": b"%d" % number} for number in range(1000)]
    with no_memory_left(door):
        rejected = door.ask("EncryptBatch", items=items)
        assert (rejected.code, rejected.retry_info) == ("RESOURCE_EXHAUSTED", True)
        late = begin(door.channel, "EncryptBatch", "late", items=items)
        until(lambda: door.server._bulk.queue.waiting == 1)
    assert late.code().name == "OK"
    answer = OPERATIONS["EncryptBatch"].response().FromString(late.result())
    opened = door.ask("DecryptBatch", items=[{"ciphertext_blob": one.ciphertext_blob} for one in answer.results]).answer
    assert [one.plaintext for one in opened.results] == [b"%d" % number for number in range(1000)]
    assert door.blocking_pool.budget.held == 0
