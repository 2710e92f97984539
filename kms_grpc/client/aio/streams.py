"""AsyncStreamClient: the StreamClient for the tasks of one event loop. See kms_grpc/client/streams.py."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import Context
from kms_grpc.client.failures import from_call
from kms_grpc.client.streams import decrypt_request, encrypt_request, part_bytes, split
from kms_grpc.crypto.message_format import Buffer
from kms_grpc.v1 import envelope_pb2 as pb

Parts = Iterable[Buffer] | AsyncIterable[Buffer]


class AsyncStreamed(AsyncIterator[bytes]):
    """The output of a stream, part by part. To stop early, call `close` or leave the `async with` block."""

    def __init__(self, call: Any, member: str, sender: AsyncSender) -> None:
        self._answers, self._call, self._member, self._sender = aiter(call), call, member, sender
        self.key_id = ""
        """ARN of the key, after the first part has arrived."""
        self.key_material_id = ""
        """Id of the key material, after the first part has arrived."""
        self.encryption_context: Context = {}
        """Encryption context of the message, when decrypting."""

    async def __anext__(self) -> bytes:
        while True:
            answer = await self._next()
            if answer.key_id:
                self.key_id, self.key_material_id = answer.key_id, answer.key_material_id
                self.encryption_context = dict(getattr(answer, "encryption_context", {}))
            part: bytes = getattr(answer, self._member)
            if part:
                return part

    async def _next(self) -> Any:
        try:
            return await anext(self._answers)
        except StopAsyncIteration:
            if self._sender.failed is None:
                raise
        except grpc.RpcError as error:
            if self._sender.failed is None:
                raise from_call(error) from None
        raise self._sender.failed

    def close(self) -> None:
        """Cancels the call if it still runs."""
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncSender:
    """The request messages of a stream.

    An exception of the caller's iterator is kept in `failed`, and raised where the responses are read.
    """

    def __init__(self, first: Any, member: str, parts: Parts, most: Callable[[], Awaitable[int]]) -> None:
        self._first, self._member, self._parts, self._most = first, member, parts, most
        self.failed: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[Any]:
        message = self._first
        try:
            most = await self._most()
            async for part in _each(self._parts):
                for piece in split([part], most):
                    setattr(message, self._member, piece)
                    yield message
                    message = type(message)()
        except Exception as error:
            self.failed = error
            return  # without a last message, the server refuses the stream
        message.last = True
        yield message


async def _each(parts: Parts) -> AsyncIterator[Buffer]:
    if isinstance(parts, AsyncIterable):
        async for part in parts:
            yield part
        return
    for part in parts:
        yield part


class AsyncStreamClient(AsyncServiceClient):
    """A client for streams. Tasks of one event loop may share it."""

    _part_bytes: int | None = None

    async def _most(self) -> int:
        """Returns the number of content bytes in one message. The first call asks the server for its limit."""
        if self._part_bytes is None:
            self._part_bytes = part_bytes(await self._call(self._envelopes.GetLimits, pb.GetLimitsRequest()))
        return self._part_bytes

    def encrypt(
        self,
        key_id: str,
        parts: Parts,
        encryption_context: Context | None = None,
        *,
        frame_length: int | None = None,
        timeout: float | None = None,
    ) -> AsyncStreamed:
        """Encrypts like StreamClient.encrypt. `parts` may be an asynchronous iterable."""
        sender = AsyncSender(encrypt_request(key_id, encryption_context, frame_length), "plaintext", parts, self._most)
        method: Any = self._envelopes.EncryptStream
        call = method(aiter(sender), timeout=timeout, metadata=self._metadata)
        return AsyncStreamed(call, "ciphertext", sender)

    def decrypt(
        self,
        parts: Parts,
        encryption_context: Context | None = None,
        *,
        key_id: str | None = None,
        timeout: float | None = None,
    ) -> AsyncStreamed:
        """Decrypts like StreamClient.decrypt. `parts` may be an asynchronous iterable."""
        sender = AsyncSender(decrypt_request(key_id, encryption_context), "ciphertext", parts, self._most)
        method: Any = self._envelopes.DecryptStream
        call = method(aiter(sender), timeout=timeout, metadata=self._metadata)
        return AsyncStreamed(call, "plaintext", sender)
