"""Who is served next, and who is turned away: one queue for each connection, served in turn, and a cut-off.

A call that cannot be begun at once waits. Connections take turns, so that one with a hundred calls waiting delays
another's only call by one of its own. Who has waited for `seconds`, where they are bounded, is turned away
(ThrottlingException, with RetryInfo): in an overload the queue stays as long as it is worth waiting in. When `waiting`
calls wait, the next one takes the place of the last one of the connection that has most of them, or is turned away
itself. A call whose deadline has passed is not begun. Bytes that are held in memory come from a budget that all queues
of a worker share.

For one event loop. No door has rules of its own: it asks for a turn, and gives it back.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from kms_grpc.errors import DEADLINE_PASSED, DependencyTimeoutException, KMSError, ThrottlingException

BUSY: Final = "The worker has more calls waiting than it takes on. Retry after a moment."

FIRST_USUAL_NS: Final = 1_000_000
"""How long a call takes, until that is known: the median, followed in steps of a sixteenth, so that a few that take for
ever do not tell."""
ALWAYS_HELD: Final = 128 * 1024
"""Bytes of the largest request that is no batch, and more."""

Clock = Callable[[], int]


class Budget:
    """Bytes of requests and answers that a worker holds at once. A call that is larger than all of it goes alone."""

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
        """For what has arrived already: it need not wait for room, but where there is none, what is large is not kept
        (ThrottlingException)."""
        if size > ALWAYS_HELD and not self.has_room(size):
            raise ThrottlingException(BUSY)
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def give_back(self, size: int) -> None:
        """What waits for room is begun."""
        self.held -= size
        for queue in self._queues:
            queue.serve()

    def used_by(self, queue: FairQueue) -> None:
        self._queues.append(queue)


class Turn:
    """A call's turn: `async with` waits for it, and gives it back."""

    __slots__ = ("_queue", "connection", "size", "deadline_ns", "begun", "begun_ns", "waits", "granted", "timer")

    def __init__(self, queue: FairQueue, connection: Hashable, size: int, deadline_ns: int | None) -> None:
        self._queue = queue
        self.connection = connection
        self.size = size
        self.deadline_ns = deadline_ns
        self.begun = False
        self.begun_ns = 0
        self.waits = False
        self.granted: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Raises ThrottlingException or DependencyTimeoutException: the call is not to be begun."""
        if not self._queue.begin_at_once(self):
            await self._queue.wait(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.end(self)

    def require_time(self) -> None:
        """DependencyTimeoutException where nobody waits for the call any more."""
        self._queue.require_time(self)

    def resize(self, size: int) -> None:
        """It holds so many bytes from now on."""
        less, self.size = self.size - size, size
        self._queue.budget.give_back(less)


class FairQueue:
    """`slots` calls at once, at most `each` of one connection (None: all); `waiting` more may wait, each for `seconds`
    (None: until its deadline), but no longer than half the time to its deadline."""

    def __init__(
        self,
        budget: Budget,
        *,
        slots: int,
        waiting: int,
        each: int | None = None,
        seconds: float | None = None,
        clock: Clock = time.monotonic_ns,
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
        """For a call of a connection, which holds `size` bytes; `deadline_ns` by the clock, None: none."""
        return Turn(self, connection, size, deadline_ns)

    @property
    def pending(self) -> int:
        """Calls that run or wait."""
        return self.running + self.waiting

    def begin_at_once(self, turn: Turn) -> bool:
        if self.waiting or not self._has_room(turn.size) or not self._may_have_more(turn.connection):
            return False
        self.require_time(turn)
        self._begin(turn)
        return True

    async def wait(self, turn: Turn) -> None:
        if self.waiting >= self._most_waiting:
            self._turn_one_away(turn.connection)
        loop = asyncio.get_running_loop()
        turn.granted = loop.create_future()
        if self._seconds is not None:
            turn.timer = loop.call_later(self._patience(turn, self._seconds), self._turn_away, turn)
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
        longer = self._clock() - turn.begun_ns > self._usual_ns
        self._usual_ns = self._usual_ns * 17 // 16 + 16 if longer else self._usual_ns * 15 // 16
        self.running -= 1
        self._running_of[turn.connection] -= 1
        if not self._running_of[turn.connection]:
            del self._running_of[turn.connection]
        self.budget.give_back(turn.size)

    def serve(self) -> None:
        """Begin what can be begun, a call of each connection in turn."""
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

    def _begin(self, turn: Turn) -> None:
        turn.begun = True
        turn.begun_ns = self._clock()
        self._running_of[turn.connection] += 1
        self.running += 1
        self.budget.take(turn.size)

    def _patience(self, turn: Turn, seconds: float) -> float:
        """At most half the time that the call has left: the other half is for being served, or for being answered that
        it is not. So a client whose calls reach the door late, since too many are under way, gets rid of them."""
        if turn.deadline_ns is None:
            return seconds
        return max(0.0, min(seconds, (turn.deadline_ns - self._clock()) / 2e9))

    def require_time(self, turn: Turn) -> None:
        """For `turn`."""
        if turn.deadline_ns is not None and self._clock() >= turn.deadline_ns:
            raise DependencyTimeoutException(DEADLINE_PASSED)

    def _require_usual_time(self, turn: Turn) -> None:
        """While others wait, nothing is begun that would hardly be answered before its deadline: clients whose calls
        come late, from queues of their own, would have a worker do nothing else."""
        if self.waiting and turn.deadline_ns is not None and self._clock() + self._usual_ns >= turn.deadline_ns:
            raise ThrottlingException(BUSY)

    def _grant(self, turn: Turn) -> None:
        assert turn.granted is not None
        if turn.granted.done():
            return  # its caller has just gone, and does not know yet that it is out of the queue
        try:
            self.require_time(turn)
            self._require_usual_time(turn)
        except KMSError as too_late:
            turn.granted.set_exception(too_late)
        else:
            self._begin(turn)
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

    def _turn_away(self, turn: Turn) -> None:
        assert turn.granted is not None
        self._take_out(turn)
        if not turn.granted.done():
            turn.granted.set_exception(ThrottlingException(BUSY))
        self.serve()

    def _turn_one_away(self, newcomer: Hashable) -> None:
        """Room for one more: of the connection with most calls waiting the last one goes, or the newcomer itself."""
        longest = max(self._queues.values(), key=len)
        if len(longest) <= len(self._queues.get(newcomer, ())) + 1:
            raise ThrottlingException(BUSY)
        self._turn_away(longest[-1])

    def _give_up(self, turn: Turn) -> None:
        """Its caller is gone: it leaves the queue, or gives back what it has just been granted."""
        assert turn.granted is not None
        if turn.waits:
            self._take_out(turn)
            self.serve()
        elif not turn.granted.cancelled() and turn.granted.exception() is None:
            self.end(turn)
