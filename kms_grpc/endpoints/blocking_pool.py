"""Where the doors of a worker send calls that may block: small pools of threads, behind queues that are fair."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Limits
from kms_grpc.endpoints.fair_queue import Budget, FairQueue
from kms_grpc.errors import DependencyTimeoutException, KMSError
from kms_grpc.operations.contract.wire import PROTOBUF, Wire
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation

T = TypeVar("T")
GIVEN_UP: Final = "Cancelled by the caller before it was begun."


class BlockingPool:
    """Two pools: what takes long by its row (`Operation.is_slow`) keeps nobody else waiting. All doors of a worker
    share this, and with it the budget of bytes."""

    def __init__(self, executor: Executor, limits: Limits) -> None:
        self._executor = executor
        self.budget = Budget(limits.in_flight_bytes)
        self.threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="long-way")
        self._slow_thread = ThreadPoolExecutor(1, thread_name_prefix="slow-way")
        self._queue = FairQueue(self.budget, slots=limits.threads, waiting=limits.waiting_calls)
        self._slow_queue = FairQueue(self.budget, slots=1, waiting=limits.waiting_calls)

    @property
    def pending(self) -> int:
        """Calls that wait for a thread or have one."""
        return self._queue.pending + self._slow_queue.pending

    async def execute(
        self,
        operation: Operation,
        credentials: Credentials,
        raw: bytes,
        wire: Wire = PROTOBUF,
        *,
        connection: Hashable,
        held: bool = False,
    ) -> bytes:
        """As Executor.execute, when it is this connection's turn. A call that is turned away, or cancelled before it
        was begun, is not begun any more; it is audited and counted as any other. `held`: its bytes are counted already.
        """
        slow = operation.is_slow
        queue, threads = (self._slow_queue, self._slow_thread) if slow else (self._queue, self.threads)
        turn = queue.turn(connection, 0, credentials.deadline_ns)
        try:
            with self.budget.holding(0 if held else len(raw)):
                async with turn:
                    return await self._in_a_thread(threads, operation, credentials, raw, wire)
        except KMSError as refused:
            raise refused if turn.begun else self._executor.refuse(operation, credentials, refused) from None
        except asyncio.CancelledError:
            if not turn.begun:
                self._executor.refuse(operation, credentials, DependencyTimeoutException(GIVEN_UP))
            raise

    async def run(self, work: Callable[[], None], *, connection: Hashable, deadline_ns: int | None) -> None:
        """What a stream begins with, when it is this connection's turn. KMSError where it is turned away."""
        async with self._queue.turn(connection, 0, deadline_ns):
            await self.in_a_thread(work)

    async def in_a_thread(self, work: Callable[[], None]) -> None:
        """What a stream that runs has to look up, ahead of all that waits: a moment's work."""
        await _waited_for(self.threads, work)

    async def _in_a_thread(
        self, threads: ThreadPoolExecutor, operation: Operation, credentials: Credentials, raw: bytes, wire: Wire
    ) -> bytes:
        return await _waited_for(threads, lambda: self._executor.execute(operation, credentials, raw, wire))

    def close(self) -> None:
        """Wait for what is under way."""
        self.threads.shutdown(wait=True)
        self._slow_thread.shutdown(wait=True)


async def _waited_for(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Who is no longer waited for keeps its turn until the thread is done with it."""
    running = asyncio.wrap_future(threads.submit(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # asyncio logs what nobody has looked at; it is recorded and counted
        raise
