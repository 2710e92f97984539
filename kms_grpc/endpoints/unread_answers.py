"""Responses of large calls that their callers do not read.

A call keeps its slot until its response was sent, and a caller decides when that is. When another call wants a slot,
the call that has waited longest is ended with an error, if that is at least `limits.stream_idle_seconds`. gRPC holds
response and error until they are read. Where CLOSING_FROM calls have been ended but their errors are unread, each
further one closes the connection of the oldest. Where MOST_ENDING have, no call is ended until one of them is gone.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from kms_grpc.endpoints.connections import close_connection
from kms_grpc.errors import ThrottlingException

Context = grpc.aio.ServicerContext[Any, Any]
CLOSING_FROM: Final = 16
"""Number of ended calls whose responses gRPC holds from which on connections are closed."""
MOST_ENDING: Final = 32
"""Largest number of ended calls whose responses gRPC holds."""
UNREAD: Final = "The call was ended for another one: its caller had not read the response for {:g} s."


class UnreadAnswers:
    """The large calls of one worker that wait for their callers to read."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._reason = UNREAD.format(idle_seconds)
        self._since: dict[asyncio.Task[Any], tuple[float, Context]] = {}
        self._ending: dict[asyncio.Task[Any], str] = {}

    async def write(self, answer: bytes, context: Context) -> None:
        """Send a response. Raises ThrottlingException if the call was ended for another one.

        The initial metadata goes ahead: it cannot be sent twice, and after a write that was cancelled gRPC for Python
        would send it again, with the error."""
        task = asyncio.current_task()
        assert task is not None
        await context.send_initial_metadata(())
        self._since[task] = asyncio.get_running_loop().time(), context
        try:
            await context.write(answer)
        except asyncio.CancelledError as ended:
            if self._reason not in ended.args:
                raise
            raise ThrottlingException(self._reason) from None
        finally:
            self._since.pop(task, None)

    def make_room(self) -> None:
        """End the call whose response has waited longest, if that is long enough and not too many calls are ending."""
        task, (since, context) = next(iter(self._since.items()), (None, (0.0, None)))
        if task is None or context is None or since + self._idle_seconds > asyncio.get_running_loop().time():
            return
        if len(self._ending) >= CLOSING_FROM:
            close_connection(next(iter(self._ending.values())))
        if len(self._ending) < MOST_ENDING:
            del self._since[task]
            self._ending[task] = context.peer()
            task.add_done_callback(self._ending.pop)
            task.cancel(self._reason)
