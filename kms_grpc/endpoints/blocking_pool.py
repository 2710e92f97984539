"""Thread pools for calls that may block, each behind a fair queue."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Limits
from kms_grpc.endpoints.fair_queue import FairQueue, MemoryBudget
from kms_grpc.endpoints.stopping import is_stop
from kms_grpc.errors import KMSError, ThrottlingException
from kms_grpc.operations.call import MustWrite
from kms_grpc.operations.contract.wire import PROTOBUF, Wire
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.judging import authenticate
from kms_grpc.operations.operation import Operation, Unserved
from kms_grpc.operations.recording import ended_by_caller

T = TypeVar("T")


class Lane:
    """Some threads of a worker, and the queue before them."""

    def __init__(self, name: str, threads: int, waiting: int, budget: MemoryBudget) -> None:
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.queue = FairQueue(budget, slots=threads, waiting=waiting)


class BlockingPool:
    """The threads of a worker, shared by all its doors, in four lanes.

    Reads of keys that are not cached never wait behind writes, which may wait for the disk for seconds. Slow operations
    (`Operation.is_slow`), which compute for seconds, delay no others. Calls whose signature cannot be verified on the
    event loop wait for that in a lane of their own. The queues draw on one memory budget.
    """

    def __init__(self, executor: Executor, limits: Limits) -> None:
        self._executor = executor
        self.budget = MemoryBudget(limits.in_flight_bytes)
        self._reads = Lane("read", limits.read_threads, limits.waiting_calls, self.budget)
        self._writes = Lane("write", limits.threads, limits.waiting_calls, self.budget)
        self._slow = Lane("slow", 1, limits.waiting_calls, self.budget)
        self._judging = Lane("judging", 1, limits.waiting_calls, self.budget)

    @property
    def pending(self) -> int:
        """Number of calls that wait for a thread or occupy one."""
        return sum(lane.queue.pending for lane in self._lanes)

    @property
    def _lanes(self) -> tuple[Lane, ...]:
        return self._reads, self._writes, self._slow, self._judging

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
        call = functools.partial(self._executor.execute, operation, credentials, raw, wire)
        lane = self._slow if operation.is_slow else self._writes if operation.writes else self._reads
        size = 0 if held else len(raw)
        if lane is not self._reads:
            return await self._run(lane, call, operation, credentials, connection, size)
        try:
            reads_only = functools.partial(call, may_write=False)
            return await self._run(lane, reads_only, operation, credentials, connection, size)
        except MustWrite:
            return await self._run(self._writes, call, operation, credentials, connection, size)

    async def judge(self, operation: Operation, credentials: Credentials, *, connection: Hashable) -> None:
        """Runs judging.authenticate in a thread. `connection` is the peer's address: addresses take turns. Raises
        KMSError."""
        try:
            async with self._judging.queue.turn(connection, 0, credentials.deadline_ns):
                judging = functools.partial(authenticate, self._executor.service, operation, credentials)
                await _run_in_thread(self._judging.threads, judging)
        except ThrottlingException as refused:
            raise self._executor.refuse(operation, credentials, refused) from None

    async def refuse(self, operation: Unserved, credentials: Credentials, error: KMSError) -> KMSError:
        """Runs Executor.refuse in the thread that verifies signatures. Returns the error for the caller."""
        try:
            async with self._judging.queue.turn(credentials.peer, 0, credentials.deadline_ns):
                refusing = functools.partial(self._executor.refuse, operation, credentials, error)
                return await _run_in_thread(self._judging.threads, refusing)
        except ThrottlingException as refused:
            return self._executor.refuse(operation, credentials, refused)

    async def run(self, work: Callable[[], None], *, connection: Hashable, deadline_ns: int | None) -> None:
        """Run the admission of a new stream when this connection's turn comes. Raises KMSError if it is rejected."""
        async with self._reads.queue.turn(connection, 0, deadline_ns):
            await self.run_at_once(work)

    async def run_at_once(self, work: Callable[[], None]) -> None:
        """Run short work that only reads, such as that of a stream that is already running, ahead of the queue."""
        await _run_in_thread(self._reads.threads, work)

    def close(self) -> None:
        """Wait for the running calls and end the threads."""
        for lane in self._lanes:
            lane.threads.shutdown(wait=True)

    async def _run(
        self,
        lane: Lane,
        call: Callable[[], bytes],
        operation: Operation,
        credentials: Credentials,
        connection: Hashable,
        size: int,
    ) -> bytes:
        turn = lane.queue.turn(connection, 0, credentials.deadline_ns)
        try:
            with self.budget.holding(size):
                async with turn:
                    return await _run_in_thread(lane.threads, call)
        except KMSError as refused:
            raise refused if turn.started else self._executor.refuse(operation, credentials, refused) from None
        except asyncio.CancelledError:
            if not turn.started:
                self._executor.refuse(operation, credentials, ended_by_caller(credentials))
            raise


async def _run_in_thread(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Run `work` in a thread. A cancelled call keeps its slot until its thread has finished, unless the worker stops:
    the call is then refused at once, and the thread finishes meanwhile."""
    running = asyncio.wrap_future(threads.submit(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError as reason:
        if is_stop(reason):
            running.add_done_callback(_retrieve)
            raise
        await asyncio.wait([running])
        running.exception()  # asyncio logs exceptions that are never retrieved; the executor has audited this one
        raise
    finally:
        del running  # it holds the error, which refers to this frame: together they would keep the request


def _retrieve(finished: asyncio.Future[Any]) -> None:
    """Take the error of work that nobody waits for any more, which asyncio would log."""
    if not finished.cancelled():
        finished.exception()
