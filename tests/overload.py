"""Overload of one worker: five times as many batches of 1 MiB as it can answer, and one connection that floods it.

    .venv/bin/python -m tests.overload [--seconds 10] [--times 5] [--connections 1,8,64]

CI does not run it. The server has one half of the processors, the generator the other half. A closed loop measures the
peak rate. Then an open loop offers a multiple of that rate, with a deadline for each call, while health checks and
single batches run on other connections. It prints its figures; the exit code is 0 if all are within limits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kms_grpc.bench.echo import USAGE
from kms_grpc.bench.load import LoadReport, Plan, run_plans
from kms_grpc.client import KeyManagementClient
from kms_grpc.v1 import envelope_pb2
from kms_grpc.v1 import key_management_pb2 as pb
from tests.endpoints.calls import OWN_CONNECTION, Reply, ask
from tests.served import Served

ITEMS, ITEM_BYTES = 1000, 1024
DEADLINE_SECONDS = 1.0
BATCH = "/kms_grpc.v1.EnvelopeService/EncryptBatch"
PATHS = {
    "batches": BATCH,
    "streams": "/kms_grpc.v1.EnvelopeService/EncryptStream",
    "single calls": "/kms_grpc.v1.KeyManagementService/Encrypt",
}
"""The method of each kind of load. In gRPC's protocol a unary call is a stream of one message."""


class Watch:
    """Makes a call at intervals in a thread, and records the milliseconds that each took."""

    def __init__(self, call: Callable[[], object], pause: float = 0.05) -> None:
        self.taken: list[float] = []
        self.failed = 0
        self._call, self._pause = call, pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.wait(self._pause):
            begun = time.perf_counter()
            try:
                self._call()
            except grpc.RpcError:
                self.failed += 1
            self.taken.append((time.perf_counter() - begun) * 1000)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def share(self, share: float) -> float:
        return sorted(self.taken)[int(share * (len(self.taken) - 1))]


class Scene:
    """A server with one worker, and a key."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.metadata = [("authorization", f"Bearer {server.token}")]
        with KeyManagementClient(server.address, token=server.token) as kms:
            self.key_id = kms.create_key("overload").key_metadata.key_id
        items = [envelope_pb2.EncryptBatchItem(plaintext=bytes(ITEM_BYTES)) for _ in range(ITEMS)]
        request = envelope_pb2.EncryptBatchRequest(key_id=self.key_id, items=items)
        self.batch = request.SerializeToString()
        stream = envelope_pb2.EncryptStreamRequest(key_id=self.key_id, plaintext=bytes(ITEMS * ITEM_BYTES), last=True)
        single = pb.EncryptRequest(key_id=self.key_id, plaintext=bytes(ITEM_BYTES))
        requests = (self.batch, stream.SerializeToString(), single.SerializeToString())
        self.messages = dict(zip(PATHS.values(), requests, strict=True))

    def load(self, path: str = BATCH, **how: Any) -> LoadReport:
        plan = Plan(
            name="overload", endpoint=self.server.address, path=path, usage_path=USAGE,
            message=self.messages[path], metadata=self.metadata, **how,
        )  # fmt: skip
        (report,) = run_plans([plan])
        return report

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.server.address, OWN_CONNECTION)

    def resident_mib(self) -> float:
        with self.channel() as channel:
            answer = channel.unary_unary(USAGE)(b"", timeout=10)
        return float(json.loads(answer)["resident_bytes"]) / (1 << 20)

    def done(self) -> int:
        """Returns the number of batches that the server has encrypted, by its audit log."""
        logs = (self.server.data_dir / "audit").glob("worker-*.jsonl")
        lines = (line for log in logs for line in log.read_bytes().splitlines())
        return sum(b'"EncryptBatch"' in line and b"errorCode" not in line for line in lines)


def per_cpu_second(report: LoadReport) -> float:
    return report.calls * 1e9 / (report.cpu_ns or 1)


def overload(scene: Scene, kind: str, times: float, seconds: float, connections: int) -> dict[str, Any]:
    """Offers `times` the peak: for kind `open` by the rate of calls, for `closed` by the number of calls in flight."""

    def peak() -> LoadReport:
        return scene.load(connections=connections, in_flight=max(64, connections), seconds=seconds / 4)

    before, done, idle = peak(), scene.done(), scene.resident_mib()
    replies: list[Reply] = []
    with scene.channel() as channel, scene.channel() as another:
        health = health_pb2_grpc.HealthStub(channel)
        with (
            Watch(lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=10)) as watch,
            Watch(lambda: replies.append(ask(another, "EncryptBatch", scene.batch, scene.metadata))),
        ):
            if kind == "open":
                how: dict[str, Any] = {"in_flight": 100_000, "rate": times * before.rate, "deadline": DEADLINE_SECONDS}
            else:
                how = {"in_flight": round(times * max(64, connections))}
            report = scene.load(connections=connections, seconds=seconds, warm_up=1, **how)
    done, grown = scene.done() - done, scene.resident_mib()
    after = peak()
    rate = (before.rate + after.rate) / 2
    refused = {(reply.code, reply.reason, reply.retry_info) for reply in replies if reply.code != "OK"}
    return {
        "load, connections": [kind, connections],
        "peak calls/s": round(rate, 1),
        "offered calls/s": round(times * before.rate, 1),
        "answered calls/s": round(report.rate, 1),
        "share of the peak": round(report.rate / rate, 3),
        "the same per second of the worker's CPU": round(
            2 * per_cpu_second(report) / (per_cpu_second(before) + per_cpu_second(after)), 3
        ),
        "answered after ms, median, 99 %": [round(report.p50 / 1000), round(report.p99 / 1000)],
        "not answered": report.failures,
        "refusals that a gRPC client saw": [*refused],
        "CPU of the worker, of the generator, of s": [
            round((report.cpu_ns or 0) / 1e9, 2), round(report.generator_cpu_ns / 1e9, 2), round(report.seconds, 2),
        ],
        "done by the server (warm-up too), answered": [done, report.calls],
        "resident MiB, before and after": [round(idle), round(grown)],
        "health ms, median, 99 %, longest": [round(watch.share(share), 1) for share in (0.5, 0.99, 1.0)],
        "health failed": watch.failed,
    }  # fmt: skip


def fairness(scene: Scene, seconds: float) -> dict[str, Any]:
    """Measures a connection with one call at a time: alone, and beside one with fifty calls in flight.

    Those fifty are of the same kind, or batches, which are the largest.
    """
    figures = {}
    for name, path in PATHS.items():
        for beside in dict.fromkeys((None, name, "batches")):
            with scene.channel() as channel:
                method = channel.stream_stream(path)
                call = lambda: list(method(iter([scene.messages[path]]), metadata=scene.metadata, timeout=10))  # noqa: B023, E731
                with Watch(call, pause=0.01) as watch:
                    if beside is None:
                        time.sleep(seconds)
                    else:
                        scene.load(path=PATHS[beside], connections=1, in_flight=50, seconds=seconds)
            figures[f"{name}, {f'beside 50 {beside}' if beside else 'alone'}: ms, median, 99 %; failed"] = (
                round(watch.share(0.5), 1), round(watch.share(0.99), 1), watch.failed,
            )  # fmt: skip
    return figures


def processors() -> tuple[set[int], set[int]]:
    """Returns the processors of the server and those of the generator."""
    usable = sorted(os.sched_getaffinity(0))
    half = len(usable) // 2
    return (set(usable[:half]), set(usable[half:])) if half else (set(usable), set(usable))


def holds(figures: dict[str, Any]) -> bool:
    refusals = figures["refusals that a gRPC client saw"]
    return bool(
        figures["share of the peak"] >= 0.9
        and figures["health ms, median, 99 %, longest"][2] <= 100
        and set(figures["not answered"]) <= {"RESOURCE_EXHAUSTED", "NOT_SENT"}
        and set(refusals) <= {("RESOURCE_EXHAUSTED", "ThrottlingException", True)}
    )


WITH_YARDSTICKS = (
    sys.executable,
    "-c",
    "import functools, sys\n"
    "from kms_grpc import app\n"
    "from kms_grpc.bench import server_process\n"
    "from kms_grpc.cli.main import main\n"
    "app.serve = functools.partial(app.serve, module=server_process.MODULE)\n"
    "sys.exit(main())",
)
"""`kms-grpc` whose `serve` also serves the bench's yardsticks."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--times", type=float, default=5)
    parser.add_argument("--connections", default="1,8,64")
    parser.add_argument("--config", default="", help="more lines of the configuration file, joined by commas")
    parser.add_argument("--only", choices=["overload", "fairness"])
    chosen = parser.parse_args()
    well = True
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kms.toml"
        config.write_text(chosen.config.replace(",", "\n"))
        options = ["--config", str(config)]
        server = Served(Path(folder) / "data", options, workers=1, regions=["eu-central-1"], command=WITH_YARDSTICKS)
        of_the_server, of_the_generator = processors()
        os.sched_setaffinity(0, of_the_server)
        server.start()
        os.sched_setaffinity(0, of_the_generator)
        try:
            scene = Scene(server)
            for connections in [] if chosen.only == "fairness" else chosen.connections.split(","):
                for kind in ("closed", "open"):
                    figures = overload(scene, kind, chosen.times, chosen.seconds, int(connections))
                    well = well and holds(figures)
                    show(figures)
            if chosen.only != "overload":
                show(fairness(scene, chosen.seconds / 4))
        finally:
            server.close()
    return 0 if well else 1


def show(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        print(f"{name:54} {value}", flush=True)
    print()


if __name__ == "__main__":
    sys.exit(main())
