"""More calls than the door can serve: who waits, who is turned away, and who is not kept waiting by it."""

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
from tests.endpoints.test_waiting_calls import Door, healthy, loop, prepared, recorded, registry_held, until, waiting
from tests.operations.service import ALICE, Host

__all__ = ["loop", "prepared"]

pytestmark = pytest.mark.xdist_group("door")

MESSAGE_BYTES = 256 * 1024
LIMITS = {
    "threads": 1, "waiting_calls": 60, "calls_per_connection": 40, "message_bytes": MESSAGE_BYTES,
    "in_flight_bytes": 2 * MESSAGE_BYTES, "bulk_waiting_ms": 1500, "calls": 100,
}  # fmt: skip


@pytest.fixture
def host(prepared: Path, tmp_path: Path) -> Iterator[Host]:
    made = Host(Path(shutil.copytree(prepared, tmp_path / "data")), limits=LIMITS, listen="127.0.0.1:0")
    yield made
    made.close()


@pytest.fixture
def door(host: Host, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """Encrypt and Decrypt are taken for calls with large messages here, as batches are."""
    bulk = grpc_server.is_bulk
    monkeypatch.setattr(grpc_server, "is_bulk", lambda row: bulk(row) or row.name in ("Encrypt", "Decrypt"))
    opened = Door(host, loop)
    yield opened
    opened.close()


@contextmanager
def connection(door: Door) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{door.server.port}", OWN_CONNECTION) as channel:
        yield channel


def begin(channel: grpc.Channel, name: str, request_id: str, seconds: float = 60, **fields: Any) -> Any:
    operation = OPERATIONS[name]
    raw = operation.request(**fields).SerializeToString()
    return channel.unary_unary(operation.path).future(
        raw, metadata=metadata(ALICE.token, request_id=request_id), timeout=seconds
    )


@contextmanager
def no_turns(door: Door) -> Iterator[None]:
    """Large calls wait: others hold all the memory there is."""
    turn = door.server._bulk.queue.turn("another", 2 * MESSAGE_BYTES, None)
    door.run(turn.__aenter__())
    try:
        yield
    finally:
        door.run(turn.__aexit__(None, None, None))


def test_a_connection_with_fifty_times_its_share_delays_anothers_call_by_one(door: Door) -> None:
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


def test_no_connection_has_more_under_way_than_its_share(door: Door) -> None:
    """HTTP/2 tells the client, which keeps the rest to itself: nothing is refused."""
    with connection(door) as greedy:
        with registry_held(door):
            many = [begin(greedy, "CreateKey", f"greedy-{number}") for number in range(100)]
            until(lambda: waiting(door) == LIMITS["calls_per_connection"])
            assert healthy(door)
            assert waiting(door) == LIMITS["calls_per_connection"]
        assert all(call.result() for call in many)


def test_when_the_queue_is_full_the_greedy_make_room(door: Door) -> None:
    """60 may wait, and two connections have 80: a third one's call still gets in."""
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


def test_on_the_wire_it_is_an_ordinary_call(door: Door) -> None:
    key = door.ask("CreateKey").answer.key_metadata
    for _ in range(2):  # the long way, and under a Permit
        sealed = door.ask("Encrypt", key_id=key.key_id, plaintext=b"p", encryption_context={"a": "b"})
        assert {"kms-worker", "kms-region", "kms-request-id"} <= set(sealed.trailers)
        blob = sealed.answer.ciphertext_blob
        opened = door.ask("Decrypt", ciphertext_blob=blob, encryption_context={"a": "b"})
        assert opened.answer.plaintext == b"p"
    refused = door.ask("Decrypt", ciphertext_blob=blob)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "InvalidCiphertextException")
    assert door.server._bulk.queue.pending == 0 == door.blocking_pool.budget.held


def test_what_is_too_large_is_recorded_as_that(door: Door) -> None:
    """gRPC refuses it by itself. It is not taken for an empty request, and leaves nothing in the server's log."""
    complaints: list[Any] = []
    door.loop.set_exception_handler(lambda _, told: complaints.append(told))
    sent = metadata(ALICE.token, request_id="too-large")
    assert ask(door.channel, "EncryptBatch", bytes(MESSAGE_BYTES + 1), sent).code == "RESOURCE_EXHAUSTED"
    until(lambda: door.server._bulk.queue.pending == 0)
    [(code, text)] = recorded(door, "too-large")
    assert (code, f"at most {MESSAGE_BYTES} bytes" in str(text)) == ("ValidationException", True)
    assert door.ask("EncryptBatch").code == "INVALID_ARGUMENT"
    gc.collect()
    assert complaints == []
    assert door.blocking_pool.budget.held == 0


def test_the_error_of_a_call_that_nobody_waits_for_is_nobodys(host: Host, loop: asyncio.AbstractEventLoop) -> None:
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, told: complaints.append(told))
    blocking_pool, go = BlockingPool(host.worker().executor, host.settings.limits), threading.Event()

    def fails() -> None:
        go.wait(60)
        raise errors.ValidationException("x")

    async def give_up() -> None:
        running = asyncio.ensure_future(blocking_pool.in_a_thread(fails))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(give_up(), loop).result(60)
    gc.collect()
    blocking_pool.close()
    assert complaints == []


def test_who_waits_too_long_for_a_turn_is_turned_away(door: Door) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo, recorded, and never read; small calls and health go on."""
    key = door.ask("CreateKey").answer.key_metadata
    assert door.ask("Encrypt", key_id=key.key_id, plaintext=b"p").code == "OK"
    with no_turns(door), ThreadPoolExecutor(8) as threads:

        def encrypt(number: int) -> Reply:
            return door.ask("Encrypt", f"turned-away-{number}", key_id=key.key_id, plaintext=b"p")

        replies = [threads.submit(encrypt, number) for number in range(8)]
        until(lambda: door.server._bulk.queue.waiting == 8)
        assert healthy(door)
        assert door.ask("DescribeKey", key_id=key.key_id).code == "OK"
        seen = {(reply.result().code, reply.result().reason, reply.result().retry_info) for reply in replies}
    assert seen == {("RESOURCE_EXHAUSTED", "ThrottlingException", True)}
    refused = {line["requestID"] for line in door.worker.audit() if line.get("errorCode") == "ThrottlingException"}
    assert refused == {f"turned-away-{number}" for number in range(8)}
    assert door.worker.counted()["Encrypt"] == {"OK": 1, "ThrottlingException": 8}
    assert door.ask("Encrypt", key_id=key.key_id, plaintext=b"p").code == "OK"


def test_a_large_call_that_nobody_waits_for_is_never_begun(door: Door) -> None:
    key = door.ask("CreateKey").answer.key_metadata
    with no_turns(door):
        call = begin(door.channel, "Encrypt", "gone", key_id=key.key_id, plaintext=b"p")
        until(lambda: door.server._bulk.queue.waiting == 1)
        call.cancel()
        until(lambda: door.server._bulk.queue.waiting == 0)
    seen: list[Any] = []
    until(lambda: bool(seen.extend(recorded(door, "gone")) or seen))
    assert [code for code, _ in seen] == ["DependencyTimeoutException"]
    assert "OK" not in door.worker.counted().get("Encrypt", {})


def test_a_large_call_is_turned_away_while_its_caller_still_listens(door: Door) -> None:
    """When half its time is over, and not when the queue's patience is: 1.5 s."""
    key = door.ask("CreateKey").answer.key_metadata
    with no_turns(door):
        call = begin(door.channel, "Encrypt", "short", 1.2, key_id=key.key_id, plaintext=b"p")
        reply = refused(call.exception())
    assert (reply.code, reply.reason, reply.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
    assert [code for code, _ in recorded(door, "short")] == ["ThrottlingException"]


class Silent:
    """Calls that are begun on a connection, and whose message does not come."""

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


def test_all_connections_together_have_so_many_calls(door: Door) -> None:
    """What comes then is turned away, recorded and told to come back, by whomever; health is asked past it."""
    with connection(door) as first, connection(door) as second, connection(door) as third:
        silent = [Silent(channel, 33 + (channel is first)) for channel in (first, second, third)]
        until(lambda: door.server.calls.under_way == 100)
        reply = door.ask("ListKeys", "one-more")
        assert (reply.code, reply.reason, reply.retry_info) == ("RESOURCE_EXHAUSTED", "ThrottlingException", True)
        assert reply.trailers["kms-request-id"] == "one-more"
        stranger = ask(door.channel, "ListKeys", None, metadata("no such token, 16 long", request_id="stranger"))
        assert stranger.reason == "ThrottlingException"
        assert healthy(door)
        for calls in silent:
            calls.close()
        until(lambda: door.server.calls.under_way == 0)
    assert door.ask("ListKeys").code == "OK"
    by = {line["requestID"]: line for line in door.worker.audit()}
    assert {by[name]["errorCode"] for name in ("one-more", "stranger")} == {"ThrottlingException"}
    assert [by[name]["userIdentity"]["type"] for name in ("one-more", "stranger")] == ["AssumedRole", "Unknown"]
    assert door.worker.counted()["ListKeys"] == {"OK": 1, "ThrottlingException": 2}


def test_calls_whose_message_does_not_come_keep_no_more_than_half(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_limit, "ARRIVAL_SECONDS", 0.1)
    with connection(door) as first, connection(door) as second:
        silent = [Silent(channel, 35) for channel in (first, second)]
        until(lambda: [code for calls in silent for code in calls.codes()] == ["UNAVAILABLE"] * 20)
        until(lambda: door.server.calls.under_way == 50)
        assert door.ask("ListKeys").code == "OK"
        for calls in silent:
            calls.close()
    assert door.worker.counted()["CreateKey"] == {"DependencyTimeoutException": 20}


def test_many_calls_are_answered_as_few_are(door: Door) -> None:
    """Beyond half of what a worker takes on a call's message is read in another way: its answer is the same."""
    key = door.ask("CreateKey").answer.key_metadata
    with connection(door) as first, connection(door) as second:
        silent = [Silent(channel, 26) for channel in (first, second)]
        until(lambda: door.server.calls.under_way == 52)
        assert door.ask("DescribeKey", key_id=key.key_id).answer.key_metadata == key
        nobody = door.ask("DescribeKey", key_id="no-such-key")
        assert (nobody.code, nobody.reason) == ("NOT_FOUND", "NotFoundException")
        too_large = ask(door.channel, "DescribeKey", bytes(MESSAGE_BYTES + 1), metadata(ALICE.token))
        assert too_large.code == "RESOURCE_EXHAUSTED"
        for calls in silent:
            calls.close()


def test_what_waits_is_not_read(door: Door) -> None:
    """A caller that is told to wait sends no more than HTTP/2's first window, and the others' messages have room."""
    key = door.ask("CreateKey").answer.key_metadata
    sent = bytes(MESSAGE_BYTES - 4096)
    with no_turns(door), connection(door) as channel:
        calls = [channel.unary_unary(OPERATIONS["Encrypt"].path).future(sent, timeout=1.2) for _ in range(30)]
        until(lambda: door.server._bulk.queue.waiting == 30)
        assert door.blocking_pool.budget.held == 2 * MESSAGE_BYTES, "only what holds it"
        assert {call.code().name for call in calls} <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert door.ask("Encrypt", key_id=key.key_id, plaintext=b"p").code == "OK"


def test_a_batch_waits_for_its_turn_and_is_answered(door: Door) -> None:
    key = door.ask("CreateKey").answer.key_metadata
    items = [{"key_id": key.key_id, "plaintext": b"%d" % number} for number in range(1000)]
    with no_turns(door):
        turned_away = door.ask("EncryptBatch", items=items)
        assert (turned_away.code, turned_away.retry_info) == ("RESOURCE_EXHAUSTED", True)
        late = begin(door.channel, "EncryptBatch", "late", items=items)
        until(lambda: door.server._bulk.queue.waiting == 1)
    assert late.code().name == "OK"
    answer = OPERATIONS["EncryptBatch"].response().FromString(late.result())
    opened = door.ask("DecryptBatch", items=[{"ciphertext_blob": one.ciphertext_blob} for one in answer.results]).answer
    assert [one.plaintext for one in opened.results] == [b"%d" % number for number in range(1000)]
    assert door.blocking_pool.budget.held == 0
