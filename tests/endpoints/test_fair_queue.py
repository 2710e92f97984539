"""The fair queue: turns, bounds, deadlines, and the return of slots and memory."""

from __future__ import annotations

import asyncio
import collections
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kms_grpc.endpoints.fair_queue import FIRST_USUAL_NS, FairQueue, MemoryBudget
from kms_grpc.errors import DeadlineExceeded, KMSError, ThrottlingException


class QueueScene:
    """A queue, and calls that hold their turn until the test ends them."""

    def __init__(self, budget: int = 1000, **bounds: Any) -> None:
        self.now = 0
        self.budget = MemoryBudget(budget)
        self.queue = FairQueue(self.budget, clock=lambda: self.now, **({"slots": 1, "waiting": 100} | bounds))
        self.started: list[str] = []
        self.refused: dict[str, str] = {}
        self._ends: dict[str, asyncio.Event] = collections.defaultdict(asyncio.Event)
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def _call(self, name: str, size: int, deadline_ns: int | None, queue: FairQueue) -> None:
        try:
            async with queue.turn(name[0], size, deadline_ns):
                self.started.append(name)
                await self._ends[name].wait()
        except KMSError as error:
            self.refused[name] = error.code

    async def call(self, *names: str, size: int = 0, deadline_ns: int | None = None, queue: Any = None) -> None:
        """Start calls. The first letter of a name is its connection."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._call(name, size, deadline_ns, queue or self.queue))
            await settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settle()

    async def end_all(self) -> list[str]:
        """End the calls in the order in which they start; return all that have started."""
        for _ in range(1000):
            running = [name for name in self.started if not self._ends[name].is_set()]
            if not running:
                break
            await self.end(running[0])
        return self.started


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene; exceptions in callbacks of the event loop fail the test too."""
    errors: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await asyncio.wait_for(scene(), 60)

    asyncio.run(watched())
    assert errors == []


def test_connections_take_turns() -> None:
    """Each call of b and c waits for at most one call of a."""

    async def scene() -> None:
        queued = QueueScene()
        await queued.call("a0", *(f"a{n}" for n in range(1, 50)), "b1", "c1", "c2")
        started = await queued.end_all()
        assert started[:6] == ["a0", "a1", "b1", "c1", "a2", "c2"]
        assert started[6:] == [f"a{n}" for n in range(3, 50)], "the calls of one connection stay in order"
        assert (queued.queue.pending, queued.budget.held) == (0, 0)

    play(scene)


def test_slots_limit_the_running_calls() -> None:
    async def scene() -> None:
        queued = QueueScene(slots=3)
        await queued.call(*(f"a{n}" for n in range(6)))
        assert queued.started == ["a0", "a1", "a2"]
        await queued.end("a1")
        assert queued.started == ["a0", "a1", "a2", "a3"]
        await queued.end_all()

    play(scene)


def test_each_limits_the_running_calls_of_a_connection() -> None:
    """Connection a does not end its calls; those of b still run."""

    async def scene() -> None:
        queued = QueueScene(slots=4, each=2)
        await queued.call("a1", "a2", "a3", "a4", "b1", "b2", "b3")
        assert queued.started == ["a1", "a2", "b1", "b2"]
        await queued.end("b1", "b2")
        assert queued.started == ["a1", "a2", "b1", "b2", "b3"]
        await queued.call("c1")
        assert queued.started[-1] == "c1"
        await queued.end_all()
        assert (len(queued.started), queued.queue.pending, queued.queue._running_of) == (8, 0, {})

    play(scene)


@pytest.mark.parametrize(
    ("budget", "sizes", "started"),
    [
        (100, [40, 40, 40], 2),
        (100, [60, 40, 1], 2),
        (100, [500, 1], 1),  # larger than the budget: runs alone
        (100, [1, 500], 1),  # and waits until it can run alone
        (100, [1, 500, 1], 1),  # nothing overtakes it, otherwise it might never run
        (100, [0] * 9, 9),
    ],
)
def test_the_budget_limits_the_bytes(budget: int, sizes: list[int], started: int) -> None:
    async def scene() -> None:
        queued = QueueScene(budget, slots=100)
        for number, size in enumerate(sizes):
            await queued.call(f"a{number}", size=size)
        assert len(queued.started) == started
        assert len(await queued.end_all()) == len(sizes)
        assert queued.budget.held == 0

    play(scene)


def test_queues_share_a_budget() -> None:
    """Bytes released in one queue start a call in the other; so does a call that shrinks."""

    async def scene() -> None:
        queued = QueueScene(100, slots=9)
        other = FairQueue(queued.budget, slots=9, waiting=9)
        await queued.call("a1", size=80)
        await queued.call("b1", size=50, queue=other)
        assert queued.started == ["a1"]
        await queued.end("a1")
        assert queued.started == ["a1", "b1"]
        async with other.turn("c", 50, None) as turn:
            await queued.call("a2", size=30)
            assert queued.started == ["a1", "b1"]
            turn.resize(20)
            await settle()
            assert queued.started == ["a1", "b1", "a2"]
        await queued.end_all()
        assert queued.budget.held == 0

    play(scene)


@pytest.mark.parametrize(
    ("waiting", "new", "refused"),
    [
        (["a1", "a2", "a3"], "a4", "a4"),  # its own connection has the most calls
        (["a1", "a2", "a3"], "b1", "a3"),  # replaces the newest call of the connection with the most
        (
            ["a1", "a2", "b1"],
            "b2",
            "b2",
        ),  # with equal numbers the new call is rejected, otherwise two would replace each other for ever
        (["a1", "b1", "c1"], "d1", "d1"),
    ],
)
def test_a_full_queue(waiting: list[str], new: str, refused: str) -> None:
    async def scene() -> None:
        queued = QueueScene(waiting=3)
        await queued.call("x0", *waiting, new)
        assert queued.refused == {refused: "ThrottlingException"}
        assert set(await queued.end_all()) == {"x0", *waiting, new} - {refused}
        assert queued.queue.pending == 0

    play(scene)


def test_a_call_that_has_waited_too_long_is_rejected() -> None:
    async def scene() -> None:
        queued = QueueScene(seconds=0.02)
        await queued.call("a0", "a1", "b1")
        while len(queued.refused) < 2:
            await asyncio.sleep(0.001)
        assert set(queued.refused.values()) == {"ThrottlingException"}
        await queued.call("a2")
        await queued.end("a0")
        assert queued.started == ["a0", "a2"]
        await asyncio.sleep(0.05)  # running calls have no time limit
        await queued.end_all()
        assert (queued.refused.keys(), queued.queue.pending) == ({"a1", "b1"}, 0)

    play(scene)


def test_no_call_waits_longer_than_half_the_time_to_its_deadline() -> None:
    """The queue's own limit is longer, and the queue's clock stands still."""

    async def scene() -> None:
        queued = QueueScene(seconds=3600)
        await queued.call("a0", "a1")
        await queued.call("b1", deadline_ns=40_000_000)
        while not queued.refused:
            await asyncio.sleep(0.001)
        assert queued.refused == {"b1": "ThrottlingException"}
        await queued.end_all()
        assert queued.started == ["a0", "a1"]

    play(scene)


@pytest.mark.parametrize(
    ("left_ns", "another_waits", "started"),
    [
        (FIRST_USUAL_NS // 2, True, False),  # less time than a call usually takes
        (FIRST_USUAL_NS * 2, True, True),
        (FIRST_USUAL_NS // 2, False, True),  # no other call waits
    ],
)
def test_a_call_that_can_hardly_finish_in_time_is_rejected_while_others_wait(
    left_ns: int, another_waits: bool, started: bool
) -> None:
    async def scene() -> None:
        queued = QueueScene()
        await queued.call("a0")
        await queued.call("b1", deadline_ns=left_ns)
        await queued.call(*(["c1"] if another_waits else []))
        await queued.end_all()
        assert ("b1" in queued.started) == started
        assert queued.refused == ({} if started else {"b1": "ThrottlingException"})
        assert queued.queue.pending == 0

    play(scene)


def test_the_usual_duration_follows_the_median() -> None:
    """A few very long calls, whose clients do not read the responses, hardly change it."""

    async def scene() -> None:
        queued = QueueScene()
        dice = random.Random(17)
        for number in range(600):
            await queued.call(f"a{number}")
            queued.now += 3_600_000_000_000 if number % 4 == 0 else dice.randrange(4_000_000, 6_000_000)
            await queued.end(f"a{number}")
        assert 4_000_000 < queued.queue._usual_ns < 8_000_000

    play(scene)


def test_no_call_starts_after_its_deadline() -> None:
    async def scene() -> None:
        queued = QueueScene()
        await queued.call("a0", deadline_ns=10)
        await queued.call("a1", deadline_ns=10)
        await queued.call("b1", deadline_ns=11)
        queued.now = 10
        await queued.end("a0")
        assert queued.started == ["a0", "b1"]
        await queued.call("c1", deadline_ns=10)
        await queued.end_all()
        await queued.call("c2", deadline_ns=10)
        assert queued.started == ["a0", "b1"]
        assert queued.refused == dict.fromkeys(["a1", "c1", "c2"], "DeadlineExceeded")
        assert queued.queue.pending == 0

    play(scene)


def test_a_cancelled_call_returns_its_slot_and_bytes() -> None:
    """It is cancelled while it waits, when its turn comes, and while it runs."""

    async def scene() -> None:
        queued = QueueScene(100)
        await queued.call("a0", "a1", "b1", "a2", size=60)
        queued.tasks["a1"].cancel()
        await settle()
        queued._ends["a0"].set()
        while queued.budget.held and queued.queue.waiting == 2:
            await asyncio.sleep(0)
        queued.tasks["b1"].cancel()
        await settle()
        assert queued.started[-1] == "a2"
        queued.tasks["a2"].cancel()
        await settle()
        assert (queued.queue.pending, queued.budget.held) == (0, 0)
        await queued.call("c1", size=100)
        assert queued.started[-1] == "c1"
        await queued.end_all()

    play(scene)


def test_random_calls_keep_the_bounds() -> None:
    """The bounds hold at every moment, and in the end all slots and bytes are returned."""

    async def one(queue: FairQueue, budget: MemoryBudget, dice: random.Random, seen: collections.Counter[str]) -> None:
        size = dice.choice([0, 10, 60, 150])
        try:
            async with queue.turn(dice.choice("abc"), size, None) as turn:
                assert queue.running <= 3
                assert budget.held <= 100 or (budget.held == size and queue.running == 1) or size == 0
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
                turn.resize(turn.size // 2)
                await asyncio.sleep(0)
            seen["done"] += 1
        except ThrottlingException:
            seen["refused"] += 1
        except asyncio.CancelledError:
            seen["cancelled"] += 1

    async def scene() -> None:
        dice, budget, seen = random.Random(17), MemoryBudget(100), collections.Counter[str]()
        queue, tasks = FairQueue(budget, slots=3, each=2, waiting=8), []
        for _ in range(3000):
            tasks.append(asyncio.create_task(one(queue, budget, dice, seen)))
            if dice.random() < 0.3:
                dice.choice(tasks[-10:]).cancel()
            if dice.random() < 0.7:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.pending, budget.held) == (0, 0)
        assert min(seen[what] for what in ("done", "refused", "cancelled")) > 100, seen

    play(scene)


def test_rejections_have_the_right_grpc_status() -> None:
    assert ThrottlingException.status == "RESOURCE_EXHAUSTED" and ThrottlingException.retryable
    assert DeadlineExceeded.status == "DEADLINE_EXCEEDED"
