"""Header blocks and the parsing of answers, byte by byte. `test_load.py` sends them to a server."""

from __future__ import annotations

import pytest

from kms_grpc.bench.http2 import CallAnswer, frame, framed, header_blocks, integer, literal, request_headers, status_of
from kms_grpc.bench.load_process import worker_of
from kms_grpc.bench.workload import reason_of


@pytest.mark.parametrize(
    ("value", "bits", "first", "encoded"),
    [
        (10, 5, 0, "0a"),  # RFC 7541 C.1.1
        (1337, 5, 0, "1f9a0a"),  # RFC 7541 C.1.2
        (42, 8, 0, "2a"),  # RFC 7541 C.1.3
        (62, 7, 0x80, "be"),  # the newest entry of the table, by its index
        (127, 7, 0, "7f00"),  # the first that needs a second byte
        (255, 7, 0, "7f8001"),  # the first that needs a third
    ],
)
def test_integer(value: int, bits: int, first: int, encoded: str) -> None:
    assert integer(value, bits, first).hex() == encoded


def test_literal() -> None:
    expected = "400a637573746f6d2d6b65790d637573746f6d2d686561646572"  # RFC 7541 C.2.1
    assert literal("custom-key", "custom-header", True).hex() == expected
    assert literal("a", "b", False) == b"\x00\x01a\x01b"


def test_headers_are_sent_literally_once_and_by_index_afterwards() -> None:
    first, later = header_blocks((("a", "1"), ("b", "2"), ("c", "3")))
    assert first == b"\x40\x01a\x011\x40\x01b\x012\x40\x01c\x013"
    assert later == bytes((0x80 | 64, 0x80 | 63, 0x80 | 62))  # the first one that was added is the oldest: index 64


def test_headers_too_large_for_the_table_are_always_sent_literally() -> None:
    first, later = header_blocks((("authorization", "x" * 4096),))
    assert first == later
    assert first[0] == 0


def test_pseudo_headers_come_first() -> None:
    names = [name for name, _ in request_headers("/s/M", [("authorization", "Bearer t")])]
    assert names == [":method", ":scheme", ":path", ":authority", "te", "content-type", "user-agent", "authorization"]


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (b"\x00\x0bgrpc-status\x010", 0),
        (b"\x40\x0bgrpc-status\x0214\x00\x0cgrpc-message\x04busy", 14),
        (b"\x88\x00\x0ccontent-type\x10application/grpc", None),  # answer headers: the end is still to come
        (b"\x00\x0cgrpc-message\x0dgrpc-status 0", None),  # a text that speaks of it
    ],
)
def test_status(block: bytes, status: int | None) -> None:
    assert status_of(block) == status


@pytest.mark.parametrize(
    ("trailers", "worker", "reason"),
    [
        (b"\x00\x0akms-worker\x011\x00\x0akms-region\x02eu", "1", ""),
        (b"\x00\x0akms-worker\x0212", "12", ""),
        (b"\x00\x0cgrpc-message\x0bno%20such%21\x00\x01a\x01b", "", "no such!"),
        (b"", "", ""),
    ],
)
def test_trailers(trailers: bytes, worker: str, reason: str) -> None:
    answer = CallAnswer(0, b"", trailers)
    assert worker_of(answer) == worker
    assert reason_of(answer).startswith(reason)


def test_frames() -> None:
    assert frame(0x8, 0, 3, b"\0\0\0\x01") == bytes.fromhex("000004 08 00 00000003 00000001")
    assert framed(b"abc") == bytes.fromhex("00 00000003 616263")
