"""Errors on the warm path are counted, and the core and the selectors find the same Permit for a request."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from kms_grpc.crypto import raw_request
from kms_grpc.endpoints.aws_json import AwsJson
from kms_grpc.operations.admission import checks
from kms_grpc.operations.contract import wire
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import compiled
from kms_grpc.v1 import envelope_pb2
from kms_grpc.v1 import key_management_pb2 as pb
from tests.operations.service import OPERATIONS, STREAMS, Worker


class Fault(Exception):
    """An unexpected error."""


def broken(*args: Any) -> Any:
    raise Fault


@pytest.fixture
def described(worker: Worker) -> bytes:
    """A DescribeKey request that a Permit admits."""
    raw = pb.DescribeKeyRequest(key_id=worker.create().key_id).SerializeToString()
    worker.executor.execute(OPERATIONS["DescribeKey"], worker.credentials(), raw)
    return raw


BROKEN = compiled(dataclasses.replace(OPERATIONS["DescribeKey"].kind, handler=broken))  # type: ignore[call-arg]


def test_an_unexpected_error_on_the_warm_path_is_raised_in_tests(worker: Worker, described: bytes) -> None:
    with pytest.raises(Fault):
        worker.executor.warm(BROKEN, worker.credentials(), described)


def test_a_server_counts_it_and_logs_the_first(
    worker: Worker, described: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    executor = Executor(worker.service)
    executor.execute(OPERATIONS["DescribeKey"], worker.credentials(), described)
    with caplog.at_level(logging.ERROR, "kms_grpc"):
        for _ in range(3):
            assert executor.warm(BROKEN, worker.credentials(), described) is None
    assert worker.service.counters.warm_errors() == 3
    assert [record.getMessage() for record in caplog.records] == ["DescribeKey failed on the warm path"]


def test_a_call_that_must_be_admitted_is_no_error(worker: Worker) -> None:
    raw = pb.DescribeKeyRequest(key_id="none").SerializeToString()
    assert worker.executor.warm(OPERATIONS["DescribeKey"], worker.credentials(), raw) is None
    assert worker.executor.warm(OPERATIONS["EncryptBatch"], worker.credentials(), b"\xff") is None
    assert worker.service.counters.warm_errors() == 0


REQUESTS = [
    ("Encrypt", raw_request.ENCRYPT, pb.EncryptRequest(key_id="alias/ä", plaintext=b"p")),
    ("Decrypt", raw_request.DECRYPT, pb.DecryptRequest(ciphertext_blob=bytes(range(200)))),
    ("Decrypt", raw_request.DECRYPT, pb.DecryptRequest(ciphertext_blob=bytes(200), key_id="alias/a")),
]


@pytest.mark.parametrize(("name", "core_operation", "request_"), REQUESTS)
def test_core_and_selector_find_a_permit_by_the_same_bytes(name: str, core_operation: int, request_: Any) -> None:
    scanned = raw_request.scan(core_operation, request_.SerializeToString(), 65_663)
    assert scanned is not None
    assert scanned[0] == OPERATIONS[name].identity(request_)


@pytest.mark.parametrize("name", ["Encrypt", "Decrypt"])
def test_a_first_call_is_parsed_once_and_chooses_its_material_once(
    worker: Worker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt to answer it from a Permit parses nothing, and chooses nothing."""
    key_id, done = worker.create().key_id, list[str]()
    raw = pb.EncryptRequest(key_id=key_id, plaintext=b"p").SerializeToString()
    if name == "Decrypt":
        blob = worker.call("Encrypt", key_id=key_id, plaintext=b"p").ciphertext_blob
        raw = pb.DecryptRequest(ciphertext_blob=blob).SerializeToString()
    kind: Any = OPERATIONS[name].kind

    def noted(what: str, function: Any) -> Any:
        return lambda *more: (done.append(what), function(*more))[1]

    operation = compiled(dataclasses.replace(kind, material=noted("material", kind.material)))
    monkeypatch.setattr(wire, "decode", noted("parsed", wire.decode))
    monkeypatch.setattr(checks, "admit", noted("admitted", checks.admit))
    assert worker.executor.warm(operation, worker.credentials(), raw) is None
    assert done == []
    worker.executor.execute(operation, worker.credentials(), raw)
    assert done == ["parsed", "admitted", "material"]


def test_a_permit_serves_both_encodings(worker: Worker) -> None:
    key_id, operation, json = worker.create().key_id, OPERATIONS["Encrypt"], AwsJson()
    raw = pb.EncryptRequest(key_id=key_id, plaintext=b"p").SerializeToString()
    body = b'{"KeyId": "%s", "Plaintext": "cA=="}' % key_id.encode()
    worker.executor.execute(operation, worker.credentials(), raw)
    assert worker.executor.warm(operation, worker.credentials(), body, json) is not None
    assert worker.executor.warm(operation, worker.credentials(), raw) is not None


def test_asking_whether_a_stream_names_its_key_changes_nothing() -> None:
    (selector,) = STREAMS["DecryptStream"].keys
    request = envelope_pb2.DecryptStreamRequest(ciphertext=b"\x02\x04", encryption_context={"a": "b"})
    before = request.SerializeToString(deterministic=True)
    assert not selector.is_ready(request)  # type: ignore[attr-defined]
    assert request.SerializeToString(deterministic=True) == before
