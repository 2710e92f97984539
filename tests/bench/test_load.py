"""The load generator against servers that refuse, stall and close connections: its counts are right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.http2 import LoadConnection
from kms_grpc.bench.load import LoadReport, Plan, require_success, run_plans
from tests.bench.refusing_server import STALL_SECONDS, RefusingServer

UNKNOWN_METHOD = "/s/Nobody"


@pytest.fixture
def refusing() -> Iterator[RefusingServer]:
    made = RefusingServer()
    yield made
    made.close()


def load(endpoint: str, method: str, message: bytes = b"x" * 100, **settings: object) -> LoadReport:
    settings = {"connections": 2, "in_flight": 6, "seconds": 0.2, "warm_up": 0.0, **settings}
    (report,) = run_plans([Plan(method, endpoint, f"/s/{method}", message, UNKNOWN_METHOD, **settings)])  # type: ignore[arg-type]
    return report


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        (100, {}),
        (0, {}),  # a message of nothing
        (100, {"in_flight": 1, "connections": 1}),
        (100, {"in_flight": 1, "connections": 4}),  # more connections than calls: some stay idle
        (100, {"metadata": [("authorization", "x" * 5000)], "in_flight": 2}),  # too large for the header table
        (16_384, {}),  # one byte too many for one frame, with the prefix
        (300_000, {"in_flight": 4}),  # larger than a server's initial windows
        (100, {"rate": 200.0}),
        (300_000, {"rate": 50.0}),
    ],
)
def test_every_call_is_counted_once(refusing: RefusingServer, size: int, settings: dict[str, object]) -> None:
    report = load(refusing.endpoint, "Sized", b"m" * size, **settings)
    first_ones = int(settings.get("connections", 2))  # one call on each connection before the run
    assert report.failures == {}
    assert report.calls == refusing.answered["Sized"] - first_ones > 0
    assert 0 < report.p50 <= report.p99 <= report.p999 <= report.longest
    assert report.cpu_us is None, "this server does not report its CPU time"


def test_refused_calls_are_failures_by_their_status(refusing: RefusingServer) -> None:
    report = load(refusing.endpoint, "Third")
    counted = report.calls + report.failed
    assert counted == refusing.answered["Third"] + refusing.refused["Third"] - 2
    assert set(report.failures) == {"RESOURCE_EXHAUSTED"}
    assert abs(report.failed - counted / 3) <= 1


def test_each_call_of_an_unknown_method_fails(refusing: RefusingServer) -> None:
    report = load(refusing.endpoint, "Nobody")
    assert report.calls == 0
    assert set(report.failures) == {"UNIMPLEMENTED"}
    with pytest.raises(BenchFailed, match=r"Nobody: [0-9]+ × UNIMPLEMENTED"):
        require_success(report)


def test_calls_in_flight_on_a_lost_connection_have_failed(refusing: RefusingServer) -> None:
    report = load(refusing.endpoint, "Vanish", seconds=5.0)
    assert report.failed > 0
    assert set(report.failures) <= {"UNAVAILABLE", "CANCELLED"}
    assert report.seconds < 5, "no connection is left"


def test_an_open_loop_counts_latency_from_when_a_call_was_due(refusing: RefusingServer) -> None:
    """The first call takes 0.3 s, and only one call is in flight. So the 25 calls that were due in the first quarter of
    a second wait for 50 ms and more, although the server answers each at once. They are more than half of 41 calls."""
    report = load(refusing.endpoint, "Stall", connections=1, in_flight=1, seconds=0.4, rate=100.0)
    assert report.failures == {}
    assert report.calls <= 41, "100 a second for 0.4 s"
    assert report.longest >= STALL_SECONDS * 1e6
    assert report.p50 >= 50_000


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "unix:/nowhere/at-all"])
def test_an_unreachable_server_is_one_line(endpoint: str) -> None:
    with pytest.raises(BenchFailed, match="load_process: Ok: "):
        load(endpoint, "Ok")


def test_a_connection_takes_calls_one_after_the_other(refusing: RefusingServer) -> None:
    connection = LoadConnection(refusing.endpoint, lambda *_: None)
    for size in (0, 1, 70_000):
        answer = connection.call("/s/Sized", b"m" * size, [("a", "b")])
        assert (answer.status, len(answer.message)) == (0, size + 4)
    assert connection.call("/s/Nobody", b"", ()).status == 12
    connection.close()
