"""Rows `connections.*`: the distribution of a load over the workers, by its number of connections.

The kernel assigns each new connection to one of the listening workers, by a hash of the addresses. The value is the
percentage of the calls that the busiest worker answered; the reference is an even share. Each round opens new
connections.
"""

from __future__ import annotations

from typing import Final

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.echo import USAGE
from kms_grpc.bench.effort import ITEM_BYTES, Effort
from kms_grpc.bench.load import LoadReport, Plan, last_processor, require_success, run_plans
from kms_grpc.bench.server import Target, own_server
from kms_grpc.bench.statistics import BenchRow, row_of
from kms_grpc.bench.workload import PreparedCall, Workload

_ROWS: Final = {f"connections.{count}": count for count in (1, 2, 8, 64)}
NAMES: Final = tuple(_ROWS)
WORKERS: Final = 2
IN_FLIGHT: Final = 64
"""Calls in flight over all connections; each connection has at least one."""


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    with own_server(bench_data.fresh("serve"), WORKERS) as target:
        workload = Workload(target)
        plan = _plan(name, target, workload.call("encrypt", ITEM_BYTES), bench_data.effort)
        workload.close()
        reports = [require_success(report) for report in run_plans([plan] * bench_data.effort.rounds)]
    even = 100 / WORKERS
    return [row_of(name, "% of calls", None, [_busiest(report) for report in reports], [even] * len(reports))]


def _busiest(report: LoadReport) -> float:
    return 100 * max(report.by_worker.values()) / report.calls


def _plan(name: str, target: Target, call: PreparedCall, effort: Effort) -> Plan:
    return Plan(
        name=name,
        endpoint=target.endpoint,
        path=call.path,
        message=call.request,
        usage_path=USAGE,
        metadata=target.metadata,
        connections=_ROWS[name],
        in_flight=max(IN_FLIGHT, _ROWS[name]),
        seconds=effort.seconds / 2,
        warm_up=effort.warm_up,
        processor=last_processor(),
    )
