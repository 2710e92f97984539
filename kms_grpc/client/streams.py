"""StreamClient: lets the service encrypt and decrypt content of any size, in constant memory on both sides.

    with StreamClient() as streams:
        with open("film.mp4", "rb") as film, open("film.kms", "wb") as target:
            for part in streams.encrypt("alias/films", iter(lambda: film.read(1 << 20), b"")):
                target.write(part)

`encrypt` produces a message of the AWS Encryption SDK, which that SDK can decrypt. The output is complete only if the
loop ends without an exception. Discard the parts that came before an exception, plaintext above all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from kms_grpc.client.arguments import Context
from kms_grpc.client.failures import from_call
from kms_grpc.client.service_client import ServiceClient
from kms_grpc.crypto.message_format import Buffer
from kms_grpc.v1 import envelope_pb2 as pb

PART_BYTES = 1024 * 1024
"""Content of one gRPC message, at most: the fastest size, and below the default limit of a server."""

FIRST_BYTES = 16 * 1024
"""Room for the other fields of the first message."""


class Streamed(Iterator[bytes]):
    """The output of a stream, part by part. To stop early, call `close` or leave the `with` block."""

    def __init__(self, call: Any, member: str, sender: Sender) -> None:
        self._call, self._member, self._sender = call, member, sender
        self.key_id = ""
        """ARN of the key, after the first part has arrived."""
        self.key_material_id = ""
        """Id of the key material, after the first part has arrived."""
        self.encryption_context: Context = {}
        """Encryption context of the message, when decrypting."""

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
        """Cancels the call if it still runs."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sender:
    """The request messages of a stream. gRPC iterates over them in its own thread, no faster than the server reads.

    An exception of the caller's iterator is kept in `failed`, and raised where the responses are read.
    """

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
            return  # without a last message, the server refuses the stream
        message.last = True
        yield message


def split(parts: Iterable[Buffer], most: int) -> Iterator[bytes]:
    """Yields the same bytes in pieces of at most `most` bytes."""
    for part in parts:
        if isinstance(part, bytes) and 0 < len(part) <= most:
            yield part
            continue
        view = memoryview(part)
        for start in range(0, len(view), most):
            yield bytes(view[start : start + most])


def part_bytes(limits: pb.GetLimitsResponse) -> int:
    """Returns the number of content bytes that fit into one message to this server."""
    return min(PART_BYTES, limits.calls.max_request_message_bytes - FIRST_BYTES)


class StreamClient(ServiceClient):
    """A client for streams. Threads may share it, but not a single stream."""

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
        """Encrypts the parts into one message of the AWS Encryption SDK (suite 0x0478).

        frame_length: 1,024 to 1,048,576 bytes (default 65,536).
        timeout: seconds for the whole stream. None: no limit.
        """
        first = encrypt_request(key_id, encryption_context, frame_length)
        sender = Sender(first, "plaintext", self._split(parts))
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
        """Decrypts the parts of one message of the AWS Encryption SDK.

        encryption_context: pairs that the message's encryption context must contain.
        key_id: refuse a message that another key encrypted.
        timeout: seconds for the whole stream. None: no limit.
        """
        sender = Sender(decrypt_request(key_id, encryption_context), "ciphertext", self._split(parts))
        call = self._envelopes.DecryptStream(iter(sender), timeout=timeout, metadata=self._metadata)
        return Streamed(call, "plaintext", sender)

    def _split(self, parts: Iterable[Buffer]) -> Iterator[bytes]:
        """Splits the parts by the limit of the server. The first call asks the server for that limit."""
        if self._part_bytes is None:
            self._part_bytes = part_bytes(self._call(self._envelopes.GetLimits, pb.GetLimitsRequest()))
        return split(parts, self._part_bytes)


def encrypt_request(key_id: str, context: Context | None, frame_length: int | None) -> pb.EncryptStreamRequest:
    """Returns the first message of an EncryptStream, without content."""
    return pb.EncryptStreamRequest(key_id=key_id, encryption_context=context or {}, frame_length=frame_length)


def decrypt_request(key_id: str | None, context: Context | None) -> pb.DecryptStreamRequest:
    """Returns the first message of a DecryptStream, without content."""
    return pb.DecryptStreamRequest(key_id=key_id or "", encryption_context=context or {})
