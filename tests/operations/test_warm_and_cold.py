"""A call that a Permit answers has the same answer, audit record and counts as one without a Permit.

One worker answers with its Permits, another without; both get the same calls.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kms_grpc import errors
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.operations.operation import Operation
from tests.examples import EXAMPLES
from tests.operations.scenes import NAMES, Scene
from tests.operations.service import ALICE, AWAY, BOB, EVE, HOME, OPERATIONS, Host, Worker

WARM = [name for name in NAMES if OPERATIONS[name].warm]
TAKES_ALIASES = {name: any(getattr(key, "aliases", True) for key in OPERATIONS[name].keys) for name in WARM}


class Two:
    """Two workers on one data directory, and keys that both of them know."""

    def __init__(self, host: Host) -> None:
        self.warm, self.cold = host.worker(), host.worker()
        key, disabled = self.warm.create(alias="alias/key"), self.warm.create()
        foreign, away = self.warm.create(by=EVE), self.warm.create(region=AWAY)
        blobs = [self.warm.encrypt(key.key_id, encryption_context=context) for context in ({}, {"a": "1"})]
        blobs += [self.warm.encrypt(disabled.key_id), self.warm.encrypt(foreign.key_id, by=EVE)]
        blobs += [blobs[0][:-1] + bytes([blobs[0][-1] ^ 1]), blobs[0][:60], blobs[0] + b"\0", b"\xff" * 140]
        self.warm.call("DisableKey", key_id=disabled.key_id)
        names = ["alias/key", key.key_id, key.arn, disabled.arn, foreign.arn, away.arn, "alias/none", "x", ""]
        contexts = [{}, {"a": "1"}, {"a": "2"}, {"k": "v" * 9000}]
        self.values: dict[str, list[Any]] = {
            "key_id": names,
            "destination_key_id": names,
            "source_key_id": [None, *names],
            "encryption_context": contexts,
            "source_encryption_context": contexts,
            "destination_encryption_context": contexts,
            "plaintext": [b"p", b"p" * 4096, b"", b"p" * 4097],
            "ciphertext_blob": blobs,
            "encryption_algorithm": [0, 1, 2, 99],
            "key_spec": [0, 1, 99],
            "number_of_bytes": [16, 1024, 0, 1025],
            "dry_run": [False, True],
            "grant_tokens": [[], ["t"]],
            "limit": [1, 1000, 0, 1001],
            "marker": [None, "none of ours"],
            "include_key_material": [0, 1, 2, 99],
        }
        """Values by field; the first of each is valid."""

    def request(self, draw: st.DrawFn, operation: Operation) -> bytes:
        """A valid request, changed in up to two fields."""
        fields = dict(EXAMPLES[operation.name].fields)
        values = {
            name: self.values.get(name, [fields.get(name)]) for name in known(operation) & {*fields, *self.values}
        }
        fields = {name: good for name, (good, *_) in values.items()}
        for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)):
            fields[name] = draw(st.sampled_from(values[name]))
        if not TAKES_ALIASES[operation.name] and fields["key_id"] == "alias/key":
            fields["key_id"] = self.values["key_id"][1]
        sent = {name: value for name, value in fields.items() if value is not None}
        raw = operation.request(**sent).SerializeToString()
        return raw + draw(st.sampled_from([b"", b"", b"", b"", b"", b"", b"\xf8\x06\x01", b"\xff"]))


def known(operation: Operation) -> set[str]:
    return set(operation.request.DESCRIPTOR.fields_by_name)


@pytest.fixture(scope="module")
def two(shared_host: Host) -> Two:
    return Two(shared_host)


def by_permit(two: Two, operation: Operation, credentials: Credentials, raw: bytes) -> bytes:
    """Answers a call as a door does: with a Permit if there is one."""
    answer = two.warm.executor.warm(operation, credentials, raw)
    return two.warm.executor.execute(operation, credentials, raw) if answer is None else answer


def outcome(ask: Any, operation: Operation) -> Any:
    """Returns the error, or the answer with random bytes replaced by zeros."""
    try:
        answer = operation.response().FromString(ask())
    except errors.KMSError as error:
        return error.code, error.text, error.key, error.state
    for field in ("ciphertext_blob", "plaintext"):
        if operation.name != "Decrypt" and field in answer.DESCRIPTOR.fields_by_name:
            setattr(answer, field, bytes(len(getattr(answer, field))))
    return answer


def left_behind(worker: Worker) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    records = worker.audit()
    for record in records:
        record.pop("eventID")
    return records, worker.counted()


@pytest.mark.parametrize("name", WARM)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_warm_is_cold(two: Two, name: str, data: st.DataObject) -> None:
    operation = OPERATIONS[name]
    raw = data.draw(st.composite(lambda draw: two.request(draw, operation))())
    token = data.draw(st.sampled_from([ALICE.token] * 3 + [BOB.token, EVE.token, "wrong", None]))
    region = data.draw(st.sampled_from([None] * 3 + [HOME, AWAY, "nowhere"]))
    request_id = data.draw(st.sampled_from(["made", "made", "bad id", "x" * 129]))
    credentials = Credentials(
        token, region, request_id, data.draw(st.booleans()) or request_id != "made", "peer", "agent"
    )
    for worker in (two.warm, two.cold):
        worker.service.sampling.__init__()  # type: ignore[misc]  # each example has a whole allowance of refusals
    left_behind(two.warm), left_behind(two.cold)
    before = two.warm.counted(), two.cold.counted()
    for _ in range(2):
        warm = outcome(lambda: by_permit(two, operation, credentials, raw), operation)
        cold = outcome(lambda: two.cold.executor.execute(operation, credentials, raw), operation)
        assert warm == cold
        warm_records, warm_counts = left_behind(two.warm)
        cold_records, cold_counts = left_behind(two.cold)
        assert warm_records == cold_records
        assert len(warm_records) == 1
        assert added(before[0], warm_counts) == added(before[1], cold_counts)


def added(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    """Returns the number of calls counted since, by operation and outcome."""
    return {
        (name, code): count - before.get(name, {}).get(code, 0)
        for name, codes in after.items()
        for code, count in codes.items()
        if count != before.get(name, {}).get(code, 0)
    }


@pytest.mark.parametrize("name", WARM)
def test_a_permit_answers_the_valid_request(two: Two, name: str) -> None:
    """Otherwise the test above would show nothing."""
    scene = Scene(two.warm, name)
    scene.call()
    assert two.warm.is_warm(name, **scene.fields)
