"""Calls with large messages at the gRPC door: a message is read only when the call's turn comes.

On the wire these calls are unary. The server handles each as a stream of one request and one response. While a call
waits, the server receives at most HTTP/2's initial window (64 KiB) of it, and a response counts against the memory
budget until it has been sent. A call reserves the size of the largest message until its real size is known.
A response that nobody reads does not keep its slot for ever (unread_answers.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Limits
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.call_limit import read_in_time
from kms_grpc.endpoints.fair_queue import FairQueue, Turn
from kms_grpc.endpoints.grpc_answers import GrpcAnswers
from kms_grpc.endpoints.grpc_metadata import with_deadline
from kms_grpc.endpoints.stopping import stopped
from kms_grpc.endpoints.unread_answers import UnreadAnswers
from kms_grpc.errors import KMSError, ValidationException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.recording import ended_by_caller

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Context], Awaitable[None]]
SLOTS: Final = 16
"""Number of large calls that run at once; the memory budget may allow fewer."""
EACH: Final = 4
"""Number of slots for one connection. A client that does not read its responses keeps its slots occupied."""
NOTHING_ARRIVED: Final = (
    "No request arrived. A request may have at most {} bytes (GetLimits: Batches.MaxRequestMessageBytes)."
)


def is_bulk(operation: Operation) -> bool:
    """True for operations whose messages may be large: the batches."""
    return operation.batches


class Bulk:
    """The calls with large messages of one worker."""

    def __init__(self, executor: Executor, limits: Limits, blocking_pool: BlockingPool, answers: GrpcAnswers) -> None:
        self._executor = executor
        self._answers = answers
        self._blocking_pool = blocking_pool
        self._most = limits.message_bytes
        self._unread = UnreadAnswers(limits.stream_idle_seconds)
        seconds = limits.bulk_waiting_ms / 1000
        self.queue = FairQueue(blocking_pool.budget, slots=SLOTS, each=EACH, waiting=limits.calls, seconds=seconds)

    def method(self, operation: Operation) -> Method:
        """Returns gRPC's handler of an operation."""

        async def serve(_: Any, context: Context) -> None:
            credentials = with_deadline(context)
            turn = self.queue.turn(context.peer(), self._most, credentials.deadline_ns)
            try:
                await self._serve(operation, credentials, turn, context)
            except KMSError as error:
                if not turn.started:
                    self._executor.refuse(operation, credentials, error)
                self._answers.refuse(context, credentials, error)
            except asyncio.CancelledError as reason:
                if not turn.started:
                    self._executor.refuse(operation, credentials, ended_by_caller(credentials))
                self._answers.refuse(context, credentials, stopped(reason))
            except grpc.aio.BaseError:
                raise  # for gRPC the call is over
            except Exception as problem:
                self._answers.refuse(context, credentials, self._executor.refuse(operation, credentials, problem))

        return serve

    async def _serve(self, operation: Operation, credentials: Credentials, turn: Turn, context: Context) -> None:
        if not self.queue.may_start(turn):
            self._unread.make_room()
        async with turn:
            answer = await self._answer(operation, credentials, turn, context)
            turn.resize(turn.size // 2 + len(answer))
            context.set_trailing_metadata(self._answers.trailers(credentials))
            await self._unread.write(answer, context)

    async def _answer(self, operation: Operation, credentials: Credentials, turn: Turn, context: Context) -> bytes:
        raw = await self._read(operation, credentials, turn, context)
        turn.resize(2 * len(raw))
        answer = self._executor.warm(operation, credentials, raw)
        if answer is None:
            answer = await self._blocking_pool.execute(
                operation, credentials, raw, connection=turn.connection, held=True
            )
        return answer

    async def _read(self, operation: Operation, credentials: Credentials, turn: Turn, context: Context) -> bytes:
        """Returns the request. Its deadline may have passed while it arrived.

        gRPC itself rejects a message over the limit; reading then yields EOF, as if the client had sent nothing.
        """
        try:
            read = await read_in_time(context)
            turn.require_time()
        except KMSError as too_late:
            raise self._executor.refuse(operation, credentials, too_late) from None
        if read is grpc.aio.EOF:
            raise self._executor.refuse(operation, credentials, ValidationException(NOTHING_ARRIVED.format(self._most)))
        return bytes(read)
