"""Where the doors of a worker send calls that may block: one small pool of threads, and a thread of its own for what
may take seconds (rows that prepare); and a bound on who waits for them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Limits
from kms_grpc.errors import DependencyTimeoutException, ThrottlingException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.wire import PROTOBUF, Wire

BUSY = "The worker has more calls waiting than it takes on. Retry after a moment."
GIVEN_UP = "Cancelled by the caller before it was begun."


class LongWay:
    """When more calls wait than `limits.waiting_calls`, the next is turned away with ThrottlingException."""

    def __init__(self, executor: Executor, limits: Limits) -> None:
        self._executor = executor
        self._waiting_calls = limits.waiting_calls
        self.threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="long-way")
        self._slow_thread = ThreadPoolExecutor(1, thread_name_prefix="slow-way")
        self.waiting = 0

    async def execute(self, operation: Operation, credentials: Credentials, raw: bytes, wire: Wire = PROTOBUF) -> bytes:
        """As Executor.execute. A call that is cancelled before it was begun is not begun any more."""
        if self.waiting >= self._waiting_calls:
            raise self._executor.refuse(operation, credentials, ThrottlingException(BUSY))
        self.waiting += 1
        threads = self.threads if operation.prepare is None else self._slow_thread
        work = threads.submit(self._executor.execute, operation, credentials, raw, wire)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if work.cancelled():
                self._executor.refuse(operation, credentials, DependencyTimeoutException(GIVEN_UP))
            raise
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Wait for what is under way."""
        self.threads.shutdown(wait=True)
        self._slow_thread.shutdown(wait=True)
