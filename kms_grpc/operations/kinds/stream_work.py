"""The work of a stream, which its handler returns. It takes one part after the other and answers each.

Parts and answers travel as the one field of bytes of a message. A part is read where it lies in the request, and the
field's head is written in front of the answer in place: parsing and building would copy a megabyte twice.
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
"""A part is worked on, and answered, in pieces of this size."""
_LENGTH_DELIMITED: Final = 2
_LEAD_TAG: Final = b"\x0a"
"""Field 1 of every stream's answer."""
_LARGEST_LEAD: Final = 6


class Part(NamedTuple):
    """The content of one message."""

    content: Buffer
    last: bool


class StreamWork:
    """The work of one stream. The stream is admitted for `request`, its first message without content."""

    request: Any

    def __init__(self, first: Part, answer: Message, most: int) -> None:
        """`first` came with the first message. `answer` is sent before all others; none has more than `most` bytes."""
        self._most = most
        self.content_bytes = 0
        """Bytes of plaintext so far."""
        self.is_whole = False
        """True where the stream may end after the parts so far."""
        self._ready = iter((answer.SerializeToString(),))
        self.put(first)

    def put(self, part: Part) -> None:
        """Takes the next part. The part before it must have been answered."""
        self._part: Part | None = part
        self._at = 0
        self.is_last = part.last
        """True where this part is the last one."""

    @property
    def wants_next(self) -> bool:
        """True where at most one piece of the part is left and another part follows."""
        return not self.is_last and (self._part is None or self._at + PIECE_BYTES >= len(self._part.content))

    def answer(self) -> bytes | None:
        """Makes and returns the next answer, serialised; None where the part has no more.

        The part's content is released with its last piece, so that a stream whose caller does not read holds nothing
        but the answer."""
        while (ready := next(self._ready, None)) is None:
            if self._part is None:
                return None
            self._ready = _fitting(self._work(*self._piece(self._part)), self._most)
        return ready

    def _piece(self, part: Part) -> tuple[memoryview, bool]:
        """Returns the part's next piece, and whether it is the stream's last. An empty part has one empty piece."""
        start, self._at = self._at, self._at + PIECE_BYTES
        if self._at >= len(part.content):
            self._part = None
        return memoryview(part.content)[start : self._at], part.last and self._part is None

    def _work(self, piece: memoryview, is_last: bool) -> bytes:
        """Returns the answer to a piece; b"" where it has none."""
        raise NotImplementedError

    def finish(self) -> None:
        """Ends the work after the last part. Raises KMSError if the parts are incomplete."""
        raise NotImplementedError

    def close(self) -> None:
        """Erases the keys."""
        raise NotImplementedError


def without_content(request: Any, name: str) -> tuple[Any, bytes]:
    """Returns a copy of a request without its field of bytes, and those bytes. It is a new message because protobuf
    frees no part of a message before all of it."""
    content: bytes = getattr(request, name)
    request.ClearField(name)
    rest = type(request)()
    rest.CopyFrom(request)
    return rest, content


def lead(size: int) -> bytes:
    """Returns what precedes `size` bytes of content in an answer: tag and length of its field; b"" for no content."""
    return _LEAD_TAG + _varint(size) if size else b""


def _fitting(answer: bytes, most: int) -> Iterator[bytes]:
    """Returns an answer as several where it is larger than a message may be; none for an empty answer."""
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
        """Returns a message's part. Raises ValidationException if `raw` is not such a message, or has fields that
        belong into the first message."""
        content = self._sole_content(raw)
        if content is not None:
            return Part(content, False)
        message: Any = decode(self._request, raw)
        refuse_unknown_fields(message)
        named = [field.json_name for field, _ in message.ListFields() if field.name not in (self._name, "last")]
        if named:
            raise ValidationException(f"{', '.join(named)}: allowed only in the first message of the stream.")
        return Part(getattr(message, self._name), message.last)

    def join(self, request: Any, raw: bytes) -> None:
        """Appends a message's part to the content of `request`."""
        part = self.read(raw)
        setattr(request, self._name, getattr(request, self._name) + bytes(part.content))
        request.last = part.last

    def _sole_content(self, raw: bytes) -> memoryview | None:
        """Returns the content where the message has no other field, else None."""
        if not raw or raw[0] != self._tag:
            return None
        length = shift = 0
        for at in range(1, min(len(raw), 6)):
            length |= (raw[at] & 0x7F) << shift
            shift += 7
            if raw[at] < 0x80:
                return memoryview(raw)[at + 1 :] if at + 1 + length == len(raw) else None
        return None
