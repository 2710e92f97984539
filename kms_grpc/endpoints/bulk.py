"""Calls with large messages at the gRPC door: a message is read only when it is the call's turn.

On the wire they are unary. Here each is a stream of one message in and one out, so that of a call that waits, or is
turned away, no more is taken in than HTTP/2's first window, and what is answered counts as held in memory until it has
been sent. So many bytes as the largest message has are set aside until the real size is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Limits
from kms_grpc.endpoints.blocking_pool import GIVEN_UP, BlockingPool
from kms_grpc.endpoints.call_limit import ARRIVAL_SECONDS, LATE
from kms_grpc.endpoints.fair_queue import FairQueue, Turn
from kms_grpc.errors import DependencyTimeoutException, KMSError, ValidationException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Context], Awaitable[None]]
SLOTS: Final = 16
"""Large calls at once, beside their bytes."""
EACH: Final = 4
"""Of one connection: who doesn't read its answers keeps its turns, and must not keep all."""
NONE: Final = "No request arrived. One has at most {} bytes (GetLimits: Batches.MaxRequestMessageBytes)."


def is_bulk(operation: Operation) -> bool:
    """Whether its messages may be large: those of batches are."""
    return operation.batches


class Bulk:
    """The large calls of one worker."""

    def __init__(self, executor: Executor, limits: Limits, blocking_pool: BlockingPool) -> None:
        self._executor = executor
        self._blocking_pool = blocking_pool
        self._most = limits.message_bytes
        seconds = limits.bulk_waiting_ms / 1000
        self.queue = FairQueue(blocking_pool.budget, slots=SLOTS, each=EACH, waiting=limits.calls, seconds=seconds)

    def method(
        self,
        operation: Operation,
        credentials_of: Callable[[Context], Credentials],
        refuse: Callable[[Context, Credentials, KMSError], None],
        trailers: Callable[[Credentials], tuple[tuple[str, str], ...]],
    ) -> Method:
        """The handler of a row. `refuse` ends the call with an error."""

        async def serve(_: Any, context: Context) -> None:
            credentials = credentials_of(context)
            turn = self.queue.turn(context.peer(), self._most, credentials.deadline_ns)
            try:
                async with turn:
                    answer = await self._answer(operation, credentials, turn, context)
                    turn.resize(turn.size // 2 + len(answer))
                    context.set_trailing_metadata(trailers(credentials))
                    await context.write(answer)
            except KMSError as error:
                refused = error if turn.begun else self._executor.refuse(operation, credentials, error)
                refuse(context, credentials, refused)
            except asyncio.CancelledError:
                if not turn.begun:
                    self._executor.refuse(operation, credentials, DependencyTimeoutException(GIVEN_UP))
                raise

        return serve

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
        """The request. Its deadline may have passed while it arrived. What is too large gRPC refuses by itself, and
        here it is as if nothing came."""
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                read = await context.read()
            turn.require_time()
        except TimeoutError:
            raise self._executor.refuse(operation, credentials, DependencyTimeoutException(LATE)) from None
        except KMSError as too_late:
            raise self._executor.refuse(operation, credentials, too_late) from None
        if read is grpc.aio.EOF:
            raise self._executor.refuse(operation, credentials, ValidationException(NONE.format(self._most)))
        return bytes(read)
