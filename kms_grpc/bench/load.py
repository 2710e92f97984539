"""Plans and reports of the load generator, and its start in a process of its own.

Closed loop: a fixed number of calls is in flight; each answer starts the next call. Open loop: calls start at a fixed
rate, and latency counts from the time when a call was due, so the delay of a server that stalls is counted for all
calls that had to wait.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from kms_grpc.bench.children import BenchFailed, run_module
from kms_grpc.bench.sockets import Trust
from kms_grpc.bench.statistics import percentile

GENERATOR: Final = "kms-grpc's own (one Python process that sends HTTP/2 frames)"


class Plan(msgspec.Struct, frozen=True):
    """A run of calls of one operation."""

    name: str
    endpoint: str
    path: str
    message: bytes
    usage_path: str
    """The method that returns a worker's resource usage (kms_grpc.bench.echo.USAGE)."""
    metadata: list[tuple[str, str]] = []
    trust: Trust | None = None
    """The trusted certificates for TLS; None for plain text."""
    connections: int = 8
    in_flight: int = 64
    """Calls in flight over all connections; in an open loop the maximum."""
    seconds: float = 1.0
    warm_up: float = 0.3
    rate: float | None = None
    """Calls per second over all connections in an open loop; None for a closed loop."""
    deadline: float | None = None
    """The deadline of each call, in seconds from when it is due.

    A call that is still queued at its deadline, because the server limits the streams per connection, counts as
    NOT_SENT in the report.
    """
    workers: int = 1
    """The number of workers. Connections are opened until each worker has the same number of them."""
    processor: int | None = None
    """The processor on which the generator runs; None for any."""


class WorkerUsage(msgspec.Struct, frozen=True):
    """A worker's resource usage by getrusage(RUSAGE_SELF): CPU time of all its threads, and memory."""

    worker: str
    user_ns: int
    system_ns: int
    resident_bytes: int

    @property
    def cpu_ns(self) -> int:
        return self.user_ns + self.system_ns


class LoadReport(msgspec.Struct, frozen=True):
    """The results of a plan. Latencies are in microseconds."""

    name: str
    calls: int
    """Calls that were answered OK."""
    failures: dict[str, int]
    """Calls that failed, by gRPC status."""
    seconds: float
    p50: float
    p99: float
    p999: float
    longest: float
    workers: list[str]
    """The workers that the connections reached."""
    cpu_ns: int | None
    """CPU time of these workers; None if the server does not report it, as only the bench's own does."""
    by_worker: dict[str, int] = {}
    """Calls that were answered OK, by worker."""
    rate: float = 0
    """Calls per second that were answered OK. In an open loop the wait for the last answers is not counted."""
    generator_cpu_ns: int = 0

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def cpu_us(self) -> float | None:
        """The CPU time of the workers per call, in microseconds; None if it is unknown."""
        ended = self.calls + self.failed
        return None if self.cpu_ns is None or not ended else self.cpu_ns / 1000 / ended


def report_of(
    plan: Plan,
    latencies_ns: Sequence[int],
    failures: dict[str, int],
    seconds: float,
    workers: list[str],
    cpu_ns: int | None,
    by_worker: dict[str, int] | None = None,
    rate: float | None = None,
    generator_cpu_ns: int = 0,
) -> LoadReport:
    """Returns a report. `latencies_ns` holds the calls that were answered OK; without any, all latencies are 0."""
    ordered = sorted(latencies_ns) or [0]
    rate = len(latencies_ns) / seconds if rate is None else rate
    p50, p99, p999, longest = (percentile(ordered, share) / 1000 for share in (0.5, 0.99, 0.999, 1))
    results = (plan.name, len(latencies_ns), failures, seconds, p50, p99, p999, longest, workers, cpu_ns)
    return LoadReport(*results, by_worker or {}, rate, generator_cpu_ns)


def run_plans(plans: Sequence[Plan]) -> list[LoadReport]:
    """Runs plans one after the other in a child process, which reads the token from its standard input."""
    printed = run_module("kms_grpc.bench.load_process", standard_input=msgspec.json.encode(plans))
    return msgspec.json.decode(printed, type=list[LoadReport])


def require_success(report: LoadReport) -> LoadReport:
    """Returns the report. Raises BenchFailed if a call failed, since a refused call costs less than an answered one."""
    if report.failed or not report.calls:
        seen = ", ".join(f"{count} × {status}" for status, count in report.failures.items()) or "no call was answered"
        raise BenchFailed(f"{report.name}: {seen}")
    return report


def last_processor() -> int | None:
    """Returns the last processor, on which the generator runs; None if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1] if len(usable) > 1 else None
