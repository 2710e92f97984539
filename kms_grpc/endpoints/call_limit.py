"""Judges each call when its headers have arrived, before its message, and limits the concurrent calls of a worker.

A call whose caller is unknown is refused at once and does not count. All others count, over all connections; one beyond
the limit is rejected at once. Once half the limit is in use, new calls must send their message within ARRIVAL_SECONDS;
so a client that opens calls and sends nothing cannot occupy all of them.

A gRPC server that stops cancels the calls that it has not taken yet, without a reason. So before it stops, new calls
are taken and held; clients that wait for their answers send no more. When no call has come for a moment, the server
stops, and the held calls are refused with a reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import grpc

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.endpoints import grpc_metadata
from kms_grpc.endpoints.stopping import stop
from kms_grpc.errors import DeadlineExceeded, KMSError

Context = grpc.aio.ServicerContext[Any, Any]
ARRIVAL_SECONDS: Final = 10.0
LATE: Final = f"The request did not arrive within {ARRIVAL_SECONDS:g} s."
DISCONNECT_SECONDS: Final = 0.1
"""A caller that disconnects looks at first like one that has sent everything. gRPC cancels the task within this time if
it has disconnected."""
TOO_MANY_CALLS: Final = "The worker has reached its limit of concurrent calls. Retry after a moment."
QUIET_SECONDS: Final = 0.05
"""A stop goes on when no call has begun for this long: the clients then wait for answers."""
HOLD_SECONDS: Final = 1.0
"""Longest time that calls are held before the server stops."""


class MethodHandlers(NamedTuple):
    """The handlers of one gRPC method, of which one is chosen when a call begins."""

    usual: Any
    timed: Any
    """Waits for the message no longer than ARRIVAL_SECONDS."""
    full: Any
    """Rejects the call."""
    stranger: Any
    """Refuses a call whose caller is unknown, without reading its message."""
    stopping: Any
    """Refuses the call when `CallLimit.released` is set."""


class CallLimit(grpc.GenericRpcHandler):
    """Maps method paths to handlers over raw bytes. The executor decodes, since a gRPC deserializer that raises answers
    UNKNOWN.

    `judge` returns the error of a call whose caller is unknown, else None, in microseconds and without the disk.
    `limit` is the number of concurrent calls."""

    def __init__(self, limit: int, judge: Callable[[Credentials], KMSError | None]) -> None:
        self.methods: Mapping[str, MethodHandlers] = {}
        self._limit, self._many = limit, limit // 2
        self._judge = judge
        self._running: set[asyncio.Task[Any]] = set()
        self._forget = self._running.discard
        self._begun = 0
        self._is_stopping = False
        self.released = asyncio.Event()

    @property
    def under_way(self) -> int:
        """Number of calls that count."""
        return len(self._running)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns the handler of a call, or None for an unknown method. gRPC calls this in the task that serves the
        call, so the end of the task is the end of the call."""
        handlers = self.methods.get(handler_call_details.method)
        task = asyncio.current_task()
        if handlers is None or task is None:
            return None
        self._begun += 1
        if self._judge(grpc_metadata.arrive(handler_call_details.invocation_metadata)) is not None:
            return handlers.stranger
        if len(self._running) >= self._limit:
            return handlers.full
        self._running.add(task)
        task.add_done_callback(self._forget)
        if self._is_stopping:
            return handlers.stopping
        return handlers.usual if len(self._running) <= self._many else handlers.timed

    async def hold(self, seconds: float) -> None:
        """Hold new calls until `released` is set. Return when none has come for QUIET_SECONDS, or after `seconds`."""
        self._is_stopping = True
        end = asyncio.get_running_loop().time() + min(seconds, HOLD_SECONDS)
        seen = -1
        while seen != self._begun and asyncio.get_running_loop().time() < end:
            seen = self._begun
            await asyncio.sleep(QUIET_SECONDS)

    def end(self) -> None:
        """End all calls that still run; they are refused."""
        stop(self._running)


async def read_in_time(context: Context) -> Any:
    """Returns the next message, or grpc.aio.EOF. Raises DeadlineExceeded if it does not arrive in ARRIVAL_SECONDS."""
    try:
        async with asyncio.timeout(ARRIVAL_SECONDS):
            return await context.read()
    except TimeoutError:
        raise DeadlineExceeded(LATE) from None
