"""Thread pools for calls that may block, each behind a fair queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Limits
from kms_grpc.endpoints.fair_queue import FairQueue, MemoryBudget
from kms_grpc.errors import KMSError
from kms_grpc.operations.contract.wire import PROTOBUF, Wire
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.recording import ended_by_caller

T = TypeVar("T")


class BlockingPool:
    """The two thread pools of a worker, shared by all its doors.

    Slow operations (`Operation.is_slow`) may take seconds. They have one thread and a queue to themselves, so that they
    never delay other calls. Both queues draw on one memory budget.
    """

    def __init__(self, executor: Executor, limits: Limits) -> None:
        self._executor = executor
        self.budget = MemoryBudget(limits.in_flight_bytes)
        self.threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="blocking")
        self._slow_thread = ThreadPoolExecutor(1, thread_name_prefix="slow")
        self._queue = FairQueue(self.budget, slots=limits.threads, waiting=limits.waiting_calls)
        self._slow_queue = FairQueue(self.budget, slots=1, waiting=limits.waiting_calls)

    @property
    def pending(self) -> int:
        """Number of calls that wait for a thread or occupy one."""
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
        """Run Executor.execute in a thread when this connection's turn comes.

        A call that is rejected, or cancelled before it starts, is audited and counted but never executed. `held` says
        that the memory budget already includes the bytes of `raw`.

        Raises: KMSError, among others ThrottlingException if the queue is full.
        """
        slow = operation.is_slow
        queue, threads = (self._slow_queue, self._slow_thread) if slow else (self._queue, self.threads)
        turn = queue.turn(connection, 0, credentials.deadline_ns)
        try:
            with self.budget.holding(0 if held else len(raw)):
                async with turn:
                    return await self._execute_in(threads, operation, credentials, raw, wire)
        except KMSError as refused:
            raise refused if turn.started else self._executor.refuse(operation, credentials, refused) from None
        except asyncio.CancelledError:
            if not turn.started:
                self._executor.refuse(operation, credentials, ended_by_caller(credentials))
            raise

    async def run(self, work: Callable[[], None], *, connection: Hashable, deadline_ns: int | None) -> None:
        """Run the admission of a new stream when this connection's turn comes. Raises KMSError if it is rejected."""
        async with self._queue.turn(connection, 0, deadline_ns):
            await self.run_at_once(work)

    async def run_at_once(self, work: Callable[[], None]) -> None:
        """Run short work of a stream that is already running, ahead of the queue."""
        await _run_in_thread(self.threads, work)

    async def _execute_in(
        self, threads: ThreadPoolExecutor, operation: Operation, credentials: Credentials, raw: bytes, wire: Wire
    ) -> bytes:
        return await _run_in_thread(threads, lambda: self._executor.execute(operation, credentials, raw, wire))

    def close(self) -> None:
        """Wait for the running calls and end the threads."""
        self.threads.shutdown(wait=True)
        self._slow_thread.shutdown(wait=True)


async def _run_in_thread(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Run `work` in a thread. A cancelled call keeps its slot until its thread has finished."""
    running = asyncio.wrap_future(threads.submit(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # asyncio logs exceptions that are never retrieved; the executor has audited this one
        raise
