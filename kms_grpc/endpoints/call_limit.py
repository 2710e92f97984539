"""The limit on concurrent calls of a worker, over all its connections.

A call counts from the moment its headers have arrived, before its message. A call beyond the limit is rejected at once.
Once half the limit is in use, new calls must send their message within ARRIVAL_SECONDS; so a client that opens calls
and sends nothing cannot occupy all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import grpc

from kms_grpc.errors import DeadlineExceeded, KMSError, ValidationException

Context = grpc.aio.ServicerContext[Any, Any]
ARRIVAL_SECONDS: Final = 10.0
LATE: Final = f"The request did not arrive within {ARRIVAL_SECONDS:g} s."
NOTHING_ARRIVED: Final = "No request arrived. It may have been larger than GetLimits allows."
TOO_MANY_CALLS: Final = "The worker has reached its limit of concurrent calls. Retry after a moment."


class MethodHandlers(NamedTuple):
    """The handlers of one gRPC method, chosen by the load when a call begins."""

    usual: Any
    timed: Any
    """Waits for the message no longer than ARRIVAL_SECONDS."""
    full: Any
    """Rejects the call."""


class CallLimit(grpc.GenericRpcHandler):
    """Maps method paths to handlers over raw bytes. The executor decodes, since a gRPC deserializer that raises answers
    UNKNOWN."""

    def __init__(self, methods: Mapping[str, MethodHandlers], limit: int) -> None:
        self._methods = methods
        self._limit, self._many = limit, limit // 2
        self.under_way = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns the handler of a call, or None for an unknown method. gRPC calls this in the task that serves the
        call, so the end of the task is the end of the call."""
        handlers = self._methods.get(handler_call_details.method)
        task = asyncio.current_task()
        if handlers is None or task is None:
            return None
        if self.under_way >= self._limit:
            return handlers.full
        self.under_way += 1
        task.add_done_callback(self._ended)
        return handlers.usual if self.under_way <= self._many else handlers.timed

    def _ended(self, _: object) -> None:
        self.under_way -= 1


def reading_in_time(
    serve: Callable[[bytes, Context], Awaitable[bytes]], refuse: Callable[[Context, KMSError], None]
) -> Callable[[Any, Context], Awaitable[bytes]]:
    """Returns a handler that reads the message within ARRIVAL_SECONDS and passes it to `serve`; otherwise it ends the
    call by `refuse`."""

    async def read(_: Any, context: Context) -> bytes:
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                raw = await context.read()
        except TimeoutError:
            refuse(context, DeadlineExceeded(LATE))
            return b""
        if raw is grpc.aio.EOF:
            refuse(context, ValidationException(NOTHING_ARRIVED))
            return b""
        return await serve(raw, context)

    return read
