"""Messages of the AWS Encryption SDK: exchanged with the stock library and a second writer, and messages that must be
rejected."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.crypto import envelope, keyring
from kms_grpc.crypto.errors import CryptoFailure, StaleHandle
from kms_grpc.crypto.message_format import (
    MAXIMUM_FRAME,
    MAXIMUM_HEADER,
    MessageReader,
    MessageWriter,
    read_header,
    serialized,
)
from kms_grpc.errors import InvalidCiphertextException
from tests.crypto.conftest import Loaded, vectors
from tests.crypto.make_message_vectors import CONTEXT, FILE, WRAPPED
from tests.crypto.make_vectors import ARN, KEY_ID, drawn
from tests.crypto.second_message import Second
from tests.slots import slots_used

DATA_KEY = drawn("data key of messages", 32)
SECOND = Second(DATA_KEY, drawn("message id", 32), ARN + KEY_ID, WRAPPED, CONTEXT)
PLAINTEXT = drawn("plaintext of messages", 300)
MESSAGE = SECOND.message(PLAINTEXT)
HEADER = SECOND.header()
FRAMES = SECOND.frames(PLAINTEXT)
BEFORE_KEYS = HEADER[: 37 + len(serialized(CONTEXT))]


@pytest.fixture(autouse=True)
def _keyring() -> None:
    keyring.open_keyring()


def read(message: bytes, data_key: bytes = DATA_KEY, step: int | None = None) -> bytes:
    """Reads a message as the service does: the header, parts of `step` bytes, and `finish`."""
    header = read_header(message)
    if header is None:
        raise InvalidCiphertextException
    size = KEY_BYTES[header.suite]
    rest = message[header.size :]
    with MessageReader(header, message).under_data_key(data_key[:size]) as reader:
        parts = [rest] if step is None else [rest[at : at + step] for at in range(0, len(rest), step)]
        plaintext = b"".join(reader.decrypt(part) for part in parts)
        reader.finish()
    return plaintext


KEY_BYTES = {0x0478: 32, 0x0578: 32, 0x0378: 32, 0x0178: 32, 0x0078: 32, 0x0346: 24, 0x0146: 24, 0x0046: 24}
KEY_BYTES |= {0x0214: 16, 0x0114: 16, 0x0014: 16}


def refused(message: bytes, **more: Any) -> bool:
    """Checks that a message raises InvalidCiphertextException without a message text, in one part and in many."""
    for step in (None, 11):
        try:
            read(message, step=step, **more)
        except InvalidCiphertextException as error:
            assert error.text == ""
            continue
        return False
    return True


def written(plaintext: bytes, frame_length: int = 128, cuts: tuple[int, ...] = (), context: Any = CONTEXT) -> bytes:
    """Writes a message with the core, in parts."""
    with MessageWriter(context, ARN + KEY_ID, frame_length).under_data_key(DATA_KEY, WRAPPED) as writer:
        ends = [*cuts, len(plaintext)]
        parts = [plaintext[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
        return writer.header + b"".join(writer.encrypt(part, i == len(cuts)) for i, part in enumerate(parts))


# --- valid messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", vectors(FILE)["messages"], ids=lambda row: f"{row['suite']}, {row['size']} bytes")
def test_messages_of_the_stock_library_decrypt(row: dict[str, Any]) -> None:
    message = bytes.fromhex(row["message"])
    header = read_header(message)
    assert header is not None
    assert f"{header.suite:04x}" == row["suite"]
    told = {key: value for key, value in header.context.items() if key != "aws-crypto-public-key"}
    assert (told, "aws-crypto-public-key" in header.context) == (row["context"], header.is_signed)
    for step in (None, 1, 17, 160):
        assert read(message, step=step) == drawn("plaintext of messages", row["size"])


@pytest.mark.parametrize("step", [None, 1, 5, 159, 160, 161])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 255, 256, 257])
def test_the_second_writer_and_the_core_agree(size: int, step: int | None) -> None:
    plaintext = PLAINTEXT[:size]
    assert read(SECOND.message(plaintext), step=step) == plaintext
    assert read(written(plaintext, cuts=(size // 3, size // 2)), step=step) == plaintext


def test_the_core_and_the_second_writer_give_the_same_bytes() -> None:
    """Both give the same header and frames, once the second writer takes the core's random message id."""
    message = written(PLAINTEXT)
    drawn_id = message[3:35]
    assert dataclasses.replace(SECOND, message_id=drawn_id).message(PLAINTEXT) == message
    assert written(PLAINTEXT)[3:35] != drawn_id


def test_a_message_under_a_key_of_the_service(key: Loaded) -> None:
    """The blob in the header is a data key that opens by itself, with the message's context."""
    associated = key.associated(CONTEXT)
    with MessageWriter(CONTEXT, ARN + KEY_ID).under(key.handle, key.prefix, associated) as writer:
        message = writer.header + writer.encrypt(PLAINTEXT, last=True)
    header = read_header(message)
    assert header is not None
    (data_key,) = header.data_keys
    assert (data_key.provider, data_key.information, len(data_key.blob)) == (b"aws-kms", (ARN + KEY_ID).encode(), 159)
    with MessageReader(header, message).under(key.handle, associated, data_key.blob) as reader:
        assert reader.decrypt(message[header.size :]) == PLAINTEXT
    assert read(message, envelope.open_blob(key.handle, associated, data_key.blob)) == PLAINTEXT
    other = key.associated({"purpose": "another"})
    with pytest.raises(InvalidCiphertextException):
        MessageReader(header, message).under(key.handle, other, data_key.blob)


def test_encrypting_and_decrypting_into_the_callers_buffers() -> None:
    with MessageWriter({}, "", 128).under_data_key(DATA_KEY, b"w") as writer:
        size = writer.size_of(300, True)
        out = bytearray(size)
        with pytest.raises(ValueError, match="do not fit"):
            writer.encrypt_into(out[:-1], PLAINTEXT, last=True)
        assert writer.encrypt_into(out, PLAINTEXT, last=True) == size
        message = writer.header + out
    header = read_header(message)
    assert header is not None
    with MessageReader(header, message).under_data_key(DATA_KEY) as reader:
        with pytest.raises(ValueError, match="fit"):
            reader.decrypt_into(bytearray(10), message[header.size :])
        opened = bytearray(len(message))
        assert reader.decrypt_into(opened, message[header.size :]) == 300
        reader.finish()
    assert opened[:300] == PLAINTEXT


# --- invalid messages -----------------------------------------------------------------------------------


def test_no_truncated_message_is_complete() -> None:
    """A truncated header is incomplete; truncated frames lack the end."""
    for end in range(len(HEADER)):
        assert read_header(MESSAGE[:end]) is None
    for end in range(len(HEADER), len(MESSAGE)):
        assert refused(MESSAGE[:end]), end


def test_no_message_decrypts_with_any_bit_flipped() -> None:
    for at in range(len(MESSAGE)):
        changed = bytearray(MESSAGE)
        changed[at] ^= 1 << at % 8
        assert refused(bytes(changed)), at


ONE, TWO, LAST = FRAMES
WRONG: list[tuple[str, bytes]] = [
    ("reordered", HEADER + TWO + ONE + LAST),
    ("a frame twice", HEADER + ONE + ONE + TWO + LAST),
    ("a frame dropped", HEADER + ONE + LAST),
    ("the first dropped", HEADER + TWO + LAST),
    ("the final one missing", HEADER + ONE + TWO),
    ("no frame at all", HEADER),
    ("the final one first", HEADER + LAST + ONE + TWO),
    ("the final one twice", MESSAGE + LAST),
    ("a byte behind the end", MESSAGE + b"\0"),
    ("another message behind the end", MESSAGE + MESSAGE),
    ("frames of another message", HEADER + Second(DATA_KEY, bytes(32), ARN, WRAPPED).message(b"")[-56:]),
    ("sequence numbers from 0", HEADER + SECOND.frame(0, b"", True)),
    ("a final frame that skips a number", HEADER + ONE + SECOND.frame(3, b"", True)),
    ("a nonce that is not the number", HEADER + SECOND.frame(1, b"x", True, nonce=b"n" * 12)),
    ("the same before", HEADER + SECOND.frame(1, bytes(128), False, nonce=b"n" * 12) + SECOND.frame(2, b"", True)),
    ("a final frame longer than a frame", HEADER + SECOND.frame(1, bytes(129), True)),
    ("a final length that lies, up", HEADER + ONE + TWO + LAST[:20] + struct.pack(">I", 45) + LAST[24:]),
    ("a final length that lies, down", HEADER + ONE + TWO + LAST[:20] + struct.pack(">I", 43) + LAST[24:]),
    ("a final length of 4 GiB", HEADER + ONE + TWO + LAST[:20] + b"\xff" * 4 + LAST[24:]),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_misplaced_frames_are_rejected(reason: str, message: bytes) -> None:
    assert refused(message)


HEADERS: list[tuple[str, bytes]] = [
    ("version 3", b"\x03" + HEADER[1:]),
    ("an unknown suite", HEADER[:1] + b"\x04\x79" + HEADER[3:]),
    ("a suite of version 1", HEADER[:1] + b"\x01\x78" + HEADER[3:]),
    ("version 1 of another type", b"\x01\x81\x01\x78"),
    ("a context over 8 KiB", HEADER[:35] + b"\x20\x01"),
    ("a context of one byte", Second(DATA_KEY, bytes(32), "", b"w", serialized_context=b"\0").header()),
    ("a count of no pairs", Second(DATA_KEY, bytes(32), "", b"w", serialized_context=b"\0\0").header()),
    ("a pair that reaches over", Second(DATA_KEY, bytes(32), "", b"w", serialized_context=b"\0\1\0\1a\0\2b").header()),
    ("a byte behind the pairs", Second(DATA_KEY, bytes(32), "", b"w", serialized_context=b"\0\1\0\1a\0\1bc").header()),
    ("a key of it twice", Second(DATA_KEY, bytes(32), "", b"w", serialized_context=b"\0\2\0\1a\0\0\0\1a\0\0").header()),
    ("not UTF-8", Second(DATA_KEY, bytes(32), "", b"w", serialized_context=b"\0\1\0\1\xff\0\0").header()),
    ("no data key", BEFORE_KEYS + b"\0\0"),
    ("a frame length of 0", Second(DATA_KEY, bytes(32), "", b"w", frame_length=0).header()),
    ("frames over 1 MiB", Second(DATA_KEY, bytes(32), "", b"w", frame_length=MAXIMUM_FRAME + 1).header()),
    ("a single block", HEADER.replace(b"\x02\x00\x00\x00\x80", b"\x01\x00\x00\x00\x80")),
    ("a header of 1 MB", BEFORE_KEYS + b"\0\x10" + (b"\xff\xff" + bytes(65535)) * 16),
    ("a header over 64 KiB by its second key", BEFORE_KEYS + b"\0\1" + b"\0\0\0\0\xff\xff"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "header"), HEADERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_header_is_rejected_at_its_first_wrong_byte(reason: str, header: bytes) -> None:
    with pytest.raises(InvalidCiphertextException):
        read_header(header)


def test_no_header_needs_more_than_64_kib() -> None:
    """After 64 KiB, a header is complete or rejected."""
    start = BEFORE_KEYS + b"\xff\xff"
    endless = start + bytes(MAXIMUM_HEADER)
    assert read_header(endless[: MAXIMUM_HEADER - 8]) is None
    with pytest.raises(InvalidCiphertextException):
        read_header(endless[:MAXIMUM_HEADER])


def test_a_commitment_to_another_key_is_rejected() -> None:
    """All tags are right, so without the commitment the message would open."""
    other = Second(DATA_KEY, bytes(32), ARN, WRAPPED, commitment=bytes(32))
    assert read(Second(DATA_KEY, bytes(32), ARN, WRAPPED).message(b"x")) == b"x"
    assert refused(other.message(b"x"))


def test_another_data_key_is_rejected() -> None:
    assert refused(MESSAGE, data_key=bytes(32))
    assert refused(bytes.fromhex(vectors(FILE)["messages"][-1]["message"]), data_key=bytes(32))
    header = read_header(MESSAGE)
    assert header is not None
    for size in (0, 16, 31, 33):
        with pytest.raises(InvalidCiphertextException):
            MessageReader(header, MESSAGE).under_data_key(bytes(size))


SIGNED = bytes.fromhex(next(row["message"] for row in vectors(FILE)["messages"] if row["suite"] == "0578"))
HEADER_OF_SIGNED = read_header(SIGNED)
assert HEADER_OF_SIGNED is not None
SIGNATURE = len(SIGNED) - HEADER_OF_SIGNED.size - 40  # after its only frame, which is empty
FOOTERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("cut off", lambda message: message[:-1]),
    ("missing", lambda message: message[:-SIGNATURE]),
    ("a byte more", lambda message: message + b"\0"),
    ("changed", lambda message: message[:-1] + bytes([message[-1] ^ 1])),
    ("200 bytes more", lambda message: message + bytes(200)),
]


@pytest.mark.parametrize(("reason", "change"), FOOTERS, ids=[reason for reason, _ in FOOTERS])
def test_signatures_are_verified(reason: str, change: Callable[[bytes], bytes]) -> None:
    assert refused(change(SIGNED))


def test_a_signed_suite_without_its_public_key_is_rejected() -> None:
    header = read_header(SIGNED)
    assert header is not None
    for key in ("", "AAAA", "not base64!"):
        changed = header.__class__(0x0578, {"aws-crypto-public-key": key}, header.data_keys, 128, header.size, True)
        with pytest.raises(InvalidCiphertextException):
            MessageReader(changed, SIGNED)


# --- released plaintext, and the end of a message -------------------------------------------------------------------


def test_a_failed_call_releases_no_plaintext() -> None:
    header = read_header(MESSAGE)
    assert header is not None
    broken = bytearray(MESSAGE[header.size :])
    broken[-1] ^= 1
    out = bytearray(b"\xa5" * len(MESSAGE))
    with MessageReader(header, MESSAGE).under_data_key(DATA_KEY) as reader:
        with pytest.raises(InvalidCiphertextException):
            reader.decrypt_into(out, broken)
        assert out == bytes(len(PLAINTEXT)) + b"\xa5" * (len(MESSAGE) - len(PLAINTEXT))
        with pytest.raises(CryptoFailure):
            reader.decrypt(MESSAGE[header.size :])
        with pytest.raises(InvalidCiphertextException):
            reader.finish()


@pytest.mark.parametrize("step", [1, 7, 31, 32, 40, 159, 160, 161, 320, 399])
def test_the_size_of_the_plaintext_is_known_beforehand(step: int) -> None:
    """`size_of` is exact, and 0 for a message that has ended."""
    header = read_header(MESSAGE)
    assert header is not None
    rest, out = memoryview(MESSAGE)[header.size :], bytearray()
    with MessageReader(header, MESSAGE).under_data_key(DATA_KEY) as reader:
        for at in range(0, len(rest), step):
            into = bytearray(reader.size_of(rest[at : at + step]))
            assert reader.decrypt_into(into, rest[at : at + step]) == len(into)
            out += into
        reader.finish()
        assert reader.size_of(rest) == 0
    assert out == PLAINTEXT


@pytest.mark.parametrize(
    ("frames", "size"),
    [
        (ONE + TWO + LAST, 300),
        (ONE + TWO[:-1], 128),
        (ONE + LAST, 128),  # a wrong frame and the bytes after it do not count
        (TWO + ONE, 0),
        (ONE + TWO + LAST[:20] + b"\xff" * 4 + LAST[24:], 256),
        (
            ONE + TWO + LAST[:20] + struct.pack(">I", 45) + LAST[24:] + b"x",
            301,
        ),  # matches the bytes that came; only the tag detects it
        (ONE + TWO + LAST + ONE, 300),
    ],
)
def test_false_lengths_never_exceed_the_input(frames: bytes, size: int) -> None:
    header = read_header(MESSAGE)
    assert header is not None
    with MessageReader(header, MESSAGE).under_data_key(DATA_KEY) as reader:
        assert reader.size_of(frames) == size <= len(frames)


def test_frames_are_released_as_soon_as_they_are_complete() -> None:
    header = read_header(MESSAGE)
    assert header is not None
    with MessageReader(header, MESSAGE).under_data_key(DATA_KEY) as reader:
        assert reader.decrypt(ONE[:-1]) == b""
        assert reader.decrypt(ONE[-1:] + TWO[:5]) == PLAINTEXT[:128]
        with pytest.raises(InvalidCiphertextException):
            reader.finish()


@pytest.mark.parametrize(
    "head", [TWO[:16], ONE[:15] + b"x", LAST[:8], HEADER[:4]], ids=["number", "nonce", "final", "none"]
)
def test_a_wrong_frame_is_rejected_by_its_head(head: bytes) -> None:
    """The reader rejects it without waiting for its rest."""
    header = read_header(MESSAGE)
    assert header is not None
    with MessageReader(header, MESSAGE).under_data_key(DATA_KEY) as reader, pytest.raises(InvalidCiphertextException):
        reader.decrypt(head + bytes(24))


def test_closing_a_message_evicts_its_key() -> None:
    before = slots_used()
    writer = MessageWriter({}, "").under_data_key(DATA_KEY, b"w")
    assert slots_used() == before + 1
    writer.close()
    writer.close()
    assert slots_used() == before
    with pytest.raises((StaleHandle, CryptoFailure)):
        writer.encrypt(b"x", last=True)
    assert refused(MESSAGE, data_key=bytes(32))
    assert slots_used() == before


@pytest.mark.parametrize("frame_length", [0, MAXIMUM_FRAME + 1])
def test_frame_lengths_have_bounds(frame_length: int) -> None:
    with pytest.raises(CryptoFailure):
        MessageWriter({}, "", frame_length).under_data_key(DATA_KEY, b"w")


def test_an_ended_message_accepts_no_more_parts() -> None:
    with MessageWriter({}, "").under_data_key(DATA_KEY, b"w") as writer:
        writer.encrypt(b"x", last=True)
        with pytest.raises(CryptoFailure):
            writer.encrypt(b"y", last=True)


@pytest.mark.parametrize("frame_length", [4096, 65_536, 999_999])
def test_parts_larger_than_the_caches(frame_length: int) -> None:
    """More than 8 MiB in a call are processed in pieces with prefetching, also after a held frame. Smaller parts,
    which are not, give the same bytes."""
    content = bytes(range(251)) * 40_000
    frames = written(content, frame_length, (1000,))
    assert read(frames) == read(frames, step=100_003) == content
    assert read(written(content, frame_length, (5_000_000,))) == content
