"""h2load of nghttp2 as load generator: faster than the bench's own, but it does not read gRPC statuses.

h2load takes the request, with the token, as command-line arguments. So it is used only with the bench's own server,
whose token is temporary. The number of bytes received shows that the calls were answered and not refused.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.http2 import CallAnswer, LoadConnection, framed
from kms_grpc.bench.load import LoadReport, Plan, WorkerUsage, report_of
from kms_grpc.bench.load_process import ATTEMPTS_PER_CONNECTION, WHO, worker_of

LOG_COLUMNS: Final = 3
"""A line of h2load's log: start (µs since 1970), HTTP status, duration (µs)."""
_done = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed")
_data = re.compile(r"traffic: .* \((\d+)\) data")
_took = re.compile(r"finished in ([0-9.]+)(us|ms|s)")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def is_installed() -> bool:
    return shutil.which("h2load") is not None


def version() -> str:
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=False).stdout.strip()


def run(plan: Plan) -> LoadReport:
    """Runs a closed loop. Raises BenchFailed if calls fail, or if fewer bytes were received than the answers have."""
    asked = _connections_of_workers(plan)
    answer = next(iter(asked.values())).call(plan.path, plan.message, plan.metadata)
    if answer.status:
        raise BenchFailed(f"{plan.name}: gRPC status {answer.status}")
    before = _cpu_ns(asked, plan)
    with tempfile.TemporaryDirectory(prefix="kms-grpc-bench-") as folder:
        printed, latencies = _h2load(plan, Path(folder))
    cpu = _cpu_ns(asked, plan) - before
    calls, seconds = _read(plan, printed, len(framed(answer.message)))
    for connection in asked.values():
        connection.close()
    return report_of(plan, latencies[:calls], {}, seconds, sorted(asked), cpu)


def _connections_of_workers(plan: Plan) -> dict[str, LoadConnection]:
    """Opens one connection to each worker, to ask for its CPU time."""
    found: dict[str, LoadConnection] = {}
    for _ in range(ATTEMPTS_PER_CONNECTION * plan.workers):
        if len(found) == plan.workers:
            return found
        connection = LoadConnection(plan.endpoint, lambda *_: None)
        worker = worker_of(connection.call(WHO, b"", plan.metadata))
        if found.setdefault(worker, connection) is not connection:
            connection.close()
    raise BenchFailed(f"{plan.endpoint}: {plan.workers} workers are wanted, {sorted(found)} answer")


def _cpu_ns(asked: dict[str, LoadConnection], plan: Plan) -> int:
    answers: list[CallAnswer] = [connection.call(plan.usage_path, b"", ()) for connection in asked.values()]
    return sum(msgspec.json.decode(answer.message, type=WorkerUsage).cpu_ns for answer in answers)


def _h2load(plan: Plan, folder: Path) -> tuple[str, list[int]]:
    """Runs h2load; returns its output and the duration of each call in nanoseconds."""
    message, log = folder / "message", folder / "log"
    message.write_bytes(framed(plan.message))
    headers = [("content-type", "application/grpc"), ("te", "trailers"), *plan.metadata]
    shape = [
        "-c",
        str(plan.connections),
        "-m",
        str(max(1, plan.in_flight // plan.connections)),
        "-D",
        str(max(1, round(plan.seconds))),
    ]
    command = [
        "h2load",
        *shape,
        "-d",
        str(message),
        f"--log-file={log}",
        *(f"-H{name}: {value}" for name, value in headers),
    ]
    pinned = [] if plan.processor is None else ["taskset", "-c", str(plan.processor)]
    done = subprocess.run(
        [*pinned, *command, f"http://{plan.endpoint}{plan.path}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchFailed(f"h2load ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    return done.stdout, [int(line.split("\t")[LOG_COLUMNS - 1]) * 1000 for line in log.read_text("ascii").splitlines()]


def _read(plan: Plan, printed: str, answer_bytes: int) -> tuple[int, float]:
    """Returns the calls and the seconds of a run. BenchFailed unless every call was answered."""
    done, data, took = _done.search(printed), _data.search(printed), _took.search(printed)
    if done is None or data is None or took is None:
        raise BenchFailed("the output of h2load could not be parsed")
    calls, failed = int(done[1]), int(done[3])
    if failed or int(data[1]) < calls * answer_bytes:
        raise BenchFailed(
            f"{plan.name}: of {calls} calls {failed} failed; {data[1]} bytes came back, {calls * answer_bytes} were due"
        )
    return calls, float(took[1]) * _SECONDS[took[2]]
