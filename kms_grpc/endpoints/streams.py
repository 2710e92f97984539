"""Streams at the gRPC door: one message is worked on and answered, while the next one is read, and no more.

So a caller that doesn't read its answers is not read from: HTTP/2's flow control is felt from end to end, and a stream
holds no more than two messages, one answer and one frame. Work is done on the event loop, a piece of 1 MiB at a time
(0.2 ms at 5 GB/s); what may block, admission, runs in the pool of threads.
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
from kms_grpc.endpoints.call_limit import LATE
from kms_grpc.errors import DependencyTimeoutException, KMSError, ThrottlingException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.kinds.stream import StreamCall
from kms_grpc.operations.operation import Operation

Context = grpc.aio.ServicerContext[Any, Any]
Trailers = tuple[tuple[str, str | bytes], ...]
Aborted = tuple[grpc.StatusCode, str, Trailers]
Method = Callable[[Any, Context], Awaitable[None]]


GONE_SECONDS = 0.1
"""A caller that has gone looks at first like one that has sent all; which of them it is, is known after a moment."""


FULL: Final = "The worker has as many streams as it takes on. Retry after a moment."
IDLE: Final = "The stream's caller had neither sent nor read anything for {:g} s, and its place was given to another."


class Streams:
    """All streams of one worker, at most `limits.streams` at a time. At the limit one whose caller keeps it waiting for
    `limits.stream_idle_seconds` gives its place to a newcomer. Below it nobody is in its way, and it may wait for as
    long as it likes."""

    def __init__(
        self,
        executor: Executor,
        limits: Limits,
        blocking_pool: BlockingPool,
        refusal: Callable[[Credentials, KMSError], Aborted],
        trailers: Callable[[Credentials], tuple[tuple[str, str], ...]],
    ) -> None:
        self._executor = executor
        self._limit, self._idle_seconds = limits.streams, limits.stream_idle_seconds
        self._blocking_pool = blocking_pool
        self._refusal, self._trailers = refusal, trailers
        self._running: dict[StreamCall, _Messages] = {}
        self._leaving = 0

    @property
    def running(self) -> int:
        """Streams that have sent a message and have not ended."""
        return len(self._running)

    def method(
        self, operation: Operation, credentials_of: Callable[[Context], Credentials], first_seconds: float | None = None
    ) -> Method:
        """The handler of a row. `first_seconds`: the first message must have come by then."""

        async def serve(_: Any, context: Context) -> None:
            credentials = credentials_of(context)
            stream, messages = (
                StreamCall(self._executor.service, operation, credentials),
                _Messages(context, first_seconds),
            )
            try:
                await self._serve(stream, messages, credentials)
            except asyncio.CancelledError:
                if not messages.is_given_up:
                    stream.cancel()
                    raise
                await self._give_up(stream, context, credentials)
            except Exception as problem:
                await self._fail(stream, problem, context, credentials)
            finally:
                self._running.pop(stream, None)
                stream.close()
                await messages.end()
            context.set_trailing_metadata(self._trailers(credentials))

        return serve

    async def _fail(self, stream: StreamCall, problem: Exception, context: Context, credentials: Credentials) -> None:
        error = stream.fail(problem)
        # Its frames hold a message, and this one holds it: a circle, megabytes until the collector comes by.
        error.__traceback__ = problem.__traceback__ = None
        code, text, details = self._refusal(credentials, error)
        stream.close()  # now: who does not read keeps `abort` waiting
        await context.abort(code, text, details)

    async def _give_up(self, stream: StreamCall, context: Context, credentials: Credentials) -> None:
        """One who doesn't read does not read this either: until then gRPC holds what was being sent to it. So many of
        those there may be as there are places."""
        try:
            await self._fail(stream, ThrottlingException(IDLE.format(self._idle_seconds)), context, credentials)
        finally:
            self._leaving -= 1

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
        self._count(stream, messages)
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
            await self._blocking_pool.in_a_thread(lambda: stream.admit(raw))
        else:
            await self._blocking_pool.run(lambda: stream.admit(raw), connection=connection, deadline_ns=deadline_ns)

    def _count(self, stream: StreamCall, messages: _Messages) -> None:
        """From its first message on, before it is admitted: others come while one waits for that."""
        if stream in self._running:
            return
        if self.running >= self._limit:
            self._take_a_place()
        self._running[stream] = messages

    def _take_a_place(self) -> None:
        """From the one whose caller has kept it waiting for longest. ThrottlingException where none has for so long."""
        stream, messages = min(self._running.items(), key=lambda item: item[1].waits_since)
        too_long = messages.waits_since + self._idle_seconds <= asyncio.get_running_loop().time()
        if not too_long or self._leaving >= self._limit:
            raise ThrottlingException(FULL)
        del self._running[stream]
        self._leaving += 1
        messages.give_up()


class _Messages:
    """What goes both ways on one call. The next message may be asked for ahead, so that it is taken in beside the work
    on this one: before it is asked for nothing comes of it but HTTP/2's window, 64 KiB."""

    def __init__(self, context: Context, first_seconds: float | None) -> None:
        """Made in the task that serves the call."""
        self._context = context
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._first_seconds = first_seconds
        self._asked: asyncio.Task[Any] | None = None
        self.waits_since = inf
        """The loop's time since when the caller keeps it waiting, by not sending or not reading."""
        self.is_given_up = False

    def peer(self) -> str:
        return self._context.peer()

    async def next(self) -> Any:
        """grpc.aio.EOF behind the last one."""
        asked, self._asked = self._asked, None
        if self._first_seconds is not None:
            return await self._first(self._first_seconds)
        return await self._waiting(asked or self._context.read())

    async def _first(self, seconds: float) -> Any:
        self._first_seconds = None
        try:
            async with asyncio.timeout(seconds):
                return await self._context.read()
        except TimeoutError:
            raise DependencyTimeoutException(LATE) from None

    async def ask(self) -> None:
        """For the next one, without waiting for it, unless that has been done."""
        if self._asked is None:
            self._asked = asyncio.create_task(self._read())
            await asyncio.sleep(0)  # or it is not asked for before somebody waits

    async def answer(self, answer: bytes) -> None:
        """To a caller that has gone a write fails, before anybody says that the call is cancelled."""
        try:
            await self._waiting(self._context.write(answer))
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None

    async def end(self) -> None:
        """When the call has ended: with it ends what was asked for ahead, and nothing is left running."""
        if self._asked is not None:
            await asyncio.gather(self._asked, return_exceptions=True)

    def give_up(self) -> None:
        """The call's task is cancelled where it waits for its caller."""
        self.is_given_up = True
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
