"""What the handler of a stream answers with: the work that takes one part after the other.

Parts and answers go over the wire as the one field of bytes of a message. It is read where it lies in the request, and
the field's head is written in front of the answer in place: for a megabyte, parsing and building would copy it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kms_grpc.crypto.message_format import Buffer
from kms_grpc.errors import ValidationException
from kms_grpc.operations.contract.descriptors import descriptor
from kms_grpc.operations.contract.validation import decode, refuse_unknown_fields

PIECE_BYTES: Final = 1024 * 1024
"""What is worked on, and answered, at a time."""
_LENGTH_DELIMITED: Final = 2
_LEAD_TAG: Final = b"\x0a"
"""Field 1 of every stream's answer."""
_LARGEST_LEAD: Final = 6


class Part(NamedTuple):
    """What one message carries."""

    content: Buffer
    last: bool


class StreamWork:
    """The work of one stream. `request` is what it was admitted for, without its parts."""

    request: Any

    def __init__(self, first: Part, answer: Message, most: int) -> None:
        """`first` came with the first message; `answer` goes out before all others, none of more than `most` bytes."""
        self._most = most
        self.content_bytes = 0
        """Of the plaintext so far."""
        self.is_whole = False
        """Whether what came so far may be all."""
        self._ready = iter((answer.SerializeToString(),))
        self.put(first)

    def put(self, part: Part) -> None:
        """What is worked on next; the part before it is done with."""
        self._part: Part | None = part
        self._at = 0
        self.is_last = part.last
        """Whether it is the last one."""

    @property
    def wants_next(self) -> bool:
        """Whether there is at most a piece left of the part, and it is not the last one."""
        return not self.is_last and (self._part is None or self._at + PIECE_BYTES >= len(self._part.content))

    def answer(self) -> bytes | None:
        """The next answer, serialised, made now; None: the part has no more. Its content is let go with its last piece,
        so that a stream whose caller doesn't read holds nothing but the answer."""
        while (ready := next(self._ready, None)) is None:
            if self._part is None:
                return None
            self._ready = _fitting(self._work(*self._piece(self._part)), self._most)
        return ready

    def _piece(self, part: Part) -> tuple[memoryview, bool]:
        """The next piece of the part, and whether it is the stream's last; one, and empty, of an empty part."""
        start, self._at = self._at, self._at + PIECE_BYTES
        if self._at >= len(part.content):
            self._part = None
        return memoryview(part.content)[start : self._at], part.last and self._part is None

    def _work(self, piece: memoryview, is_last: bool) -> bytes:
        """The answer to a piece; empty where there is none."""
        raise NotImplementedError

    def finish(self) -> None:
        """No part comes any more: raises where what has come is not whole."""
        raise NotImplementedError

    def close(self) -> None:
        """Its keys are gone."""
        raise NotImplementedError


def taken_out(request: Any, name: str) -> tuple[Any, bytes]:
    """A request without its field of bytes, and that. A new one: protobuf frees nothing of a message that lives."""
    content: bytes = getattr(request, name)
    request.ClearField(name)
    rest = type(request)()
    rest.CopyFrom(request)
    return rest, content


def lead(size: int) -> bytes:
    """What stands before so many bytes of an answer: tag and length of its field. Nothing of nothing."""
    return _LEAD_TAG + _varint(size) if size else b""


def _fitting(answer: bytes, most: int) -> Iterator[bytes]:
    """An answer that is too large (its frames are, or the server's messages are small) as several; none of nothing."""
    if len(answer) <= most:
        return iter((answer,) if answer else ())
    start = 1
    while answer[start] > 0x7F:
        start += 1
    return _cut(memoryview(answer)[start + 1 :], most - _LARGEST_LEAD)


def _cut(content: memoryview, step: int) -> Iterator[bytes]:
    for at in range(0, len(content), step):
        piece = content[at : at + step]
        yield lead(len(piece)) + bytes(piece)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class PartReader:
    """Reads the messages of a stream after the first one."""

    def __init__(self, request: type[Message]) -> None:
        self._request = request
        field = next(each for each in descriptor(request).fields if each.type == FieldDescriptor.TYPE_BYTES)
        self._name = field.name
        self._tag = field.number << 3 | _LENGTH_DELIMITED

    def read(self, raw: bytes) -> Part:
        """ValidationException where it is no such message, or says what the first one alone may say."""
        content = self._alone(raw)
        if content is not None:
            return Part(content, False)
        message: Any = decode(self._request, raw)
        refuse_unknown_fields(message)
        named = [field.json_name for field, _ in message.ListFields() if field.name not in (self._name, "last")]
        if named:
            raise ValidationException(f"{', '.join(named)}: in the first message of the stream alone.")
        return Part(getattr(message, self._name), message.last)

    def joined(self, request: Any, raw: bytes) -> None:
        """Adds a message's part to those of the first one."""
        part = self.read(raw)
        setattr(request, self._name, getattr(request, self._name) + bytes(part.content))
        request.last = part.last

    def _alone(self, raw: bytes) -> memoryview | None:
        """The content of a message that is nothing else."""
        if not raw or raw[0] != self._tag:
            return None
        length = shift = 0
        for at in range(1, min(len(raw), 6)):
            length |= (raw[at] & 0x7F) << shift
            shift += 7
            if raw[at] < 0x80:
                return memoryview(raw)[at + 1 :] if at + 1 + length == len(raw) else None
        return None
