"""Streams at the gRPC door: one message is worked on and answered, while the next one is read, and no more.

So a caller that doesn't read its answers is not read from: HTTP/2's flow control is felt from end to end, and a stream
holds no more than two messages, one answer and one frame. Work is done on the event loop, a piece of 1 MiB at a time
(0.2 ms at 5 GB/s); what may block, admission, runs in the pool of threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.endpoints.long_way import LongWay
from kms_grpc.errors import KMSError, ThrottlingException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.stream_call import StreamCall

Context = grpc.aio.ServicerContext[Any, Any]
Trailers = tuple[tuple[str, str | bytes], ...]
Aborted = tuple[grpc.StatusCode, str, Trailers]
Method = Callable[[Any, Context], Awaitable[None]]


GONE_SECONDS = 0.1
"""A caller that has gone looks at first like one that has sent all; which of them it is, is known after a moment."""


class Streams:
    """All streams of one worker, at most `limit` at a time."""

    def __init__(
        self,
        executor: Executor,
        limit: int,
        long_way: LongWay,
        refusal: Callable[[Credentials, KMSError], Aborted],
        trailers: Callable[[Credentials], tuple[tuple[str, str], ...]],
    ) -> None:
        self._executor = executor
        self._limit = limit
        self._long_way = long_way
        self._refusal, self._trailers = refusal, trailers
        self._running: set[StreamCall] = set()

    @property
    def running(self) -> int:
        """Streams that have sent a message and have not ended."""
        return len(self._running)

    def method(self, operation: Operation, credentials_of: Callable[[Context], Credentials]) -> Method:
        """The handler of a row."""

        async def serve(_: Any, context: Context) -> None:
            credentials = credentials_of(context)
            stream, messages = self._executor.stream(operation, credentials), _Messages(context)
            try:
                await self._serve(stream, messages, credentials)
            except asyncio.CancelledError:
                stream.cancel()
                raise
            except Exception as problem:
                error = stream.fail(problem)
                # Its frames hold a message, and this one holds it: a circle, megabytes until the collector comes by.
                error.__traceback__ = problem.__traceback__ = None
                code, text, details = self._refusal(credentials, error)
                await context.abort(code, text, details)
            finally:
                self._running.discard(stream)
                stream.close()
                await messages.end()
            context.set_trailing_metadata(self._trailers(credentials))

        return serve

    async def _serve(self, stream: StreamCall, messages: _Messages, credentials: Credentials) -> None:
        while not stream.is_last and await self._take(stream, messages, credentials):
            await self._answer(stream, messages)
        if not (stream.is_last or stream.is_whole):
            await asyncio.sleep(GONE_SECONDS)
        stream.done()

    async def _take(self, stream: StreamCall, messages: _Messages, credentials: Credentials) -> bool:
        """Whether there was a message. Here nobody holds it any more when its answers are made."""
        raw = await messages.next()
        if raw is grpc.aio.EOF:
            return False
        self._count(stream)
        if stream.must_be_admitted:
            await self._admit(stream, raw, messages.peer(), credentials.deadline_ns)
        stream.take(raw)
        return True

    async def _answer(self, stream: StreamCall, messages: _Messages) -> None:
        """The next message is asked for when this one's last piece is next: large ones are never both here."""
        while True:
            if stream.wants_next:
                await messages.ask()
            answer = stream.answer()
            if answer is None:
                return
            await messages.answer(answer)

    async def _admit(self, stream: StreamCall, raw: bytes, connection: str, deadline_ns: int | None) -> None:
        """The first time in the queue of all calls, where it may be turned away; then it goes ahead of them."""
        if stream.is_open:
            await self._long_way.in_a_thread(lambda: stream.admit(raw))
        else:
            await self._long_way.run(lambda: stream.admit(raw), connection=connection, deadline_ns=deadline_ns)

    def _count(self, stream: StreamCall) -> None:
        """From its first message on, before it is admitted: others come while one waits for that."""
        if stream not in self._running and self.running >= self._limit:
            raise ThrottlingException("The worker has as many streams as it takes on. Retry after a moment.")
        self._running.add(stream)


class _Messages:
    """What goes both ways on one call. The next message may be asked for ahead, so that it is taken in beside the work
    on this one: before it is asked for nothing comes of it but HTTP/2's window, 64 KiB."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asked: asyncio.Task[Any] | None = None

    def peer(self) -> str:
        return self._context.peer()

    async def next(self) -> Any:
        """grpc.aio.EOF behind the last one."""
        asked, self._asked = self._asked, None
        return await (asked or self._context.read())

    async def ask(self) -> None:
        """For the next one, without waiting for it, unless that has been done."""
        if self._asked is None:
            self._asked = asyncio.create_task(self._read())
            await asyncio.sleep(0)  # or it is not asked for before somebody waits

    async def answer(self, answer: bytes) -> None:
        """To a caller that has gone a write fails, before anybody says that the call is cancelled."""
        try:
            await self._context.write(answer)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None

    async def end(self) -> None:
        """When the call has ended: with it ends what was asked for ahead, and nothing is left running."""
        if self._asked is not None:
            await asyncio.gather(self._asked, return_exceptions=True)

    async def _read(self) -> Any:
        return await self._context.read()
