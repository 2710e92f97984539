"""The load generator's process: plans as JSON on standard input, reports as JSON on standard output."""

from __future__ import annotations

import gc
import os
import re
import selectors
import sys
from array import array
from collections.abc import Callable
from time import perf_counter_ns, process_time_ns
from typing import Final

import msgspec

from kms_grpc.bench.http2 import CallAnswer, LoadConnection, framed, header_blocks, request_headers, status_name
from kms_grpc.bench.load import LoadReport, Plan, WorkerUsage, report_of

WHO: Final = "/kms_grpc.v1.EnvelopeService/GetLimits"
"""The method that is called to learn the worker of a connection, which the trailers of its answer name."""
ATTEMPTS_PER_CONNECTION: Final = 40
TAIL_NS: Final = 10_000_000_000
"""Seconds that a run waits for the last answers."""
FULL_WAIT_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000
_worker = re.compile(rb"\x0akms-worker(.)", re.DOTALL)


class Unreachable(Exception):
    """The server does not answer, or has fewer workers than the plan needs."""


def worker_of(answer: CallAnswer) -> str:
    """Returns the worker that the trailers name; empty if they name none."""
    found = _worker.search(answer.trailers)
    return answer.trailers[found.end() : found.end() + found[1][0]].decode() if found else ""


class Load:
    """A run of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._first, self._block = header_blocks(request_headers(plan.path, plan.metadata))
        self._message = framed(plan.message)
        self._selector = selectors.DefaultSelector()
        self._connections: list[LoadConnection] = []
        self._of_worker: dict[str, list[LoadConnection]] = {}
        self._begun: dict[tuple[LoadConnection, int], int] = {}
        self._latencies = array("Q")
        self._failures: dict[str, int] = {}
        self._answered: dict[LoadConnection, int] = {}
        self._begin_next = False
        self._rate = 0.0

    def run(self) -> LoadReport:
        self._connect()
        if self._plan.warm_up:
            self._for(self._plan.warm_up)
        self._latencies, self._failures, self._answered = array("Q"), {}, {}
        before, own_before = self._usage(), process_time_ns()
        taken = self._for(self._plan.seconds)
        cpu, own = _difference(before, self._usage()), process_time_ns() - own_before
        self._disconnect()
        workers = sorted(self._of_worker)
        by_worker = {name: sum(self._answered.get(one, 0) for one in held) for name, held in self._of_worker.items()}
        seen = (self._latencies, self._failures, taken / SECOND_NS, workers, cpu, by_worker)
        return report_of(self._plan, *seen, self._rate, own)

    # --- connections -----------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Opens the same number of connections to each worker.

        The kernel assigns a connection to a worker, so connections to workers that have enough are closed again.
        """
        plan = self._plan
        share = max(1, plan.connections // plan.workers)
        for _ in range(ATTEMPTS_PER_CONNECTION * plan.connections):
            if len(self._connections) == share * plan.workers:
                break
            self._keep(LoadConnection(plan.endpoint, self._ended, plan.trust), share)
        else:
            raise Unreachable(
                f"{plan.endpoint}: connections reach only {sorted(self._of_worker)} of {plan.workers} workers"
            )
        for connection in self._connections:
            self._selector.register(connection, selectors.EVENT_READ, connection)
            self._start(connection, self._first, 0)
        self._until(lambda: not self._begun)

    def _keep(self, connection: LoadConnection, share: int) -> None:
        worker = worker_of(connection.call(WHO, b"", self._plan.metadata))
        held = self._of_worker.setdefault(worker, [])
        if len(held) >= share:
            connection.close()
            return
        held.append(connection)
        self._connections.append(connection)

    def _disconnect(self) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.close()

    def _usage(self) -> list[WorkerUsage] | None:
        """Returns the resource usage of each worker so far."""
        answers = [held[0].call(self._plan.usage_path, b"", ()) for held in self._of_worker.values() if held[0].alive]
        if any(answer.status for answer in answers):
            return None
        return [msgspec.json.decode(answer.message, type=WorkerUsage) for answer in answers]

    # --- calls -----------------------------------------------------------------------------------------------

    def _start(self, connection: LoadConnection, block: bytes, due_ns: int) -> None:
        due_ns = due_ns or perf_counter_ns()
        until_ns = None if self._plan.deadline is None else due_ns + int(self._plan.deadline * SECOND_NS)
        self._begun[connection, connection.begin(block, self._message, until_ns)] = due_ns

    def _end_late(self, deadline: float) -> None:
        """Cancels the calls whose deadline has passed, as a client does. The calls are in the order of deadlines."""
        late = perf_counter_ns() - int(deadline * SECOND_NS)
        while self._begun:
            (connection, stream), due_ns = next(iter(self._begun.items()))
            if due_ns > late:
                return
            del self._begun[connection, stream]
            self._count("DEADLINE_EXCEEDED" if connection.cancel(stream) else "NOT_SENT")

    def _count(self, failure: str) -> None:
        self._failures[failure] = self._failures.get(failure, 0) + 1

    def _ended(self, connection: LoadConnection, stream: int, status: int) -> None:
        begun = self._begun.pop((connection, stream), None)
        if begun is None:
            return
        if status == 0:
            self._latencies.append(perf_counter_ns() - begun)
            self._answered[connection] = self._answered.get(connection, 0) + 1
        else:
            self._count(status_name(status))
        if self._begin_next and self._plan.rate is None and connection.alive:
            self._start(connection, self._block, 0)

    def _for(self, seconds: float) -> int:
        """Makes the load for so many seconds and waits for the last answers; returns the nanoseconds that it took."""
        begun = perf_counter_ns()
        end = begun + int(seconds * SECOND_NS)
        self._begin_next = True
        if self._plan.rate is None:
            self._fill()
            self._until(lambda: perf_counter_ns() >= end)
        else:
            self._pour(begun, end)
            self._rate = len(self._latencies) / seconds
        self._begin_next = False
        self._until(lambda: not self._begun or perf_counter_ns() > end + TAIL_NS)
        self._give_up()
        taken = perf_counter_ns() - begun
        if self._plan.rate is None:
            self._rate = len(self._latencies) * SECOND_NS / taken
        return taken

    def _fill(self) -> None:
        for place in range(self._plan.in_flight):
            connection = self._connections[place % len(self._connections)]
            if connection.alive:
                self._start(connection, self._block, 0)

    def _pour(self, begun: int, end: int) -> None:
        """Runs the open loop: each call starts when it is due, whether or not the one before was answered."""
        assert self._plan.rate is not None
        step, sent = SECOND_NS / self._plan.rate, 0
        while (now := perf_counter_ns()) < end and any(connection.alive for connection in self._connections):
            while (due := begun + int(sent * step)) <= min(now, end) and len(self._begun) < self._plan.in_flight:
                self._start(self._living(sent), self._block, due)
                sent += 1
            wait_ns = (
                begun + sent * step - perf_counter_ns() if len(self._begun) < self._plan.in_flight else FULL_WAIT_NS
            )
            self._turn(max(0.0, wait_ns / SECOND_NS))

    def _living(self, number: int) -> LoadConnection:
        living = [connection for connection in self._connections if connection.alive]
        return living[number % len(living)]

    def _until(self, reached: Callable[[], bool]) -> None:
        while not reached() and any(connection.alive for connection in self._connections):
            self._turn(0.05)

    def _turn(self, seconds: float) -> None:
        """Sends queued bytes, and reads answers for at most `seconds`."""
        if self._plan.deadline is not None:
            self._end_late(self._plan.deadline)
        for connection in self._connections:
            connection.flush()
        if any(connection.waits_to_send for connection in self._connections):
            seconds = min(seconds, 0.001)
        for key, _ in self._selector.select(seconds):
            ready: LoadConnection = key.data
            ready.read()
            if not ready.alive:
                self._selector.unregister(ready)

    def _give_up(self) -> None:
        """Counts the calls that are still not answered as failed."""
        if self._begun:
            self._failures["unanswered"] = self._failures.get("unanswered", 0) + len(self._begun)
            self._begun.clear()


def _difference(before: list[WorkerUsage] | None, after: list[WorkerUsage] | None) -> int | None:
    if before is None or after is None:
        return None
    used = {usage.worker: usage.cpu_ns for usage in before}
    if set(used) != {usage.worker for usage in after}:
        return None
    return sum(usage.cpu_ns - used[usage.worker] for usage in after)


def main() -> None:
    plans = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Plan])
    gc.disable()
    reports = []
    for plan in plans:
        if plan.processor is not None:
            os.sched_setaffinity(0, {plan.processor})
        try:
            reports.append(Load(plan).run())
        except (OSError, Unreachable) as problem:
            sys.exit(f"{plan.name}: {problem}")
    sys.stdout.buffer.write(msgspec.json.encode(reports))


if __name__ == "__main__":
    main()
