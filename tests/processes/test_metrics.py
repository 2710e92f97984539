"""The metrics that /metrics derives from the counters and gauges of all processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kms_grpc.audit.counters import Counters
from kms_grpc.config import from_values
from kms_grpc.processes.gauges import WORKER, Gauges
from kms_grpc.processes.metrics import ProcessState, ServerCollector
from kms_grpc.processes.run_folder import RunFolder

OPERATIONS = ("Encrypt", "Decrypt", "ListKeys")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.make(from_values({"data_dir": str(tmp_path), "regions": ["eu-central-1"], "workers": 2}), OPERATIONS)
    return run


def metrics(run: RunFolder) -> dict[str, float]:
    """Returns the samples of one scrape by name and labels."""
    registry = CollectorRegistry()
    states = [
        ProcessState("worker-0", True, 0, 0, {"libcrypto": "OpenSSL 3"}),
        ProcessState("worker-1", False, 3, 2, {}),
    ]
    registry.register(ServerCollector(run, 2, OPERATIONS, lambda: states))
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_calls_of_each_worker_by_outcome(run: RunFolder) -> None:
    for worker, outcome, times in ((0, "OK", 3), (1, "OK", 1), (1, "DisabledException", 2)):
        counters = Counters.open(run.counters(worker), OPERATIONS)
        for _ in range(times):
            counters.count("Encrypt", outcome, 5000)
    calls = {name: value for name, value in metrics(run).items() if name.startswith("kms_grpc_calls_total")}
    assert calls == {
        'kms_grpc_calls_total{operation="Encrypt",outcome="OK",worker="0"}': 3,
        'kms_grpc_calls_total{operation="Encrypt",outcome="OK",worker="1"}': 1,
        'kms_grpc_calls_total{operation="Encrypt",outcome="DisabledException",worker="1"}': 2,
    }


@pytest.mark.parametrize(
    ("duration_ns", "bound"),
    [
        (0, "1e-06"),
        (999, "1e-06"),
        (1_000, "2e-06"),  # a bucket excludes its upper bound
        (1_999, "2e-06"),
        (2_000, "4e-06"),
        (1_000_000, "0.001024"),
        (4_194_303_999, "4.194304"),
        (4_194_304_000, "+Inf"),
        (3_600_000_000_000, "+Inf"),
    ],
)
def test_durations_of_all_workers_together(run: RunFolder, duration_ns: int, bound: str) -> None:
    for worker in (0, 1):
        Counters.open(run.counters(worker), OPERATIONS).count("Decrypt", "OK", duration_ns)
    seen = metrics(run)
    buckets = [
        (name, value) for name, value in seen.items() if name.startswith("kms_grpc_call_duration_seconds_bucket")
    ]
    assert {name.split('operation="')[1] for name, _ in buckets} == {'Decrypt"}'}, "only operations that were called"
    first = next(name for name, value in buckets if value)
    assert f'le="{bound}"' in first
    assert [value for _, value in buckets] == sorted(value for _, value in buckets), "cumulative"
    assert buckets[-1][1] == seen['kms_grpc_call_duration_seconds_count{operation="Decrypt"}'] == 2
    assert seen['kms_grpc_call_duration_seconds_sum{operation="Decrypt"}'] == pytest.approx(2 * duration_ns / 1e9)


def test_processes_and_gauges(run: RunFolder) -> None:
    Gauges(run.worker_gauges(1), WORKER).put({"audit_dropped": 11, "audit_blocked": 1})
    seen = metrics(run)
    assert seen['kms_grpc_process_up{process="worker-0"}'] == 1
    assert seen['kms_grpc_process_up{process="worker-1"}'] == 0
    assert seen['kms_grpc_process_restarts_total{process="worker-1"}'] == 3
    assert seen['kms_grpc_worker_audit_dropped{worker="1"}'] == 11
    assert seen['kms_grpc_worker_audit_blocked{worker="1"}'] == 1
    assert seen['kms_grpc_worker_audit_dropped{worker="0"}'] == 0
    with pytest.raises(KeyError):
        Gauges(run.worker_gauges(1), WORKER).put({"no_such": 1})


def test_errors_on_the_warm_path_by_worker(run: RunFolder) -> None:
    Counters.open(run.counters(1), OPERATIONS).count_warm_error("Decrypt")
    found = metrics(run)
    assert found['kms_grpc_warm_path_errors_total{worker="0"}'] == 0
    assert found['kms_grpc_warm_path_errors_total{worker="1"}'] == 1
