"""Checks that a history of concurrent calls is linearizable, by the search of Wing and Gong with Lowe's memory.

In a linearizable history each call takes effect at one moment between its start and its end. The search takes a call
that changes nothing as soon as its answer fits the state, since that never excludes an order; of equal calls it takes
the one that ended first. So only the order of different changes is searched for.

Source: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993; Lowe, "Testing for Linearizability", 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

State = Hashable
DONE = "done"
WRITES = frozenset({"set", "enable", "disable", "create", "move", "delete"})


@dataclass(frozen=True, slots=True)
class Event:
    """One call: its operation and arguments, its answer, and its start and end (time.monotonic_ns)."""

    op: tuple[str, ...]
    answer: str
    start: int
    end: int

    @property
    def may_change(self) -> bool:
        """True for a write that succeeded. Refused calls and reads change nothing."""
        return self.op[0] in WRITES and self.answer == DONE


Model = Callable[[State, tuple[str, ...]], tuple[str, State]]
"""Maps (state, op) to (answer, state after the call)."""


def order(history: Sequence[Event], model: Model, state: State) -> list[Event] | None:
    """Returns an order in which every answer is right; None if no order is."""
    events = sorted(history, key=lambda event: event.start)
    done: list[int] = []
    tried: set[tuple[int, State]] = set()
    stack = [(_choices(events, 0, model, state), 0, state)]
    while stack:
        choices, taken, _ = stack[-1]
        if len(done) == len(events):
            return [events[index] for index in done]
        step = next((one for one in choices if (taken | 1 << one[0], one[1]) not in tried), None)
        if step is None:
            stack.pop()
            if done:
                done.pop()
            continue
        index, after = step
        taken |= 1 << index
        tried.add((taken, after))
        done.append(index)
        stack.append((_choices(events, taken, model, after), taken, after))
    return None


def _choices(events: Sequence[Event], taken: int, model: Model, state: State) -> Iterator[tuple[int, State]]:
    """Gives the calls that may come next with the state after them: a call that changes nothing, or one of each
    different change."""
    changes: dict[tuple[str, ...], tuple[int, State]] = {}
    for index in _open(events, taken):
        event = events[index]
        answer, after = model(state, event.op)
        if answer != event.answer:
            continue
        if not event.may_change:
            return iter([(index, after)])
        best = changes.get(event.op)
        if best is None or event.end < events[best[0]].end:
            changes[event.op] = (index, after)
    return iter(changes.values())


def _open(events: Sequence[Event], taken: int) -> list[int]:
    """Returns the calls not taken yet that began before the first of them ended."""
    found: list[int] = []
    first_end = None
    for index, event in enumerate(events):
        if first_end is not None and event.start > first_end:
            break
        if taken >> index & 1:
            continue
        found.append(index)
        first_end = event.end if first_end is None else min(first_end, event.end)
    return [index for index in found if events[index].start <= (first_end or 0)]
