"""StreamClient: content of any size, encrypted and decrypted by the service in constant memory on both sides.

    with StreamClient() as streams:
        with open("film.mp4", "rb") as film, open("film.kms", "wb") as target:
            for part in streams.encrypt("alias/films", iter(lambda: film.read(1 << 20), b"")):
                target.write(part)

What comes out of `encrypt` is a message of the AWS Encryption SDK, which its libraries read too. Only when the loop
ends without an exception is it whole, or, of `decrypt`, all of the plaintext: what came before an exception must not
be taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from kms_grpc.client.arguments import Context
from kms_grpc.client.calls import Caller
from kms_grpc.client.failures import from_call
from kms_grpc.v1 import envelope_pb2 as pb

PART_BYTES = 1024 * 1024
"""What one message carries at most: fastest, and below what a server takes by default."""

FIRST_BYTES = 16 * 1024
"""What the first message may have beside its part."""

Buffer = bytes | bytearray | memoryview


class Streamed(Iterator[bytes]):
    """What comes back, part by part. Whoever leaves early closes it; a `with` does so."""

    def __init__(self, call: Any, member: str, sender: Sender) -> None:
        self._call, self._member, self._sender = call, member, sender
        self.key_id = ""
        """ARN of the key, once the first part has come."""
        self.key_material_id = ""
        self.encryption_context: Context = {}
        """Of decrypting: the message's own."""

    def __next__(self) -> bytes:
        while True:
            answer = self._next()
            if answer.key_id:
                self._note(answer)
            part: bytes = getattr(answer, self._member)
            if part:
                return part

    def _next(self) -> Any:
        try:
            return next(self._call)
        except StopIteration:
            if self._sender.failed is None:
                raise
        except grpc.RpcError as error:
            if self._sender.failed is None:
                raise from_call(error) from None
        raise self._sender.failed

    def _note(self, answer: Any) -> None:
        self.key_id, self.key_material_id = answer.key_id, answer.key_material_id
        self.encryption_context = dict(getattr(answer, "encryption_context", {}))

    def close(self) -> None:
        """Ends the call, whatever has come of it."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sender:
    """The messages of a stream. gRPC takes them on a thread of its own, no faster than the server reads; what goes
    wrong there is kept, to be raised where the answers are read."""

    def __init__(self, first: Any, member: str, pieces: Iterator[bytes]) -> None:
        self._first, self._member, self._pieces = first, member, pieces
        self.failed: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        message = self._first
        try:
            for piece in self._pieces:
                setattr(message, self._member, piece)
                yield message
                message = type(message)()
        except Exception as error:
            self.failed = error
            return  # the server refuses what is not whole
        message.last = True
        yield message


def cut(parts: Iterable[Buffer], most: int) -> Iterator[bytes]:
    """The same bytes in parts of at most so many."""
    for part in parts:
        if isinstance(part, bytes) and 0 < len(part) <= most:
            yield part
            continue
        view = memoryview(part)
        for start in range(0, len(view), most):
            yield bytes(view[start : start + most])


def part_bytes(limits: pb.GetLimitsResponse) -> int:
    """What of a part fits into one message to this server."""
    return min(PART_BYTES, limits.calls.max_request_message_bytes - FIRST_BYTES)


class StreamClient(Caller):
    """A connection to the service. Threads may share it, but not one stream."""

    _part_bytes: int | None = None

    def encrypt(
        self,
        key_id: str,
        parts: Iterable[Buffer],
        encryption_context: Context | None = None,
        *,
        frame_length: int | None = None,
        timeout: float | None = None,
    ) -> Streamed:
        """A message of the AWS Encryption SDK (suite 0x0478), its data key wrapped by the key. `frame_length`: 1,024 to
        1,048,576 bytes (default 65,536). `timeout`: seconds that all of it may take."""
        first = encrypt_request(key_id, encryption_context, frame_length)
        sender = Sender(first, "plaintext", self._cut(parts))
        call = self._envelopes.EncryptStream(iter(sender), timeout=timeout, metadata=self._metadata)
        return Streamed(call, "ciphertext", sender)

    def decrypt(
        self,
        parts: Iterable[Buffer],
        encryption_context: Context | None = None,
        *,
        key_id: str | None = None,
        timeout: float | None = None,
    ) -> Streamed:
        """The plaintext of such a message. `encryption_context`: pairs that the message's must have; `key_id`: refuse
        what another key encrypted."""
        sender = Sender(decrypt_request(key_id, encryption_context), "ciphertext", self._cut(parts))
        call = self._envelopes.DecryptStream(iter(sender), timeout=timeout, metadata=self._metadata)
        return Streamed(call, "plaintext", sender)

    def _cut(self, parts: Iterable[Buffer]) -> Iterator[bytes]:
        """The server is asked once what it takes."""
        if self._part_bytes is None:
            self._part_bytes = part_bytes(self._call(self._envelopes.GetLimits, pb.GetLimitsRequest()))
        return cut(parts, self._part_bytes)


def encrypt_request(key_id: str, context: Context | None, frame_length: int | None) -> pb.EncryptStreamRequest:
    """The first message of an EncryptStream, without its part."""
    return pb.EncryptStreamRequest(key_id=key_id, encryption_context=context or {}, frame_length=frame_length)


def decrypt_request(key_id: str | None, context: Context | None) -> pb.DecryptStreamRequest:
    """The first message of a DecryptStream, without its part."""
    return pb.DecryptStreamRequest(key_id=key_id or "", encryption_context=context or {})
