"""Rows `grpc.*`: CPU of the workers per call, beside an echo of the same message sizes in the same server.

Echo and operation take turns. Before and after each run the workers report their CPU time (getrusage of all threads).
The load generator runs on the last processor; the kernel schedules the workers, as under `kms-grpc serve`.
"""

from __future__ import annotations

from typing import Final

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.echo import USAGE
from kms_grpc.bench.effort import ITEM_BYTES, Effort
from kms_grpc.bench.load import LoadReport, Plan, last_processor, require_success, run_plans
from kms_grpc.bench.server import Target, own_server
from kms_grpc.bench.statistics import BenchRow, row_of
from kms_grpc.bench.workload import PreparedCall, Workload, echo_of

CONNECTIONS: Final = 4
IN_FLIGHT: Final = 64
"""Defaults per worker."""
_ROWS: Final = {
    "grpc.encrypt.1k": ("encrypt", 1, 1.15),
    "grpc.decrypt.1k": ("decrypt", 1, 1.15),
    "grpc.encrypt.1k.workers2": ("encrypt", 2, 1.25),
}
NAMES: Final = tuple(_ROWS)


def measure(name: str, bench_data: BenchData) -> tuple[list[BenchRow], list[LoadReport]]:
    operation, workers, goal = _ROWS[name]
    echoes, ours = echo_beside(name, bench_data, operation, ITEM_BYTES, workers=workers)
    bare, measured = [_cpu_us(report) for report in echoes], [_cpu_us(report) for report in ours]
    return [row_of(name, "µs CPU/call", goal, measured, bare)], [_middle(echoes), _middle(ours)]


def echo_beside(
    name: str,
    bench_data: BenchData,
    operation: str,
    size: int,
    *,
    workers: int = 1,
    connections: int = CONNECTIONS,
    in_flight: int = IN_FLIGHT,
) -> tuple[list[LoadReport], list[LoadReport]]:
    """Returns the reports of an echo of the same sizes, and those of the operation. The two take turns.

    `connections` and `in_flight` are per worker. Raises BenchFailed if a call failed.
    """
    with own_server(bench_data.fresh("serve"), workers) as target:
        workload = Workload(target)
        call = workload.call(operation, size)
        plans = [
            _plan(each, target, sent, workers, bench_data.effort, connections, in_flight)
            for each, sent in (("echo", echo_of(call)), (name, call))
        ]
        reports = [require_success(report) for report in run_plans(plans * bench_data.effort.rounds)]
        workload.close()
    return reports[::2], reports[1::2]


def _plan(
    name: str, target: Target, call: PreparedCall, workers: int, effort: Effort, connections: int, in_flight: int
) -> Plan:
    return Plan(
        name=name,
        endpoint=target.endpoint,
        path=call.path,
        message=call.request,
        usage_path=USAGE,
        metadata=target.metadata,
        connections=connections * workers,
        in_flight=in_flight * workers,
        seconds=effort.seconds,
        warm_up=effort.warm_up,
        workers=workers,
        processor=last_processor(),
    )


def _cpu_us(report: LoadReport) -> float:
    if report.cpu_us is None:
        raise BenchFailed(f"{report.name}: the workers did not report their CPU time")
    return report.cpu_us


def _middle(reports: list[LoadReport]) -> LoadReport:
    """Returns the report of the run with the median rate, for its latencies."""
    return sorted(reports, key=lambda report: report.rate)[len(reports) // 2]
