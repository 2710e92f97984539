"""The load on a server: what is to be sent, what was seen, and the process of its own that does it.

Closed loop: a number of calls is kept under way, each answer lets the next call go. Open loop: calls go at a fixed
rate, and each one's latency counts from when it was due, so a server that stalls pays for the calls it kept waiting.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from kms_grpc.bench.children import BenchFailed, run_module
from kms_grpc.bench.sockets import Trust
from kms_grpc.bench.statistics import percentile

GENERATOR: Final = "kms-grpc's own (one Python process that speaks HTTP/2 frames)"


class Plan(msgspec.Struct, frozen=True):
    """One run of one kind of call."""

    name: str
    endpoint: str
    path: str
    message: bytes
    usage_path: str
    """The method that tells what a worker has used (endpoints.echo.USAGE)."""
    metadata: list[tuple[str, str]] = []
    trust: Trust | None = None
    """Under TLS; None: in clear."""
    connections: int = 8
    in_flight: int = 64
    """Calls under way at once over all connections; in an open loop the most there may be."""
    seconds: float = 1.0
    warm_up: float = 0.3
    rate: float | None = None
    """Calls a second over all connections: an open loop. None: a closed one."""
    deadline: float | None = None
    """Seconds from when a call is due, as a client sets it. What its connection cannot take by then, because the server
    lets no more calls be under way on it, was never sent (NOT_SENT in the report)."""
    workers: int = 1
    """Connections are made until each of so many workers holds the same number."""
    processor: int | None = None
    """The generator keeps to this processor."""


class WorkerUsage(msgspec.Struct, frozen=True):
    """What a worker's own getrusage(RUSAGE_SELF) says: all its threads, user and system."""

    worker: str
    user_ns: int
    system_ns: int
    resident_bytes: int

    @property
    def cpu_ns(self) -> int:
        return self.user_ns + self.system_ns


class LoadReport(msgspec.Struct, frozen=True):
    """What one plan led to. Latencies are in microseconds."""

    name: str
    calls: int
    """Calls that were answered OK."""
    failures: dict[str, int]
    """Calls that were not, by gRPC status."""
    seconds: float
    p50: float
    p99: float
    p999: float
    longest: float
    workers: list[str]
    """Workers that the connections lead to."""
    cpu_ns: int | None
    """CPU time that these workers took, all threads; None where the server doesn't tell (bench = true)."""
    by_worker: dict[str, int] = {}
    """Calls that were answered OK, by worker."""
    rate: float = 0
    """Calls a second that were answered OK; in an open loop while it lasted, without the wait for the last answers."""
    generator_cpu_ns: int = 0

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def cpu_us(self) -> float | None:
        """CPU of the workers per call, in microseconds."""
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
    """`latencies_ns` are of the calls that were answered OK; all zero where there were none."""
    ordered = sorted(latencies_ns) or [0]
    rate = len(latencies_ns) / seconds if rate is None else rate
    p50, p99, p999, longest = (percentile(ordered, share) / 1000 for share in (0.5, 0.99, 0.999, 1))
    told = (plan.name, len(latencies_ns), failures, seconds, p50, p99, p999, longest, workers, cpu_ns)
    return LoadReport(*told, by_worker or {}, rate, generator_cpu_ns)


def run_plans(plans: Sequence[Plan]) -> list[LoadReport]:
    """Runs them one after the other in a process of their own. What is secret goes through its standard input."""
    told = run_module("kms_grpc.bench.load_process", standard_input=msgspec.json.encode(plans))
    return msgspec.json.decode(told, type=list[LoadReport])


def require_success(report: LoadReport) -> LoadReport:
    """BenchFailed where a call failed: what a refused call costs says nothing about the others."""
    if report.failed or not report.calls:
        seen = ", ".join(f"{count} × {status}" for status, count in report.failures.items()) or "no call was answered"
        raise BenchFailed(f"{report.name}: {seen}")
    return report


def last_processor() -> int | None:
    """Where the generator runs: the last of several processors; None where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1] if len(usable) > 1 else None
