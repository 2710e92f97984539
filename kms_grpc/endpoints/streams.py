"""Streams at the gRPC door. A stream processes one message while it reads at most the next one.

If a caller does not read its responses, the server stops reading its requests: HTTP/2's flow control works end to end.
A stream holds at most two messages, one response and one frame. Encryption runs on the event loop in pieces of 1 MiB
(0.2 ms at 5 GB/s); admission may block and runs in the thread pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final

import grpc

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Limits
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.call_limit import DISCONNECT_SECONDS, read_in_time
from kms_grpc.endpoints.connections import close_connection
from kms_grpc.endpoints.grpc_answers import GrpcAnswers
from kms_grpc.endpoints.grpc_metadata import with_deadline
from kms_grpc.endpoints.stopping import stopped
from kms_grpc.errors import KMSError, ThrottlingException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.kinds.stream import StreamCall
from kms_grpc.operations.operation import Operation

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Context], Awaitable[None]]

TOO_MANY_STREAMS: Final = "The worker has reached its limit of concurrent streams. Retry after a moment."
IDLE: Final = "The stream was ended for another one: its caller had neither sent nor read anything for {:g} s."


class Streams:
    """The streams of one worker, at most `limits.streams` at a time.

    At the limit, a new stream replaces the one that has been idle longest, if that is at least
    `limits.stream_idle_seconds`. A stream is idle while it waits for its caller to send or read. Below the limit, idle
    streams are left alone.
    """

    def __init__(
        self,
        executor: Executor,
        limits: Limits,
        blocking_pool: BlockingPool,
        answers: GrpcAnswers,
    ) -> None:
        self._executor = executor
        self._limit, self._idle_seconds = limits.streams, limits.stream_idle_seconds
        self._blocking_pool = blocking_pool
        self._answers = answers
        self._running: dict[StreamCall, _Messages] = {}
        self._ending: dict[StreamCall, str] = {}
        """The connections of streams that were ended as idle, and whose callers have not read that yet."""

    @property
    def running(self) -> int:
        """Number of streams that have received a message and have not ended."""
        return len(self._running)

    def method(self, operation: Operation, *, timed: bool = False) -> Method:
        """Returns gRPC's handler of an operation. If `timed`, the first message must arrive within ARRIVAL_SECONDS."""

        async def serve(_: Any, context: Context) -> None:
            credentials = with_deadline(context)
            stream = StreamCall(self._executor.service, operation, credentials)
            messages = _Messages(context, timed)
            try:
                await self._serve(stream, messages, credentials)
            except asyncio.CancelledError as reason:
                if messages.is_ended_as_idle:
                    await self._end_idle(stream, context, credentials)
                else:
                    stream.cancel()
                    await self._abort(stream, stopped(reason), context, credentials)
            except Exception as problem:
                await self._fail(stream, problem, context, credentials)
            finally:
                self._running.pop(stream, None)
                stream.close()
                await messages.end()
            context.set_trailing_metadata(self._answers.trailers(credentials))

        return serve

    async def _fail(self, stream: StreamCall, problem: Exception, context: Context, credentials: Credentials) -> None:
        error = stream.fail(problem)
        # The traceback refers to frames that hold a message and this error: a cycle that would keep megabytes until the
        # next garbage collection.
        error.__traceback__ = problem.__traceback__ = None
        await self._abort(stream, error, context, credentials)

    async def _abort(self, stream: StreamCall, error: KMSError, context: Context, credentials: Credentials) -> None:
        refusal = self._answers.refusal(credentials, error)
        stream.close()  # before `abort`, which waits while the caller does not read
        await context.abort(*refusal)

    async def _end_idle(self, stream: StreamCall, context: Context, credentials: Credentials) -> None:
        """End an idle stream with an error. A caller that does not read does not read the error either, and gRPC holds
        the response until then; `_make_room` therefore limits how many streams are ending."""
        try:
            await self._fail(stream, ThrottlingException(IDLE.format(self._idle_seconds)), context, credentials)
        finally:
            del self._ending[stream]

    async def _serve(self, stream: StreamCall, messages: _Messages, credentials: Credentials) -> None:
        while not stream.is_last and await self._take(stream, messages, credentials):
            await self._answer(stream, messages)
        if not (stream.is_last or stream.is_whole):
            await asyncio.sleep(DISCONNECT_SECONDS)
        stream.done()

    async def _take(self, stream: StreamCall, messages: _Messages, credentials: Credentials) -> bool:
        """Read a message and pass it to the stream; False at the end. The message is not referenced here afterwards, so
        that it can be freed while its responses are made."""
        raw = await messages.next()
        if raw is grpc.aio.EOF:
            return False
        self._count(stream, messages)
        if stream.must_be_admitted:
            await self._admit(stream, raw, messages.peer(), credentials.deadline_ns)
        stream.take(raw)
        return True

    async def _answer(self, stream: StreamCall, messages: _Messages) -> None:
        """Send the responses to one message. The next message is requested only before the last piece of this one, so
        that two large messages are never held at once."""
        while True:
            if stream.wants_next:
                await messages.ask()
            answer = stream.answer()
            if answer is None:
                return
            await messages.answer(answer)

    async def _admit(self, stream: StreamCall, raw: bytes, connection: str, deadline_ns: int | None) -> None:
        """Admit a stream. The first admission waits in the queue of all calls and may be rejected; later checks of a
        running stream go ahead of the queue."""
        if stream.is_open:
            await self._blocking_pool.run_at_once(lambda: stream.admit(raw))
        else:
            await self._blocking_pool.run(lambda: stream.admit(raw), connection=connection, deadline_ns=deadline_ns)

    def _count(self, stream: StreamCall, messages: _Messages) -> None:
        """Count a stream from its first message, before its admission, which may have to wait."""
        if stream in self._running:
            return
        if self.running >= self._limit:
            self._make_room()
        self._running[stream] = messages

    def _make_room(self) -> None:
        """End the stream that has been idle longest. Raises ThrottlingException if none has been idle long enough.
        Where as many streams are ending as may run, close the connection of the first of them."""
        stream, messages = min(self._running.items(), key=lambda item: item[1].waits_since)
        is_idle = messages.waits_since + self._idle_seconds <= asyncio.get_running_loop().time()
        if not is_idle:
            raise ThrottlingException(TOO_MANY_STREAMS)
        if len(self._ending) >= self._limit:
            close_connection(next(iter(self._ending.values())))
        del self._running[stream]
        self._ending[stream] = messages.peer()
        messages.end_as_idle()


class _Messages:
    """The messages of one call in both directions.

    The next message may be requested ahead, so that it is received while this one is processed. Before the request, the
    server receives no more of it than HTTP/2's window of 64 KiB.
    """

    def __init__(self, context: Context, first_in_time: bool) -> None:
        """Must be called in the task that serves the call."""
        self._context = context
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._first_in_time = first_in_time
        self._asked: asyncio.Task[Any] | None = None
        self.waits_since = inf
        """The loop's time at which the stream began to wait for its caller to send or read; infinite while it does not
        wait."""
        self.is_ended_as_idle = False
        self._is_begun = False

    def peer(self) -> str:
        return self._context.peer()

    async def next(self) -> Any:
        """Returns the next message, or grpc.aio.EOF after the last one."""
        asked, self._asked = self._asked, None
        if self._first_in_time:
            self._first_in_time = False
            return await read_in_time(self._context)
        return await self._waiting(asked or self._context.read())

    async def ask(self) -> None:
        """Request the next message without waiting for it, unless that has been done."""
        if self._asked is None:
            self._asked = asyncio.create_task(self._read())
            await asyncio.sleep(0)  # lets the task start, otherwise it would read only at the next await

    async def answer(self, answer: bytes) -> None:
        """Send a response. Raises CancelledError if the caller has disconnected: the write then fails before gRPC
        cancels the task."""
        try:
            if not self._is_begun:
                self._is_begun = True
                await self._context.send_initial_metadata(())  # ahead, for the reason in unread_answers.py
            await self._waiting(self._context.write(answer))
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None

    async def end(self) -> None:
        """Wait for the read that was requested ahead. It ends with the call."""
        if self._asked is not None:
            await asyncio.gather(self._asked, return_exceptions=True)

    def end_as_idle(self) -> None:
        """Cancel the task of the call, which waits for its caller."""
        self.is_ended_as_idle = True
        assert self._task is not None
        self._task.cancel()

    async def _waiting(self, caller: Awaitable[Any]) -> Any:
        self.waits_since = self._loop.time()
        try:
            return await caller
        finally:
            self.waits_since = inf

    async def _read(self) -> Any:
        return await self._context.read()
