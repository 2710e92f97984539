"""A fair queue of calls: one FIFO per connection, served round-robin, with bounds on length, wait and memory.

- A call that cannot start at once waits. Connections take turns, so a connection with a hundred waiting calls delays
  the only call of another connection by one call.
- A call that has waited for `seconds` is rejected with ThrottlingException and RetryInfo. Under overload the queue
  therefore holds only calls that are still worth serving.
- When `waiting` calls wait, a new call replaces the newest call of the connection with the most waiting calls. If its
  own connection has as many, or only one fewer, the new call is rejected instead.
- A call whose deadline has passed never starts.
- The bytes of requests and responses come from one memory budget, which all queues of a worker share.

A queue belongs to one event loop and is not thread-safe.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from kms_grpc.errors import DEADLINE_PASSED, DeadlineExceeded, KMSError, ThrottlingException

BUSY: Final = "The worker has too many calls waiting. Retry after a moment."

FIRST_USUAL_NS: Final = 1_000_000
"""Initial estimate of a call's duration. The queue then tracks the median in steps of 1/16, so that a few very long
calls do not change the estimate."""
ALWAYS_HELD: Final = 128 * 1024
"""Requests up to this size are always accepted into the budget. No request other than a batch is larger."""


class MemoryBudget:
    """The bytes of requests and responses that a worker may hold at once. A call larger than the budget runs alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.held = 0
        self._queues: list[FairQueue] = []

    def has_room(self, size: int) -> bool:
        return size == 0 or self.held == 0 or self.held + size <= self._size

    def take(self, size: int) -> None:
        self.held += size

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Account for a request that has already arrived, while the block runs.

        Raises ThrottlingException if the request is larger than ALWAYS_HELD and does not fit into the budget.
        """
        if size > ALWAYS_HELD and not self.has_room(size):
            raise ThrottlingException(BUSY)
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def give_back(self, size: int) -> None:
        """Release bytes and start the calls that now fit."""
        self.held -= size
        for queue in self._queues:
            queue.serve()

    def used_by(self, queue: FairQueue) -> None:
        self._queues.append(queue)


class Turn:
    """The turn of one call: `async with` waits for it and gives it back at the end."""

    __slots__ = ("_queue", "connection", "size", "deadline_ns", "started", "started_ns", "waits", "granted", "timer")

    def __init__(self, queue: FairQueue, connection: Hashable, size: int, deadline_ns: int | None) -> None:
        self._queue = queue
        self.connection = connection
        self.size = size
        self.deadline_ns = deadline_ns
        self.started = False
        self.started_ns = 0
        self.waits = False
        self.granted: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Raises ThrottlingException or DeadlineExceeded if the call must not start."""
        if not self._queue.start_at_once(self):
            await self._queue.wait(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.end(self)

    def require_time(self) -> None:
        """Raises DeadlineExceeded if the deadline of the call has passed."""
        self._queue.require_time(self)

    def resize(self, size: int) -> None:
        """Change the number of bytes that the call holds."""
        less, self.size = self.size - size, size
        self._queue.budget.give_back(less)


class FairQueue:
    """Runs at most `slots` calls at once, at most `each` of them from one connection (None: no such limit).

    At most `waiting` more calls wait, each for at most `seconds` and at most half the time until its deadline. With
    `seconds` None neither limit applies.
    """

    def __init__(
        self,
        budget: MemoryBudget,
        *,
        slots: int,
        waiting: int,
        each: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.budget = budget
        self.running = 0
        self.waiting = 0
        self._slots, self._each = slots, each or slots
        self._most_waiting, self._seconds, self._clock = waiting, seconds, clock
        self._usual_ns = FIRST_USUAL_NS
        self._running_of: Counter[Hashable] = Counter()
        self._queues: OrderedDict[Hashable, deque[Turn]] = OrderedDict()
        budget.used_by(self)

    def turn(self, connection: Hashable, size: int, deadline_ns: int | None) -> Turn:
        """Returns the turn of a call that holds `size` bytes. `deadline_ns` is a reading of `clock`, or None."""
        return Turn(self, connection, size, deadline_ns)

    @property
    def pending(self) -> int:
        """Number of calls that run or wait."""
        return self.running + self.waiting

    def may_start(self, turn: Turn) -> bool:
        """Returns whether a call would start at once."""
        return not self.waiting and self._has_room(turn.size) and self._may_have_more(turn.connection)

    def start_at_once(self, turn: Turn) -> bool:
        if not self.may_start(turn):
            return False
        self.require_time(turn)
        self._start(turn)
        return True

    async def wait(self, turn: Turn) -> None:
        if self.waiting >= self._most_waiting:
            self._make_room(turn.connection)
        loop = asyncio.get_running_loop()
        turn.granted = loop.create_future()
        if self._seconds is not None:
            turn.timer = loop.call_later(self._longest_wait(turn, self._seconds), self._reject, turn)
        self._queues.setdefault(turn.connection, deque()).append(turn)
        turn.waits = True
        self.waiting += 1
        self.serve()
        try:
            await turn.granted
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def end(self, turn: Turn) -> None:
        longer = self._clock() - turn.started_ns > self._usual_ns
        self._usual_ns = self._usual_ns * 17 // 16 + 16 if longer else self._usual_ns * 15 // 16
        self.running -= 1
        self._running_of[turn.connection] -= 1
        if not self._running_of[turn.connection]:
            del self._running_of[turn.connection]
        self.budget.give_back(turn.size)

    def serve(self) -> None:
        """Start as many waiting calls as fit, one connection after the other."""
        while True:
            connection = next(filter(self._may_have_more, self._queues), None)
            if connection is None or not self._has_room(self._queues[connection][0].size):
                return
            turn = self._queues[connection][0]
            self._take_out(turn)
            if connection in self._queues:
                self._queues.move_to_end(connection)
            self._grant(turn)

    # --- one call ---------------------------------------------------------------------------------------------------

    def _has_room(self, size: int) -> bool:
        return self.running < self._slots and self.budget.has_room(size)

    def _may_have_more(self, connection: Hashable) -> bool:
        return self._running_of[connection] < self._each

    def _start(self, turn: Turn) -> None:
        turn.started = True
        turn.started_ns = self._clock()
        self._running_of[turn.connection] += 1
        self.running += 1
        self.budget.take(turn.size)

    def _longest_wait(self, turn: Turn, seconds: float) -> float:
        """Returns the seconds that a call may wait: at most half the time until its deadline.

        The other half remains for serving the call or for delivering the rejection.
        """
        if turn.deadline_ns is None:
            return seconds
        return max(0.0, min(seconds, (turn.deadline_ns - self._clock()) / 2e9))

    def require_time(self, turn: Turn) -> None:
        """See Turn.require_time."""
        if turn.deadline_ns is not None and self._clock() >= turn.deadline_ns:
            raise DeadlineExceeded(DEADLINE_PASSED)

    def _require_usual_time(self, turn: Turn) -> None:
        """While other calls wait, reject a call that can hardly finish before its deadline.

        Otherwise clients that send calls late, out of queues of their own, could keep a worker busy with calls whose
        responses nobody awaits any more.
        """
        if self.waiting and turn.deadline_ns is not None and self._clock() + self._usual_ns >= turn.deadline_ns:
            raise ThrottlingException(BUSY)

    def _grant(self, turn: Turn) -> None:
        assert turn.granted is not None
        if turn.granted.done():
            return  # the call was cancelled and its task has not run yet
        try:
            self.require_time(turn)
            self._require_usual_time(turn)
        except KMSError as too_late:
            turn.granted.set_exception(too_late)
        else:
            self._start(turn)
            turn.granted.set_result(None)

    def _take_out(self, turn: Turn) -> None:
        queue = self._queues[turn.connection]
        queue.remove(turn)
        turn.waits = False
        if not queue:
            del self._queues[turn.connection]
        self.waiting -= 1
        if turn.timer is not None:
            turn.timer.cancel()

    def _reject(self, turn: Turn) -> None:
        assert turn.granted is not None
        self._take_out(turn)
        if not turn.granted.done():
            turn.granted.set_exception(ThrottlingException(BUSY))
        self.serve()

    def _make_room(self, connection: Hashable) -> None:
        """Reject a waiting call in favour of a new one of `connection`.

        Raises ThrottlingException if the new call itself is to be rejected.
        """
        longest = max(self._queues.values(), key=len)
        if len(longest) <= len(self._queues.get(connection, ())) + 1:
            raise ThrottlingException(BUSY)
        self._reject(longest[-1])

    def _give_up(self, turn: Turn) -> None:
        """Remove a cancelled call from the queue, or return the turn that it was just granted."""
        assert turn.granted is not None
        if turn.waits:
            self._take_out(turn)
            self.serve()
        elif not turn.granted.cancelled() and turn.granted.exception() is None:
            self.end(turn)
