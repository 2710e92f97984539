"""One audit record per call, whatever came of it, with CloudTrail's members and without a secret.

Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kms_grpc import errors
from kms_grpc.operations.executor import Executor
from kms_grpc.v1 import keys_pb2
from tests.canary.forms import forms
from tests.operations.external_keys import external, package, provide_pair, wanted
from tests.operations.service import ALICE, AWAY, BOB, EVE, HOME, OPERATIONS, Host, Worker, refusal_of

MEMBERS = {
    "eventVersion",
    "userIdentity",
    "eventTime",
    "eventSource",
    "eventName",
    "awsRegion",
    "sourceIPAddress",
    "userAgent",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "requestID",
    "eventID",
    "readOnly",
    "resources",
    "eventType",
    "managementEvent",
    "eventCategory",
    "recipientAccountId",
}
WRITES = {row.name for row in OPERATIONS.values() if row.writes}
MATERIAL = b"thirty-two bytes of key material"
PLAINTEXT = b"attack at dawn, bring the \x00\xff grapes"


def record_of(worker: Worker, name: str, /, **fields: Any) -> dict[str, Any]:
    """The one record that a call leaves, in the log or in the outbox."""
    worker.audit(), [worker.outbox(region) for region in (HOME, AWAY)]
    try:
        worker.call(name, **fields)
        done = True
    except errors.KMSError:
        done = False
    logged, committed = worker.audit(), [record for region in (HOME, AWAY) for record in worker.outbox(region)]
    assert len(logged) + len(committed) == 1
    assert bool(committed) is (done and name in WRITES), "a write's record is committed with it; all else is in the log"
    (record,) = logged + committed
    assert isinstance(record, dict)
    return record


class Calls:
    """A good request for each operation."""

    def __init__(self, worker: Worker) -> None:
        key = worker.create()
        names = (f"alias/a-{key.key_id}-{i}" for i in itertools.count())
        name = next(names)
        worker.call("CreateAlias", alias_name=name, target_key_id=key.key_id)
        blob = worker.encrypt(key.key_id, PLAINTEXT, encryption_context={"dept": "it"})
        used = {"key_id": key.arn}
        context = {"encryption_context": {"dept": "it"}}
        moved = {"source_encryption_context": {"dept": "it"}, "destination_encryption_context": {"to": "x"}}
        self.key = key
        self.good: dict[str, dict[str, Any]] = {
            "CreateKey": {"description": "audited"},
            "DescribeKey": used,
            "ListKeys": {"limit": 1},
            "EnableKey": used,
            "DisableKey": {"key_id": worker.create().key_id},
            "UpdateKeyDescription": used | {"description": "new words"},
            "CreateAlias": {"alias_name": next(names), "target_key_id": key.key_id},
            "UpdateAlias": {"alias_name": name, "target_key_id": key.key_id},
            "DeleteAlias": {"alias_name": name},
            "ListAliases": used,
            "Encrypt": used | context | {"plaintext": PLAINTEXT},
            "Decrypt": context | {"ciphertext_blob": blob},
            "ReEncrypt": moved | {"ciphertext_blob": blob, "destination_key_id": key.key_id},
            "GenerateDataKey": used | {"key_spec": keys_pb2.DATA_KEY_SPEC_AES_256},
            "GenerateDataKeyWithoutPlaintext": used | {"number_of_bytes": 24},
            "GenerateRandom": {"number_of_bytes": 16},
            "GetLimits": {},
        }
        self.good |= self._of_a_life(worker, used) | self._of_batches(used, moved, blob)

    @staticmethod
    def _of_batches(used: dict[str, Any], moved: dict[str, Any], blob: bytes) -> dict[str, dict[str, Any]]:
        context, blobs = {"encryption_context": {"dept": "it"}}, {"items": [{"ciphertext_blob": blob}] * 2}
        return {
            "EncryptBatch": used | context | {"items": [{"plaintext": PLAINTEXT}] * 3},
            "DecryptBatch": context | blobs,
            "ReEncryptBatch": moved | {"destination_key_id": used["key_id"]} | blobs,
            "GenerateDataKeyBatch": used | {"key_spec": keys_pb2.DATA_KEY_SPEC_AES_256, "items": [{"count": 2}]},
        }

    @staticmethod
    def _of_a_life(worker: Worker, used: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What leads nowhere back has a key of its own."""
        waiting = external(worker).key_id
        doomed = worker.create().key_id
        worker.call("ScheduleKeyDeletion", key_id=doomed)
        arrived = package(worker, waiting, MATERIAL)
        provide_pair(worker.shard())
        return {
            "ScheduleKeyDeletion": {"key_id": worker.create().key_id, "pending_window_in_days": 7},
            "CancelKeyDeletion": {"key_id": doomed},
            "TagResource": used | {"tags": [{"tag_key": "team", "tag_value": "payroll"}]},
            "UntagResource": used | {"tag_keys": ["team"]},
            "ListResourceTags": used,
            "EnableKeyRotation": used | {"rotation_period_in_days": 90},
            "DisableKeyRotation": used,
            "GetKeyRotationStatus": used,
            "RotateKeyOnDemand": {"key_id": worker.create().key_id},
            "ListKeyRotations": used,
            "GetParametersForImport": wanted(waiting),
            "ImportKeyMaterial": arrived,
            "DeleteImportedKeyMaterial": {"key_id": external(worker).key_id},
        }


PARAMETERS: dict[str, Any] = {
    "CreateKey": {"description": "audited"},
    "DescribeKey": {"keyId": "{arn}"},
    "ListKeys": {"limit": 1},
    "EnableKey": {"keyId": "{arn}"},
    "DisableKey": {"keyId": "{sent}"},
    "UpdateKeyDescription": {"keyId": "{arn}", "description": "new words"},
    "CreateAlias": {"aliasName": "{sent}", "targetKeyId": "{id}"},
    "UpdateAlias": {"aliasName": "{sent}", "targetKeyId": "{id}"},
    "DeleteAlias": {"aliasName": "{sent}"},
    "ListAliases": {"keyId": "{arn}"},
    "Encrypt": {"keyId": "{arn}", "encryptionContext": {"dept": "it"}, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
    "Decrypt": {"encryptionContext": {"dept": "it"}, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
    "ReEncrypt": {
        "sourceEncryptionContext": {"dept": "it"},
        "destinationEncryptionContext": {"to": "x"},
        "destinationKeyId": "{id}",
        "sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    },
    "GenerateDataKey": {"keyId": "{arn}", "keySpec": "AES_256"},
    "GenerateDataKeyWithoutPlaintext": {"keyId": "{arn}", "numberOfBytes": 24},
    "GenerateRandom": {"numberOfBytes": 16},
    "GetLimits": None,
    "ScheduleKeyDeletion": {"keyId": "{sent}", "pendingWindowInDays": 7},
    "CancelKeyDeletion": {"keyId": "{sent}"},
    "TagResource": {"keyId": "{arn}", "tags": [{"tagKey": "team", "tagValue": "payroll"}]},
    "UntagResource": {"keyId": "{arn}", "tagKeys": ["team"]},
    "ListResourceTags": {"keyId": "{arn}"},
    "EnableKeyRotation": {"keyId": "{arn}", "rotationPeriodInDays": 90},
    "DisableKeyRotation": {"keyId": "{arn}"},
    "GetKeyRotationStatus": {"keyId": "{arn}"},
    "RotateKeyOnDemand": {"keyId": "{sent}"},
    "ListKeyRotations": {"keyId": "{arn}"},
    "GetParametersForImport": {
        "keyId": "{sent}",
        "wrappingAlgorithm": "RSAES_OAEP_SHA_256",
        "wrappingKeySpec": "RSA_2048",
    },
    "ImportKeyMaterial": {"keyId": "{sent}", "expirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"},
    "DeleteImportedKeyMaterial": {"keyId": "{sent}"},
    "EncryptBatch": {"keyId": "{arn}", "encryptionContext": {"dept": "it"}, "items": 3},
    "DecryptBatch": {"encryptionContext": {"dept": "it"}, "items": 2},
    "ReEncryptBatch": {
        "sourceEncryptionContext": {"dept": "it"},
        "destinationEncryptionContext": {"to": "x"},
        "destinationKeyId": "{arn}",
        "items": 2,
    },
    "GenerateDataKeyBatch": {"keyId": "{arn}", "keySpec": "AES_256", "items": 1},
}
ONCE = {"CreateAlias", "DeleteAlias", "ScheduleKeyDeletion", "CancelKeyDeletion", "ImportKeyMaterial"}
WITH_MATERIAL = {"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}
WITH_MATERIAL |= {row.name for row in OPERATIONS.values() if row.batches}
WITHOUT_KEYS = {"ListKeys", "GenerateRandom", "GetLimits"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_record_says(shared: Worker, name: str) -> None:
    calls = Calls(shared)
    sent = calls.good[name]
    record = record_of(shared, name, request_id=f"call-{name}", **sent)
    assert set(record) == MEMBERS
    assert (record["eventName"], record["eventSource"], record["awsRegion"]) == (name, "kms.amazonaws.com", HOME)
    assert (record["eventType"], record["eventCategory"], record["managementEvent"]) == (
        "AwsApiCall",
        "Management",
        True,
    )
    assert record["readOnly"] is (name not in WRITES)
    assert record["requestID"] == f"call-{name}"
    assert record["eventTime"] == "2027-01-15T08:00:00Z"
    assert record["userAgent"] == "tests/1.0"
    assert record["responseElements"] is None
    identity = {"type": "AssumedRole", "principalId": "alice", "arn": ALICE.arn, "accountId": ALICE.account}
    assert record["userIdentity"] == identity
    assert record["recipientAccountId"] == ALICE.account
    expected = PARAMETERS[name]
    if expected is not None:
        words = {"{arn}": calls.key.arn, "{id}": calls.key.key_id, "{sent}": sent.get("alias_name", sent.get("key_id"))}
        expected = {member: words.get(str(value), value) for member, value in expected.items()}
    assert record["requestParameters"] == expected
    material = {"keyMaterialId": calls.key.current_key_material_id} if name in WITH_MATERIAL else None
    if name == "ImportKeyMaterial":
        told = shared.call("DescribeKey", key_id=sent["key_id"]).key_metadata
        material = {"keyMaterialId": told.current_key_material_id}
    if OPERATIONS[name].batches:
        counted = {"keyId": calls.key.arn, **(material or {}), "items": len(sent["items"])}
        if name == "GenerateDataKeyBatch":
            counted["dataKeys"] = sum(item["count"] for item in sent["items"])
        material = {"keys": [counted], "errors": []}
    assert record["additionalEventData"] == material
    if name in WITHOUT_KEYS:
        assert record["resources"] == []
    else:
        assert all(
            entry["type"] == "AWS::KMS::Key" and entry["accountId"] == ALICE.account for entry in record["resources"]
        )
        assert len(record["resources"]) == (2 if name in ("ReEncrypt", "UpdateAlias") else 1)
        assert all(f":{HOME}:" in entry["ARN"] for entry in record["resources"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_failures_are_recorded_as_they_were_told(shared: Worker, name: str) -> None:
    """No token, a wrong one, a bad region, bytes that are no message: each with the error's code and text."""
    good = Calls(shared).good[name]
    raw = OPERATIONS[name].request(**good).SerializeToString()
    for by, region, sent in ((None, None, raw), ("wrong", None, raw), (ALICE, "mars-1", raw), (ALICE, None, b"\xff")):
        shared.audit()
        credentials = shared.credentials(by, region)
        told = refusal_of(
            lambda sent=sent, credentials=credentials: shared.executor.execute(OPERATIONS[name], credentials, sent)
        )
        (record,) = shared.audit()
        assert set(record) == MEMBERS | {"errorCode", "errorMessage"}
        assert (record["errorCode"], record["errorMessage"]) == (told.code, told.text)
        assert record["userIdentity"]["type"] == ("AssumedRole" if by is ALICE else "Unknown")
        assert record["awsRegion"] == (region or HOME)
        assert record["requestParameters"] is None


def test_denied_calls_are_recorded_with_who_asked_for_what(shared: Worker) -> None:
    key = shared.create()
    record = record_of(shared, "Encrypt", by=EVE, key_id=key.arn, plaintext=PLAINTEXT)
    assert record["errorCode"] == "AccessDeniedException"
    assert record["userIdentity"]["arn"] == EVE.arn
    assert record["recipientAccountId"] == EVE.account
    assert record["requestParameters"]["keyId"] == key.arn


def test_a_record_names_the_key_as_it_was_sent(shared: Worker) -> None:
    """By alias, warm and cold; the ARN stands in resources."""
    key = shared.create(alias="alias/audited")
    for _ in range(2):
        record = record_of(shared, "Encrypt", key_id="alias/audited", plaintext=PLAINTEXT)
        assert record["requestParameters"]["keyId"] == "alias/audited"
        assert record["resources"] == [{"accountId": ALICE.account, "type": "AWS::KMS::Key", "ARN": key.arn}]


LARGE: list[tuple[str, dict[str, Any]]] = [
    ("DescribeKey", {"key_id": "k" * 4_000_000}),
    ("Encrypt", {"key_id": "alias/a", "plaintext": b"p", "encryption_context": {"k": "v" * 4_000_000}}),
    ("UntagResource", {"key_id": "alias/a", "tag_keys": ["t"] * 1_000_000}),
]


@pytest.mark.parametrize(("name", "fields"), LARGE)
def test_what_no_call_needs_does_not_fill_the_log(shared: Worker, name: str, fields: dict[str, Any]) -> None:
    """A message of 4 MiB that is refused leaves a record of its own all the same."""
    record = record_of(shared, name, **fields)
    assert record["errorCode"] == "ValidationException"
    assert record["requestParameters"]["omitted"] is True
    assert len(json.dumps(record)) < 4096


def test_re_encrypt_names_both_keys(shared: Worker) -> None:
    source, destination = shared.create(), shared.create()
    blob = shared.encrypt(source.key_id)
    record = record_of(shared, "ReEncrypt", ciphertext_blob=blob, destination_key_id=destination.arn)
    assert [entry["ARN"] for entry in record["resources"]] == [source.arn, destination.arn]
    assert record["additionalEventData"] == {"keyMaterialId": destination.current_key_material_id}


def test_dry_runs_are_recorded(shared: Worker) -> None:
    key = shared.create()
    record = record_of(shared, "Encrypt", key_id=key.key_id, plaintext=PLAINTEXT, dry_run=True)
    assert record["errorCode"] == "DryRunOperationException"
    assert record["requestParameters"]["dryRun"] is True


def test_no_two_records_have_the_same_id(shared: Worker) -> None:
    shared.audit()
    key = shared.create()
    for _ in range(200):
        shared.encrypt(key.key_id)
    records = shared.audit()
    assert len(records) == 200
    assert len({record["eventID"] for record in records}) == 200
    assert len({record["requestID"] for record in records}) == 200


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_record_holds_a_secret(shared: Worker, name: str) -> None:
    """Whether the call is done, denied, refused or a dry run: no plaintext, no ciphertext, no token."""
    calls = Calls(shared)
    shared.audit(), shared.outbox()
    secrets = [PLAINTEXT, MATERIAL, ALICE.token.encode(), EVE.token.encode()]
    answer = shared.call(name, **calls.good[name])
    told = ("plaintext", "ciphertext_blob", "import_token")
    secrets += [value for field in told if (value := getattr(answer, field, b""))]
    secrets += [calls.good[name].get("ciphertext_blob", PLAINTEXT)]
    secrets += [calls.good[name].get(field, PLAINTEXT) for field in ("import_token", "encrypted_key_material")]
    if name == "GetParametersForImport":
        provide_pair(shared.shard())
    if name not in ONCE:
        shared.call(name, **calls.good[name])
    refusal_of(lambda: shared.executor.execute(OPERATIONS[name], shared.credentials(), PLAINTEXT + b"\xff"))
    refusal_of(lambda: shared.executor.execute(OPERATIONS[name], shared.credentials(EVE, "nowhere"), b""))
    if "plaintext" in calls.good[name]:
        refusal_of(lambda: shared.call(name, **(calls.good[name] | {"plaintext": PLAINTEXT * 500})))
    if OPERATIONS[name].dry_run:
        refusal_of(lambda: shared.call(name, **calls.good[name], dry_run=True))
        refusal_of(lambda: shared.call(name, **calls.good[name], grant_tokens=[PLAINTEXT.decode("latin-1")]))
    written = json.dumps([shared.audit(), shared.outbox()], ensure_ascii=False).encode()
    assert written.count(b"eventID") >= 3
    for secret in secrets:
        assert not [form for form in forms(secret) if form in written], secret


def test_a_write_and_its_record_are_one_commit(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails takes the record of success with it, and leaves one of failure."""
    worker = host.worker()
    registry = worker.shard().registry
    broken = errors.DependencyTimeoutException("the disk is gone")
    original = type(registry).writing

    def breaking(self: Any) -> Any:
        @contextmanager
        def inside() -> Iterator[Any]:
            with original(self) as transaction:
                yield transaction
                raise broken

        return inside()

    monkeypatch.setattr(type(registry), "writing", breaking)
    assert worker.refusal("CreateKey").code == "DependencyTimeoutException"
    monkeypatch.undo()
    assert worker.outbox() == []
    (record,) = worker.audit()
    assert (record["eventName"], record["errorCode"]) == ("CreateKey", "DependencyTimeoutException")
    assert worker.call("ListKeys").keys == []


def test_a_repeated_call_is_recorded_each_time(worker: Worker) -> None:
    for _ in range(2):
        worker.call("CreateKey", request_id="once")
    records = worker.outbox()
    assert [record["requestID"] for record in records] == ["once", "once"]
    assert len({record["eventID"] for record in records}) == 2


def test_answers_with_secrets_wait_for_their_record(host: Host) -> None:
    """Where the log cannot be written, they are refused; others are answered."""

    class FullLog:
        def __init__(self) -> None:
            self.lines: list[bytes] = []

        def append(self, line: bytes) -> None:
            self.lines.append(line)

        def write(self, line: bytes) -> None:
            raise errors.DependencyTimeoutException("no room for the audit log")

    worker = host.worker()
    key = worker.create()
    blob = worker.encrypt(key.key_id)
    log = FullLog()
    executor = Executor(dataclasses.replace(worker.service, audit_log=log))
    used = {"key_id": key.key_id}
    requests: dict[str, dict[str, Any]] = {
        "Decrypt": {"ciphertext_blob": blob},
        "GenerateDataKey": used | {"number_of_bytes": 16},
        "GenerateRandom": {"number_of_bytes": 16},
        "Encrypt": used | {"plaintext": b"p"},
        "GenerateDataKeyWithoutPlaintext": used | {"number_of_bytes": 16},
        "DescribeKey": used,
    }
    for name, fields in requests.items():
        operation, raw = OPERATIONS[name], OPERATIONS[name].request(**fields).SerializeToString()
        for _ in range(2):  # the second time with a Permit
            if operation.yields_secrets:
                assert executor.warm(operation, worker.credentials(), raw) is None
                told = refusal_of(
                    lambda operation=operation, raw=raw: executor.execute(operation, worker.credentials(), raw)
                )
                assert told.code == "DependencyTimeoutException"
                assert json.loads(log.lines[-1])["errorCode"] == "DependencyTimeoutException"
            elif executor.warm(operation, worker.credentials(), raw) is None:
                executor.execute(operation, worker.credentials(), raw)


def test_calls_that_a_door_turns_away_are_recorded(shared: Worker) -> None:
    """By whom, since the door knows the token."""
    shared.audit()
    before = shared.counted().get("Encrypt", {}).get("ThrottlingException", 0)
    busy = errors.ThrottlingException("busy")
    assert shared.executor.refuse(OPERATIONS["Encrypt"], shared.credentials(BOB), busy) is busy
    (record,) = shared.audit()
    assert (record["errorCode"], record["errorMessage"], record["eventName"]) == (
        "ThrottlingException",
        "busy",
        "Encrypt",
    )
    assert record["userIdentity"]["arn"] == BOB.arn
    assert shared.counted()["Encrypt"]["ThrottlingException"] == before + 1


def test_every_call_is_counted_once_by_its_outcome(worker: Worker) -> None:
    key = worker.create()
    for _ in range(3):
        worker.encrypt(key.key_id)
    worker.refusal("Encrypt", key_id="x", plaintext=b"p")
    worker.refusal("Encrypt", by=None, key_id="x", plaintext=b"p")
    assert worker.counted() == {
        "CreateKey": {"OK": 1},
        "Encrypt": {"OK": 3, "NotFoundException": 1, "MissingAuthenticationTokenException": 1},
    }
    buckets, total_ns = worker.service.counters.durations("Encrypt")
    assert sum(buckets) == 5
    assert total_ns > 0
