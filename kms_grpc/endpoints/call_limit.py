"""All calls of a worker together: how many may be under way, over all its connections.

They are counted from when their headers are in, so before a message has come. One more than `limit` is turned away at
once. From half of it on, a call's message is waited for with patience that ends: who begins calls and sends nothing
does not keep all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import grpc

from kms_grpc.errors import DependencyTimeoutException, KMSError, ValidationException

Context = grpc.aio.ServicerContext[Any, Any]
ARRIVAL_SECONDS: Final = 10.0
LATE: Final = "The request did not arrive in time."
NONE: Final = "No request arrived. It may have been larger than GetLimits allows."
FULL: Final = "The worker has as many calls under way as it takes on. Retry after a moment."


class Ways(NamedTuple):
    """gRPC's handlers of one method."""

    usual: Any
    careful: Any
    """Does not wait for a message for ever."""
    full: Any
    """Turns the call away."""


class CallLimit(grpc.GenericRpcHandler):
    """Paths to handlers over raw bytes: decoding is the executor's, where a failure is worded."""

    def __init__(self, methods: Mapping[str, Ways], limit: int) -> None:
        self._methods = methods
        self._limit, self._many = limit, limit // 2
        self.under_way = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """gRPC asks within the task that serves the call, and that ends with it."""
        ways = self._methods.get(handler_call_details.method)
        task = asyncio.current_task()
        if ways is None or task is None:
            return None
        if self.under_way >= self._limit:
            return ways.full
        self.under_way += 1
        task.add_done_callback(self._ended)
        return ways.usual if self.under_way <= self._many else ways.careful

    def _ended(self, _: object) -> None:
        self.under_way -= 1


def reading(
    serve: Callable[[bytes, Context], Awaitable[bytes]], refuse: Callable[[Context, KMSError], None]
) -> Callable[[Any, Context], Awaitable[bytes]]:
    """`serve` for a call whose message it waits for by itself. `refuse` ends one whose message has not come."""

    async def read(_: Any, context: Context) -> bytes:
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                raw = await context.read()
        except TimeoutError:
            refuse(context, DependencyTimeoutException(LATE))
            return b""
        if raw is grpc.aio.EOF:
            refuse(context, ValidationException(NONE))
            return b""
        return await serve(raw, context)

    return read
