"""Streams over a socket: content, flow control, limits, and the ways in which a stream ends.

The server has one worker, so that the tests can observe its memory and its other calls.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc import errors
from kms_grpc.client import DeadlineExceeded, KeyManagementClient, StreamClient
from kms_grpc.client.aio import AsyncStreamClient
from kms_grpc.crypto.message_format import read_header
from kms_grpc.v1 import envelope_pb2 as pb
from tests import stock_library, stream_soak
from tests.endpoints.calls import OWN_CONNECTION, refused
from tests.served import Served

MESSAGE_BYTES = 512 * 1024
STREAMS = 4
CONFIG = f"[limits]\nmessage_bytes = {MESSAGE_BYTES}\nstreams = {STREAMS}\n"
CONTENT = os.urandom(3_000_001)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("streams")
    (folder / "kms.toml").write_text(CONFIG)
    (folder / "kms.toml").chmod(0o600)
    made = Served(folder / "data", ["--config", str(folder / "kms.toml")], workers=1)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def kms(served: Served) -> Iterator[KeyManagementClient]:
    with served.client() as client:
        yield client


@pytest.fixture(scope="module")
def streams(served: Served) -> Iterator[StreamClient]:
    with StreamClient(served.address, token=served.token, channel_options=OWN_CONNECTION[:1]) as client:
        yield client


@pytest.fixture(scope="module")
def key(kms: KeyManagementClient) -> Any:
    return kms.create_key("streams").key_metadata


def parts(content: bytes, size: int = 200_000) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def records(served: Served, key: Any, outcome: str) -> list[dict[str, Any]]:
    """Returns the records of ended streams of a key with this outcome, as far as they are in the log."""
    lines = [json.loads(line) for path in (served.data_dir / "audit").glob("*.jsonl") for line in path.open()]
    of_key = [line for line in lines if any(resource["ARN"] == key.arn for resource in line["resources"])]
    return [line for line in of_key if (line["additionalEventData"] or {}).get("stream") == outcome]


def until(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.02)


def test_round_trip(streams: StreamClient, kms: KeyManagementClient, key: Any) -> None:
    """The message formats of the server and of the AWS Encryption SDK are interchangeable."""
    context = {"dept": "it"}
    with streams.encrypt(key.key_id, parts(CONTENT), context) as encrypted:
        message = b"".join(encrypted)
    assert encrypted.key_id == key.arn
    assert stock_library.read(message, stock_library.key_of_service(kms, key.arn)) == (CONTENT, context)
    with streams.decrypt(parts(message), context, key_id=key.arn) as decrypted:
        assert b"".join(decrypted) == CONTENT
    assert (decrypted.key_id, decrypted.encryption_context) == (key.arn, context)
    other = stock_library.write(CONTENT, stock_library.key_of_service(kms, key.arn), context, 0x0578, 65536)
    assert b"".join(streams.decrypt(parts(other))) == CONTENT


def test_round_trip_with_asyncio(served: Served, key: Any) -> None:
    import asyncio

    async def run() -> bytes:
        async with AsyncStreamClient(served.address, token=served.token) as client:
            message = [part async for part in client.encrypt(key.key_id, parts(CONTENT))]
            return b"".join([part async for part in client.decrypt(parts(b"".join(message)))])

    assert asyncio.run(run()) == CONTENT


def test_an_incomplete_stream_raises(streams: StreamClient, key: Any) -> None:
    """A stream that does not end properly ends with an exception, even after content."""
    message = b"".join(streams.encrypt(key.key_id, parts(CONTENT)))
    got: list[bytes] = []
    with pytest.raises(errors.InvalidCiphertextException) as caught:
        got.extend(streams.decrypt(parts(message[:-1])))
    assert b"".join(got) == CONTENT[: len(CONTENT) // 65536 * 65536]
    assert (caught.value.text, bool(caught.value.request_id)) == ("", True)

    def breaks() -> Iterator[bytes]:
        yield CONTENT
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(streams.encrypt(key.key_id, breaks()))
    with pytest.raises(errors.NotFoundException):
        list(streams.encrypt("alias/none", parts(CONTENT)))


def test_messages_are_no_larger_than_the_limit(streams: StreamClient, served: Served, key: Any) -> None:
    """Responses respect the limit whatever the sizes of the requests; gRPC refuses larger requests."""
    with grpc.insecure_channel(served.address, OWN_CONNECTION) as channel:
        method = channel.stream_stream("/kms_grpc.v1.EnvelopeService/EncryptStream")
        sent = [("authorization", f"Bearer {served.token}")]
        fits = pb.EncryptStreamRequest(key_id=key.key_id, plaintext=bytes(MESSAGE_BYTES - 200), last=True)
        answers = list(method(iter([fits.SerializeToString()]), metadata=sent))
        assert max(map(len, answers)) <= MESSAGE_BYTES
        with pytest.raises(grpc.RpcError) as caught:
            list(method(iter([bytes(MESSAGE_BYTES + 1)]), metadata=sent))
        assert refused(caught.value).code == "RESOURCE_EXHAUSTED"


class Endless:
    """Parts of an endless stream, created as they are requested."""

    def __init__(self) -> None:
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.sent += 200_000
            yield bytes(200_000)

    def sent_without_a_reader(self) -> int:
        before = -1
        while self.sent != before:
            before = self.sent
            time.sleep(0.5)
        return before


def test_a_reader_that_stops_stops_the_sender(
    served: Served, streams: StreamClient, kms: KeyManagementClient, key: Any
) -> None:
    """Flow control works end to end: the server reads no more than it can send, and serves other calls."""
    parts = Endless()
    with streams.encrypt(key.key_id, parts) as encrypted:
        next(encrypted)
        before = parts.sent_without_a_reader()
        assert before < 16 * 1024 * 1024
        assert kms.encrypt(key.key_id, b"others go on").ciphertext_blob
        for _ in range(40):
            next(encrypted)
        until(lambda: parts.sent > before)
    until(lambda: records(served, key, "cancelled"))


def test_many_slow_readers(server: Served) -> None:
    """A short version of tests/stream_soak.py: memory stays bounded, senders wait, other calls are served."""
    seen = stream_soak.slow_readers(server, 16, 4)
    assert stream_soak.is_well(seen, 16), stream_soak.summary(seen, 16)
    assert seen.received > 16 * 1_000_000


@pytest.mark.parametrize("more", [True, False], ids=["the next message arrives", "no message arrives"])
def test_an_error_while_the_next_message_is_read(streams: StreamClient, served: Served, key: Any, more: bool) -> None:
    """The error ends the call at once, whether the next message arrives or not, and frees its slot."""
    message = b"".join(streams.encrypt(key.key_id, parts(CONTENT)))
    broken = message[:300_000] + bytes([message[300_000] ^ 1]) + message[300_001:]
    gate = threading.Event()

    def waits() -> Iterator[bytes]:
        yield broken[:200_000]
        yield broken[200_000:500_000]
        if more:
            yield broken[500_000:900_000]
        gate.wait(20)

    for _ in range(STREAMS + 1):
        with pytest.raises(errors.InvalidCiphertextException):
            list(streams.decrypt(waits(), timeout=10))
    gate.set()
    assert "never retrieved" not in served.log_text()


def test_a_deadline(streams: StreamClient, served: Served, kms: KeyManagementClient) -> None:
    key = kms.create_key("deadline").key_metadata
    gate = threading.Event()

    def waits() -> Iterator[bytes]:
        yield b"x"
        gate.wait(20)

    with pytest.raises(DeadlineExceeded):
        list(streams.encrypt(key.key_id, waits(), timeout=0.5))
    gate.set()
    until(lambda: records(served, key, "cancelled"))


def test_callers_that_disconnect_during_a_response(served: Served, kms: KeyManagementClient) -> None:
    """Their streams are recorded as cancelled, not failed, and the log has no traceback."""
    key = kms.create_key("gone").key_metadata
    first = pb.EncryptStreamRequest(key_id=key.key_id, plaintext=bytes(400_000)).SerializeToString()
    more = pb.EncryptStreamRequest(plaintext=bytes(400_000)).SerializeToString()
    with grpc.insecure_channel(served.address, OWN_CONNECTION) as channel:
        method = channel.stream_stream("/kms_grpc.v1.EnvelopeService/EncryptStream")
        sent = [("authorization", f"Bearer {served.token}")]
        calls = [method(chain([first], repeat(more)), metadata=sent, timeout=1) for _ in range(STREAMS)]
        until(lambda: all(call.done() for call in calls))
    until(lambda: len(records(served, key, "cancelled")) == STREAMS)
    assert not records(served, key, "failed")
    assert "Traceback" not in served.log_text()


def test_a_key_disabled_during_a_stream(streams: StreamClient, served: Served, kms: KeyManagementClient) -> None:
    key = kms.create_key("disabled").key_metadata
    disabled = threading.Event()

    def waits() -> Iterator[bytes]:
        yield CONTENT[:300_000]
        disabled.wait(20)
        yield CONTENT[300_000:]

    with streams.encrypt(key.key_id, waits()) as encrypted, pytest.raises(errors.DisabledException) as caught:
        next(encrypted)
        kms.disable_key(key.key_id)
        disabled.set()
        list(encrypted)
    assert caught.value.key == key.arn
    until(lambda: records(served, key, "failed"))
    assert records(served, key, "failed")[0]["errorCode"] == "DisabledException"


def test_a_key_disabled_after_the_next_message_was_read(
    served: Served, streams: StreamClient, kms: KeyManagementClient
) -> None:
    """A message that was read ahead is refused as well."""
    key = kms.create_key("read ahead").key_metadata
    parts = Endless()
    with streams.encrypt(key.key_id, parts) as encrypted:
        next(encrypted)
        before = parts.sent_without_a_reader()
        kms.disable_key(key.key_id)
        with pytest.raises(errors.DisabledException):
            list(encrypted)
    until(lambda: records(served, key, "failed"))
    assert records(served, key, "failed")[0]["additionalEventData"]["contentBytes"] < before


def test_more_streams_than_the_limit(streams: StreamClient, kms: KeyManagementClient, key: Any) -> None:
    """The next stream is rejected with a retryable error until one of the others ends."""
    gate = threading.Event()

    def waits() -> Iterator[bytes]:
        yield b"x"
        gate.wait(20)

    opened = [streams.encrypt(key.key_id, waits()) for _ in range(STREAMS)]
    for one in opened:
        next(one)
    with pytest.raises(errors.ThrottlingException):
        list(streams.encrypt(key.key_id, [b"x"]))
    gate.set()
    for one in opened:
        assert list(one)
    assert list(streams.encrypt(key.key_id, [b"x"]))


def test_a_stopping_server_waits_for_streams(tmp_path: Path) -> None:
    """Streams may end within drain_seconds after SIGTERM; the others are refused, and recorded as cancelled."""
    config = tmp_path / "kms.toml"
    config.write_text("drain_seconds = 4\n")
    served = Served(tmp_path / "data", ["--config", str(config)], workers=1)
    served.start()
    try:
        with served.client() as kms, StreamClient(served.address, token=served.token) as streams:
            key = kms.create_key("drained").key_metadata
            stopping, never = threading.Event(), threading.Event()

            def ends() -> Iterator[bytes]:
                yield CONTENT
                stopping.wait(30)
                yield CONTENT

            def hangs() -> Iterator[bytes]:
                yield b"x"
                never.wait(30)

            good, bad = streams.encrypt(key.key_id, ends()), streams.encrypt(key.key_id, hangs())
            got = [next(good), next(bad)][:1]
            stopper = threading.Thread(target=served.stop)
            stopper.start()
            time.sleep(1.5)
            stopping.set()
            message = b"".join([*got, *good])
            assert read_header(message) is not None
            assert len(message) > 2 * len(CONTENT)
            with pytest.raises(errors.DependencyTimeoutException, match="is stopping"):
                list(bad)
            never.set()
            stopper.join()
        assert len(records(served, key, "done")) == len(records(served, key, "cancelled")) == 1
    finally:
        served.close()
