"""Refused calls of unknown callers: what they can make the audit log say is bounded, in each record and in all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kms_grpc import errors
from kms_grpc.addresses import network
from kms_grpc.audit.sampling import BURST, PEERS, PER_SECOND, RefusalSampling
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.endpoints.aws_operations import unserved
from kms_grpc.operations.call import FAILURE_RATE, FAILURES
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import NOT_BUILT, UNKNOWN, Operation, Unserved
from tests.operations.service import ALICE, OPERATIONS, Host, Worker

LONGEST_RECORD = 16 * 1024
HUGE = 2 * 1024 * 1024
BACKSLASHES, CONTROLS = "\\" * HUGE, "\x01" * HUGE
STRANGER = Credentials("no such token", None, "made-1", False, "192.0.2.1", "tests/1.0")


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def worker(host: Host, seconds: Seconds) -> Worker:
    made = host.worker()
    made.service = dataclasses.replace(made.service, sampling=RefusalSampling(seconds))
    made.executor = Executor(made.service)
    return made


def log_of(worker: Worker) -> Path:
    return worker._log


def refuse(worker: Worker, credentials: Credentials, times: int = 1, name: str = "Encrypt") -> None:
    for _ in range(times):
        with pytest.raises(errors.UnrecognizedClientException):
            worker.executor.execute(OPERATIONS[name], credentials, b"")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"user_agent": BACKSLASHES}, id="a user agent of 2 MB once wrote 4 MB"),
        pytest.param({"user_agent": CONTROLS}, id="each control character is six bytes of JSON"),
        pytest.param({"region": BACKSLASHES}, id="a region"),
        pytest.param({"request_id": BACKSLASHES, "repeatable": True}, id="a request id"),
    ],
)
@pytest.mark.parametrize("token", [pytest.param(None, id="unknown"), pytest.param(ALICE.token, id="known")])
def test_what_a_caller_sends_does_not_fill_a_record(worker: Worker, sent: dict[str, object], token: str | None) -> None:
    credentials = STRANGER._replace(token=token, **sent)
    before = log_of(worker).stat().st_size
    for run in (worker.executor.execute, lambda *call: worker.executor.refuse(*call[:2], errors.Cancelled("x" * HUGE))):
        try:
            run(OPERATIONS["ListKeys"], credentials, b"")
        except errors.KMSError:
            pass
    assert len(worker.audit()) == 2
    assert log_of(worker).stat().st_size - before < 2 * LONGEST_RECORD


def test_refusals_beyond_a_peers_rate_are_counted_and_not_written(worker: Worker, seconds: Seconds) -> None:
    refuse(worker, STRANGER, BURST + 140)
    written = worker.audit()
    assert len(written) == BURST
    assert all(record["additionalEventData"] is None for record in written)
    assert worker.counted()["Encrypt"] == {"UnrecognizedClientException": BURST + 140}, "all are counted"
    assert worker.service.sampling.not_written == 140, "so are those that are not written"

    refuse(worker, STRANGER._replace(peer="192.0.2.2"))
    assert [record["sourceIPAddress"] for record in worker.audit()] == ["192.0.2.2"], "another peer has its own rate"

    seconds.now += 1 / PER_SECOND
    refuse(worker, STRANGER, 2)
    assert [record["additionalEventData"] for record in worker.audit()] == [{"refusalsNotWritten": 140}]

    seconds.now += BURST / PER_SECOND
    refuse(worker, STRANGER, BURST)
    assert [record["additionalEventData"] for record in worker.audit()][:2] == [{"refusalsNotWritten": 1}, None]


WRONG, RIGHT, NOBODY = "a wrong token", ALICE.token, None


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1"])
def test_wrong_credentials_of_an_address_are_throttled_and_right_ones_never(host: Host, peer: str) -> None:
    """1,000 wrong tokens, and callers of the same address that are right or send none, before, between and after."""
    made = host.worker()
    made.service = dataclasses.replace(
        made.service, failures=RefusalSampling(Seconds(), burst=FAILURES, per_second=FAILURE_RATE)
    )
    made.executor = Executor(made.service)

    def outcome(token: str | None, peer: str = peer) -> str:
        try:
            made.executor.execute(OPERATIONS["ListKeys"], STRANGER._replace(token=token, peer=peer), b"")
        except errors.KMSError as error:
            return error.code
        return "OK"

    assert [outcome(NOBODY) for _ in range(FAILURES + 1)] == ["MissingAuthenticationTokenException"] * (FAILURES + 1)
    outcomes = [(outcome(WRONG), outcome(RIGHT)) for _ in range(1000)]
    throttled = ["UnrecognizedClientException"] * FAILURES + ["ThrottlingException"] * (1000 - FAILURES)
    assert outcomes == [(wrong, "OK") for wrong in throttled]
    assert outcome(NOBODY) == "MissingAuthenticationTokenException"
    assert outcome(WRONG, "192.0.2.1") == "ThrottlingException", "one address in both spellings"
    assert outcome(WRONG, "192.0.2.2") == "UnrecognizedClientException", "another address has its own rate"
    assert made.service.failures.not_written == 1000 - FAILURES + 1


@pytest.mark.parametrize("operation", [OPERATIONS["Encrypt"], unserved("Sign"), unserved("MakeKey")])
def test_refusals_in_the_door_are_sampled_too(worker: Worker, operation: Operation | Unserved) -> None:
    for _ in range(BURST + 40):
        worker.executor.refuse(operation, STRANGER, errors.ThrottlingException("x"))
    assert len(worker.audit()) == BURST
    assert worker.service.sampling.not_written == 40


def test_names_without_a_row_are_counted_under_two_names(worker: Worker) -> None:
    """Else a caller could make as many counters as it likes."""
    for name in ("Sign", "MakeKey", "MakeKey2"):
        worker.executor.refuse(unserved(name), STRANGER, errors.UnknownOperationException(name))
    assert worker.counted() == {NOT_BUILT: {"UnknownOperationException": 1}, UNKNOWN: {"UnknownOperationException": 2}}


def test_refusals_of_known_callers_are_all_written(worker: Worker) -> None:
    for _ in range(BURST + 40):
        worker.refusal("DescribeKey", by=ALICE, key_id="no-such-key")
    assert len(worker.audit()) == BURST + 40


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),  # an IPv4 peer of a socket that takes both
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),  # a host may have all addresses of its network
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_a_peer_is_an_address_or_a_network_of_ipv6(peer: str, name: str) -> None:
    assert network(peer) == name


def test_the_memory_of_peers_is_bounded(seconds: Seconds) -> None:
    sampling = RefusalSampling(seconds)
    peers = [f"10.0.{number // 256}.{number % 256}" for number in range(2 * PEERS)]
    taken = [sampling.take(peer) for peer in peers]
    assert len(sampling._peers) == PEERS
    assert taken.count(None) == PEERS - BURST, "peers beyond the bound share one allowance"

    sampling.take(peers[0])
    seconds.now += BURST / PER_SECOND
    assert sampling.take("192.0.2.1") == 0
    assert len(sampling._peers) == PEERS
    assert "192.0.2.1" in sampling._peers, "it has the place of one whose allowance is whole again"


def test_what_a_forgotten_peer_was_refused_is_still_reported(seconds: Seconds) -> None:
    sampling = RefusalSampling(seconds)
    assert [sampling.take("10.0.0.1") for _ in range(BURST + 5)][-1] is None
    for number in range(1, PEERS):
        sampling.take(f"10.1.{number // 256}.{number % 256}")
    seconds.now += BURST / PER_SECOND
    assert sampling.take("192.0.2.1") == 5
    assert sampling.not_written == 5
