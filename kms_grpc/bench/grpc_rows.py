"""`grpc.*`: CPU of the workers per call, beside an echo of the same message sizes in the same server.

Echo and operation take turns; before and after each run the workers are asked what they have used (getrusage of all
their threads). The load generator keeps to the last processor; the workers run where the kernel puts them, as `serve`
has them.
"""

from __future__ import annotations

from typing import Final

from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.ground import Ground
from kms_grpc.bench.load import LoadReport, Plan, last_processor, require_success, run_plans
from kms_grpc.bench.server import Target, own_server
from kms_grpc.bench.sizes import ITEM_BYTES, Effort
from kms_grpc.bench.statistics import Row, row_of
from kms_grpc.bench.workload import Call, Workload, echo_of
from kms_grpc.endpoints.echo import USAGE

CONNECTIONS: Final = 4
IN_FLIGHT: Final = 64
"""Of each worker."""
_ROWS: Final = {
    "grpc.encrypt.1k": ("encrypt", 1, 1.15),
    "grpc.decrypt.1k": ("decrypt", 1, 1.15),
    "grpc.encrypt.1k.workers2": ("encrypt", 2, 1.25),
}
NAMES: Final = tuple(_ROWS)


def measure(name: str, ground: Ground) -> tuple[list[Row], list[LoadReport]]:
    operation, workers, goal = _ROWS[name]
    with own_server(ground.fresh("serve"), workers) as target:
        workload = Workload(target)
        call = workload.call(operation, ITEM_BYTES)
        echo, ours = (
            _plan("echo", target, echo_of(call), workers, ground.effort),
            _plan(name, target, call, workers, ground.effort),
        )
        reports = [require_success(report) for report in run_plans([echo, ours] * ground.effort.rounds)]
        workload.close()
    bare, measured = [_cpu_us(report) for report in reports[::2]], [_cpu_us(report) for report in reports[1::2]]
    return [row_of(name, "µs CPU/call", goal, measured, bare)], [_middle(reports[::2]), _middle(reports[1::2])]


def _plan(name: str, target: Target, call: Call, workers: int, effort: Effort) -> Plan:
    return Plan(
        name=name,
        endpoint=target.endpoint,
        path=call.path,
        message=call.request,
        usage_path=USAGE,
        metadata=target.metadata,
        connections=CONNECTIONS * workers,
        in_flight=IN_FLIGHT * workers,
        seconds=effort.seconds,
        warm_up=effort.warm_up,
        workers=workers,
        processor=last_processor(),
    )


def _cpu_us(report: LoadReport) -> float:
    if report.cpu_us is None:
        raise BenchFailed(f"{report.name}: the workers did not tell what they used")
    return report.cpu_us


def _middle(reports: list[LoadReport]) -> LoadReport:
    """The run of the median rate, for its latencies."""
    return sorted(reports, key=lambda report: report.rate)[len(reports) // 2]
