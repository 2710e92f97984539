"""/metrics in Prometheus' text format: calls, durations and gauges of all processes, read from DIR/run.

The supervisor serves it, because it outlives the workers and the keeper and holds no keys.
"""

from __future__ import annotations

import ipaddress
import os
import platform
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kms_grpc.addresses import plain_ip
from kms_grpc.audit.counters import BUCKETS, Counters
from kms_grpc.config import Settings
from kms_grpc.processes.claims import StartRefused
from kms_grpc.processes.gauges import COUNTS, KEEPER, NONE_IS_NEGATIVE, WORKER, Gauges
from kms_grpc.processes.run_folder import RunFolder

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIX: Final = "kms_grpc_"
REQUEST_SECONDS: Final = 10.0
"""How long a peer may be silent within a request."""
BOUNDS: Final = (*(str(2**bucket / 1e6) for bucket in range(BUCKETS - 1)), "+Inf")
"""Upper bounds of the duration buckets in seconds."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The state of a child process."""

    name: str
    up: bool
    """It is ready, answers its beats, and can do its work."""
    restarts: int
    hangs: int
    """How often it was killed because it did not answer."""
    facts: Mapping[str, object]


class ServerCollector(Collector):
    """Collects all metrics from the mapped files at each scrape."""

    def __init__(
        self,
        run: RunFolder,
        settings: Settings,
        operations: Sequence[str],
        states: Callable[[], Iterable[ProcessState]],
    ) -> None:
        self._run = run
        self._workers = range(settings.workers)
        self._has_tls = settings.tls is not None
        self._operations = operations
        self._states = states
        self.map_files()

    def map_files(self) -> None:
        """Maps the files that are in the folder now. Raises OSError."""
        run, operations = self._run, self._operations
        self._counters = {str(w): Counters.open(run.counters(w), operations) for w in self._workers}
        self._gauges = {str(w): Gauges(run.worker_gauges(w), WORKER) for w in self._workers}
        self._keeper = Gauges(run.keeper_gauges, KEEPER)

    def collect(self) -> Iterator[Metric]:
        yield self._build()
        yield from self._processes()
        yield self._calls()
        yield self._durations()
        yield self._warm_path_errors()
        yield from self._worker_gauges()
        for name, value in self._keeper.values().items():
            if value >= 0 or name not in NONE_IS_NEGATIVE:
                yield _family(f"{PREFIX}keeper_{name}", KEEPER[name], name in COUNTS, {(): value})

    def _processes(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(f"{PREFIX}process_up", "1 while the process answers and can work", labels=["process"])
        restarts = CounterMetricFamily(f"{PREFIX}process_restarts", "Restarts of the process", labels=["process"])
        hangs = CounterMetricFamily(
            f"{PREFIX}process_hangs", "Kills of the process because it did not answer", labels=["process"]
        )
        info = GaugeMetricFamily(
            f"{PREFIX}libcrypto_info", "Version of libcrypto that the process uses", labels=["process", "version"]
        )
        for state in self._states():
            up.add_metric([state.name], state.up)
            restarts.add_metric([state.name], state.restarts)
            hangs.add_metric([state.name], state.hangs)
            if "libcrypto" in state.facts:
                info.add_metric([state.name, str(state.facts["libcrypto"])], 1)
        return iter((up, restarts, hangs, info))

    def _calls(self) -> Metric:
        calls = CounterMetricFamily(
            f"{PREFIX}calls", "Calls by outcome: OK or the name of the error", labels=["operation", "outcome", "worker"]
        )
        for worker, counters in self._counters.items():
            for operation in self._operations:
                for outcome, count in counters.calls(operation).items():
                    calls.add_metric([operation, outcome, worker], count)
        return calls

    def _durations(self) -> Metric:
        durations = HistogramMetricFamily(
            f"{PREFIX}call_duration_seconds",
            "Time from the decoding of a call to its response, over all workers",
            labels=["operation"],
        )
        for operation in self._operations:
            counts = [0] * BUCKETS
            total_ns = 0
            for counters in self._counters.values():
                per_bucket, spent_ns = counters.durations(operation)
                counts = [count + more for count, more in zip(counts, per_bucket, strict=True)]
                total_ns += spent_ns
            if any(counts):
                durations.add_metric([operation], _cumulative(counts), total_ns / 1e9)
        return durations

    def _warm_path_errors(self) -> Metric:
        family = CounterMetricFamily(
            f"{PREFIX}warm_path_errors",
            "Unexpected errors on the warm path; the calls were executed without it",
            labels=["worker"],
        )
        for worker, counters in self._counters.items():
            family.add_metric([worker], counters.warm_errors())
        return family

    def _worker_gauges(self) -> Iterator[Metric]:
        values = {worker: gauges.values() for worker, gauges in self._gauges.items()}
        for name, text in WORKER.items():
            if name != "tls_seconds_to_expiry" or self._has_tls:
                of_workers: dict[tuple[str, ...], int] = {(worker,): each[name] for worker, each in values.items()}
                yield _family(f"{PREFIX}worker_{name}", text, name in COUNTS, of_workers, "worker")

    def _build(self) -> Metric:
        """Returns the versions of this program."""
        info = GaugeMetricFamily(f"{PREFIX}build_info", "Versions of the server", labels=["version", "python"])
        info.add_metric([version("kms-grpc"), platform.python_version()], 1)
        return info


def _family(name: str, text: str, counts: bool, values: Mapping[tuple[str, ...], int], *labels: str) -> Metric:
    family = (CounterMetricFamily if counts else GaugeMetricFamily)(name, text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(BOUNDS, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


class _Server(ThreadingMixIn, WSGIServer):
    """Answers peers on loopback and in `networks`. The connections of others are closed unread."""

    daemon_threads = True
    timeout = 0

    def __init__(self, family: int, address: tuple[str, int], networks: Sequence[Network]) -> None:
        self.address_family = family
        self._networks = networks
        super().__init__(address, _SilentHandler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        peer = plain_ip(client_address[0])
        return peer.is_loopback or any(peer in network for network in self._networks)

    def serve_until(self, end: int) -> None:
        """Answers until `end` is readable. Unlike serve_forever it sleeps while nobody asks."""
        while end not in select.select([self.fileno(), end], [], [])[0]:
            self.handle_request()


class _SilentHandler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def serve(listen: str, networks: Sequence[Network], collector: Collector) -> Iterator[str]:
    """Serve HTTP on HOST:PORT from a thread during the block; yields the address, with a free port for port 0.

    Peers on loopback and in `networks` may read it. Raises StartRefused if the address is not available.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    host, _, port = listen.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        server = _Server(family, (str(where[0]), int(where[1])), networks)
    except OSError as error:
        raise StartRefused(f"metrics-listen {listen}: {error.strerror}; give another --metrics-listen") from None
    server.set_app(make_wsgi_app(registry))
    end = os.eventfd(0)
    thread = threading.Thread(target=server.serve_until, args=(end,), daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        os.eventfd_write(end, 1)
        thread.join()
        server.server_close()
        os.close(end)
