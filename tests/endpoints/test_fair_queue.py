"""The queue in front of what is scarce: turns, bounds, deadlines, and what is given back."""

from __future__ import annotations

import asyncio
import collections
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kms_grpc.endpoints.fair_queue import FIRST_USUAL_NS, Budget, FairQueue
from kms_grpc.errors import DependencyTimeoutException, KMSError, ThrottlingException


class QuickstartRunner:
    """A queue, and calls that hold their turn until they are told to end it."""

    def __init__(self, budget: int = 1000, **bounds: Any) -> None:
        self.now = 0
        self.budget = Budget(budget)
        self.queue = FairQueue(self.budget, clock=lambda: self.now, **({"slots": 1, "waiting": 100} | bounds))
        self.begun: list[str] = []
        self.refused: dict[str, str] = {}
        self._ends: dict[str, asyncio.Event] = collections.defaultdict(asyncio.Event)
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def _call(self, name: str, size: int, deadline_ns: int | None, queue: FairQueue) -> None:
        try:
            async with queue.turn(name[0], size, deadline_ns):
                self.begun.append(name)
                await self._ends[name].wait()
        except KMSError as error:
            self.refused[name] = error.code

    async def call(self, *names: str, size: int = 0, deadline_ns: int | None = None, queue: Any = None) -> None:
        """A call's connection is the first letter of its name."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._call(name, size, deadline_ns, queue or self.queue))
            await settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settle()

    async def end_all(self) -> list[str]:
        """One after the other, as they are begun."""
        for _ in range(1000):
            running = [name for name in self.begun if not self._ends[name].is_set()]
            if not running:
                break
            await self.end(running[0])
        return self.begun


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """What goes wrong in a timer is a failure, too."""
    wrong: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: wrong.append(told))
        await asyncio.wait_for(scene(), 60)

    asyncio.run(watched())
    assert wrong == []


def test_connections_take_turns() -> None:
    """b's only call and c's two wait for no more than one of a's each."""

    async def scene() -> None:
        stage = QuickstartRunner()
        await stage.call("a0", *(f"a{n}" for n in range(1, 50)), "b1", "c1", "c2")
        begun = await stage.end_all()
        assert begun[:6] == ["a0", "a1", "b1", "c1", "a2", "c2"]
        assert begun[6:] == [f"a{n}" for n in range(3, 50)], "each connection's calls in their order"
        assert (stage.queue.pending, stage.budget.held) == (0, 0)

    play(scene)


def test_as_many_at_once_as_there_are_slots() -> None:
    async def scene() -> None:
        stage = QuickstartRunner(slots=3)
        await stage.call(*(f"a{n}" for n in range(6)))
        assert stage.begun == ["a0", "a1", "a2"]
        await stage.end("a1")
        assert stage.begun == ["a0", "a1", "a2", "a3"]
        await stage.end_all()

    play(scene)


def test_no_connection_has_all_the_turns() -> None:
    """a doesn't end its calls: b's go on."""

    async def scene() -> None:
        stage = QuickstartRunner(slots=4, each=2)
        await stage.call("a1", "a2", "a3", "a4", "b1", "b2", "b3")
        assert stage.begun == ["a1", "a2", "b1", "b2"]
        await stage.end("b1", "b2")
        assert stage.begun == ["a1", "a2", "b1", "b2", "b3"]
        await stage.call("c1")
        assert stage.begun[-1] == "c1"
        await stage.end_all()
        assert (len(stage.begun), stage.queue.pending, stage.queue._running_of) == (8, 0, {})

    play(scene)


@pytest.mark.parametrize(
    ("budget", "sizes", "begun"),
    [
        (100, [40, 40, 40], 2),
        (100, [60, 40, 1], 2),
        (100, [500, 1], 1),  # larger than all there is: alone
        (100, [1, 500], 1),  # and it waits until it is alone
        (100, [1, 500, 1], 1),  # nobody overtakes it, or it would wait for ever
        (100, [0] * 9, 9),
    ],
)
def test_bytes_come_from_a_budget(budget: int, sizes: list[int], begun: int) -> None:
    async def scene() -> None:
        stage = QuickstartRunner(budget, slots=100)
        for number, size in enumerate(sizes):
            await stage.call(f"a{number}", size=size)
        assert len(stage.begun) == begun
        assert len(await stage.end_all()) == len(sizes)
        assert stage.budget.held == 0

    play(scene)


def test_queues_share_a_budget() -> None:
    """What one of them gives back begins what waits in the other; so does a call that turns out smaller."""

    async def scene() -> None:
        stage = QuickstartRunner(100, slots=9)
        other = FairQueue(stage.budget, slots=9, waiting=9)
        await stage.call("a1", size=80)
        await stage.call("b1", size=50, queue=other)
        assert stage.begun == ["a1"]
        await stage.end("a1")
        assert stage.begun == ["a1", "b1"]
        async with other.turn("c", 50, None) as turn:
            await stage.call("a2", size=30)
            assert stage.begun == ["a1", "b1"]
            turn.resize(20)
            await settle()
            assert stage.begun == ["a1", "b1", "a2"]
        await stage.end_all()
        assert stage.budget.held == 0

    play(scene)


@pytest.mark.parametrize(
    ("waiting", "newcomer", "refused"),
    [
        (["a1", "a2", "a3"], "a4", "a4"),  # its own connection has most
        (["a1", "a2", "a3"], "b1", "a3"),  # the last one of who has most makes room
        (["a1", "a2", "b1"], "b2", "b2"),  # no more than as many again: or two would push each other out for ever
        (["a1", "b1", "c1"], "d1", "d1"),
    ],
)
def test_when_no_more_may_wait(waiting: list[str], newcomer: str, refused: str) -> None:
    async def scene() -> None:
        stage = QuickstartRunner(waiting=3)
        await stage.call("x0", *waiting, newcomer)
        assert stage.refused == {refused: "ThrottlingException"}
        assert set(await stage.end_all()) == {"x0", *waiting, newcomer} - {refused}
        assert stage.queue.pending == 0

    play(scene)


def test_who_has_waited_too_long_is_turned_away() -> None:
    async def scene() -> None:
        stage = QuickstartRunner(seconds=0.02)
        await stage.call("a0", "a1", "b1")
        while len(stage.refused) < 2:
            await asyncio.sleep(0.001)
        assert set(stage.refused.values()) == {"ThrottlingException"}
        await stage.call("a2")
        await stage.end("a0")
        assert stage.begun == ["a0", "a2"]
        await asyncio.sleep(0.05)  # the cut-off is for those who wait
        await stage.end_all()
        assert (stage.refused.keys(), stage.queue.pending) == ({"a1", "b1"}, 0)

    play(scene)


def test_nobody_waits_longer_than_half_the_time_it_has() -> None:
    """The queue's own patience is longer; by the clock no time has passed."""

    async def scene() -> None:
        stage = QuickstartRunner(seconds=3600)
        await stage.call("a0", "a1")
        await stage.call("b1", deadline_ns=40_000_000)
        while not stage.refused:
            await asyncio.sleep(0.001)
        assert stage.refused == {"b1": "ThrottlingException"}
        await stage.end_all()
        assert stage.begun == ["a0", "a1"]

    play(scene)


@pytest.mark.parametrize(
    ("left_ns", "another_waits", "begun"),
    [
        (FIRST_USUAL_NS // 2, True, False),  # less time than a call usually takes: it would be work for nobody
        (FIRST_USUAL_NS * 2, True, True),
        (FIRST_USUAL_NS // 2, False, True),  # nobody is kept waiting by it
    ],
)
def test_what_would_hardly_be_answered_in_time_is_not_begun_before_others(
    left_ns: int, another_waits: bool, begun: bool
) -> None:
    async def scene() -> None:
        stage = QuickstartRunner()
        await stage.call("a0")
        await stage.call("b1", deadline_ns=left_ns)
        await stage.call(*(["c1"] if another_waits else []))
        await stage.end_all()
        assert ("b1" in stage.begun) == begun
        assert stage.refused == ({} if begun else {"b1": "ThrottlingException"})
        assert stage.queue.pending == 0

    play(scene)


def test_how_long_calls_usually_take_is_learnt() -> None:
    """The median: a few that take for ever, because nobody reads their answers, do not tell."""

    async def scene() -> None:
        stage = QuickstartRunner()
        dice = random.Random(17)
        for number in range(600):
            await stage.call(f"a{number}")
            stage.now += 3_600_000_000_000 if number % 4 == 0 else dice.randrange(4_000_000, 6_000_000)
            await stage.end(f"a{number}")
        assert 4_000_000 < stage.queue._usual_ns < 8_000_000

    play(scene)


def test_no_call_is_begun_after_its_deadline() -> None:
    async def scene() -> None:
        stage = QuickstartRunner()
        await stage.call("a0", deadline_ns=10)
        await stage.call("a1", deadline_ns=10)
        await stage.call("b1", deadline_ns=11)
        stage.now = 10
        await stage.end("a0")
        assert stage.begun == ["a0", "b1"]
        await stage.call("c1", deadline_ns=10)
        await stage.end_all()
        await stage.call("c2", deadline_ns=10)
        assert stage.begun == ["a0", "b1"]
        assert stage.refused == dict.fromkeys(["a1", "c1", "c2"], "DependencyTimeoutException")
        assert stage.queue.pending == 0

    play(scene)


def test_who_gives_up_leaves_no_trace() -> None:
    """While it waits, right when its turn comes, and while it has its turn."""

    async def scene() -> None:
        stage = QuickstartRunner(100)
        await stage.call("a0", "a1", "b1", "a2", size=60)
        stage.tasks["a1"].cancel()
        await settle()
        stage._ends["a0"].set()
        while stage.budget.held and stage.queue.waiting == 2:
            await asyncio.sleep(0)
        stage.tasks["b1"].cancel()
        await settle()
        assert stage.begun[-1] == "a2"
        stage.tasks["a2"].cancel()
        await settle()
        assert (stage.queue.pending, stage.budget.held) == (0, 0)
        await stage.call("c1", size=100)
        assert stage.begun[-1] == "c1"
        await stage.end_all()

    play(scene)


def test_at_random() -> None:
    """Whatever comes and goes: bounds hold at each moment, and in the end nothing is left."""

    async def one(queue: FairQueue, budget: Budget, dice: random.Random, seen: collections.Counter[str]) -> None:
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
        dice, budget, seen = random.Random(17), Budget(100), collections.Counter[str]()
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


def test_refusals_are_the_errors_that_doors_know() -> None:
    assert ThrottlingException.status == "RESOURCE_EXHAUSTED" and ThrottlingException.retryable
    assert DependencyTimeoutException.status == "UNAVAILABLE"
