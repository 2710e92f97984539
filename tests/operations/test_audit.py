"""Every call leaves one audit record, done or failed, with CloudTrail's members and without a secret.

Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from typing import Any

import pytest

from kms_grpc import errors
from kms_grpc.aws_members import aws_names
from kms_grpc.operations.executor import Executor
from tests.aws_facts import errors_of
from tests.canary.forms import forms
from tests.examples import EXAMPLES, MATERIAL, METHODS, PLAINTEXT
from tests.operations.scenes import NAMES, Scene, ready
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


def record_of(worker: Worker, name: str, /, **fields: Any) -> dict[str, Any]:
    """Makes a call and returns its one record, from the log or from the outbox."""
    worker.audit(), [worker.outbox(region) for region in (HOME, AWAY)]
    try:
        worker.call(name, **fields)
        done = True
    except errors.KMSError:
        done = False
    logged, committed = worker.audit(), [record for region in (HOME, AWAY) for record in worker.outbox(region)]
    assert len(logged) + len(committed) == 1
    assert bool(committed) is (done and EXAMPLES[name].writes), (
        "a write's record is committed with it; all else is in the log"
    )
    (record,) = logged + committed
    assert isinstance(record, dict)
    return record


def in_camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def recorded(name: str, field: str, value: Any) -> Any:
    """Returns a field as CloudTrail records it: enum values in AWS's spelling, a batch's items by their number."""
    described = METHODS[name].input_type.fields_by_name[field]
    if field == "items":
        return len(value)
    if described.enum_type is not None:
        names, by_name = aws_names(described.enum_type), described.enum_type.values_by_name
        return (
            [names[by_name[each].number] for each in value] if described.is_repeated else names[by_name[value].number]
        )
    if field == "tags":
        return [{in_camel_case(member): text for member, text in tag.items()} for tag in value]
    return value


def parameters_of(scene: Scene) -> dict[str, Any] | None:
    """Returns the requestParameters of a scene's record: all members but blobs and tokens, with defaults."""
    sent = {field: value for field, value in scene.fields.items() if not isinstance(value, bytes)}
    members = {in_camel_case(field): recorded(scene.name, field, value) for field, value in sent.items()}
    return members | dict(EXAMPLES[scene.name].recorded) or None


def additional_data_of(scene: Scene) -> dict[str, Any] | None:
    """Returns the additionalEventData of a scene's record: the key material that was used or imported."""
    name = scene.name.removesuffix("Batch")
    if name == "ImportKeyMaterial":
        told = scene.worker.call("DescribeKey", key_id=scene.fields["key_id"]).key_metadata
        return {"keyMaterialId": told.current_key_material_id}
    if name == "RetireGrant":
        return {"grantId": scene.fields["grant_id"]}
    if "InvalidKeyUsageException" not in errors_of(name):
        return None
    if name == scene.name:
        return {"keyMaterialId": list(scene.keys.values())[-1].current_key_material_id}
    entries = [entry_of(scene, key) for key in scene.keys.values()]
    return {"keys": sorted(entries, key=itemgetter("keyId")), "errors": []}


def entry_of(scene: Scene, key: Any) -> dict[str, Any]:
    """Returns a batch's entry for one of its keys."""
    items = scene.fields["items"]
    entry = {"keyId": key.arn, "keyMaterialId": key.current_key_material_id, "items": len(items)}
    return entry | ({"dataKeys": sum(item["count"] for item in items)} if "count" in items[0] else {})


@pytest.mark.parametrize("name", NAMES)
def test_members_of_a_record(shared: Worker, name: str) -> None:
    scene = ready(shared, name)
    record = record_of(shared, name, request_id=f"call-{name}", **scene.fields)
    assert set(record) == MEMBERS
    assert (record["eventName"], record["eventSource"], record["awsRegion"]) == (name, "kms.amazonaws.com", HOME)
    assert (record["eventType"], record["eventCategory"], record["managementEvent"]) == (
        "AwsApiCall",
        "Management",
        True,
    )
    assert record["readOnly"] is not EXAMPLES[name].writes
    assert record["requestID"] == f"call-{name}"
    assert record["eventTime"] == "2027-01-15T08:00:00Z"
    assert record["userAgent"] == "tests/1.0"
    grants = shared.call("ListGrants", key_id=scene.arn).grants if name == "CreateGrant" else ()
    made = [{"grantId": grant.grant_id, "keyId": grant.key_id} for grant in grants]
    assert record["responseElements"] == (made[0] if made else None)
    identity = {"type": "AssumedRole", "principalId": "alice", "arn": ALICE.arn, "accountId": ALICE.account}
    assert record["userIdentity"] == identity
    assert record["recipientAccountId"] == ALICE.account
    assert record["requestParameters"] == parameters_of(scene)
    told = record["additionalEventData"]
    if OPERATIONS[name].batches:
        told["keys"].sort(key=itemgetter("keyId"))
    assert told == additional_data_of(scene)
    arns = [entry.pop("ARN") for entry in record["resources"]]
    assert all(entry == {"accountId": ALICE.account, "type": "AWS::KMS::Key"} for entry in record["resources"])
    if name == "CreateKey":
        assert len(arns) == 1, "the key that was created"
        assert f":{HOME}:" in arns[0]
    else:
        assert sorted(arns) == sorted(key.arn for key in scene.keys.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_is_recorded_with_the_error_that_was_answered(shared: Worker, name: str) -> None:
    """The failures are a missing token, a wrong token, an unknown region, and bytes that are not a message."""
    raw = OPERATIONS[name].request(**Scene(shared, name).fields).SerializeToString()
    for by, region, sent in ((None, None, raw), ("wrong", None, raw), (ALICE, "mars-1", raw), (ALICE, None, b"\xff")):
        shared.audit()
        credentials = shared.credentials(by, region)._replace(peer=f"peer of {name}")  # has an allowance of its own
        told = refusal_of(
            lambda sent=sent, credentials=credentials: shared.executor.execute(OPERATIONS[name], credentials, sent)
        )
        (record,) = shared.audit()
        assert set(record) == MEMBERS | {"errorCode", "errorMessage"}
        assert (record["errorCode"], record["errorMessage"]) == (told.code, told.text)
        assert record["userIdentity"]["type"] == ("AssumedRole" if by is ALICE else "Unknown")
        assert record["awsRegion"] == (region or HOME)
        assert record["requestParameters"] is None


def test_a_denied_call_is_recorded_with_caller_and_key(shared: Worker) -> None:
    key = shared.create()
    record = record_of(shared, "Encrypt", by=EVE, key_id=key.arn, plaintext=PLAINTEXT)
    assert record["errorCode"] == "AccessDeniedException"
    assert record["userIdentity"]["arn"] == EVE.arn
    assert record["recipientAccountId"] == EVE.account
    assert record["requestParameters"]["keyId"] == key.arn


def test_a_record_names_the_key_as_it_was_sent(shared: Worker) -> None:
    """The call names the key by alias, first without and then with a Permit; `resources` has the ARN."""
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
def test_the_record_of_an_oversized_request_is_short(shared: Worker, name: str, fields: dict[str, Any]) -> None:
    """A refused message of 4 MiB still leaves a record."""
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


@pytest.mark.parametrize("name", NAMES)
def test_no_record_holds_a_secret(shared: Worker, name: str) -> None:
    """Done, denied, refused and dry-run calls record no plaintext, no ciphertext and no token."""
    scene = ready(shared, name)
    shared.audit(), shared.outbox()
    secrets = [PLAINTEXT, MATERIAL, ALICE.token.encode(), EVE.token.encode()]
    answer = scene.call()
    told = ("plaintext", "ciphertext_blob", "import_token")
    secrets += [value for field in told if (value := getattr(answer, field, b""))]
    secrets += [answer.grant_token.encode()] if name == "CreateGrant" else []
    secrets += [value for value in scene.fields.values() if isinstance(value, bytes)]
    with suppress(errors.KMSError):  # the second call is answered by a Permit, or refused
        scene.call()
    refusal_of(lambda: shared.executor.execute(OPERATIONS[name], shared.credentials(), PLAINTEXT + b"\xff"))
    refusal_of(lambda: shared.executor.execute(OPERATIONS[name], shared.credentials(EVE, "nowhere"), b""))
    if "plaintext" in scene.fields:
        scene.refusal(plaintext=PLAINTEXT * 500)
    if OPERATIONS[name].dry_run:
        scene.refusal(dry_run=True)
    if OPERATIONS[name].has_grant_tokens:
        scene.refusal(grant_tokens=[PLAINTEXT.decode("latin-1")])
    written = json.dumps([shared.audit(), shared.outbox()], ensure_ascii=False).encode()
    assert written.count(b"eventID") >= 3
    for secret in secrets:
        assert not [form for form in forms(secret) if form in written], secret


def test_a_write_and_its_record_are_one_commit(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails discards the record of success; a record of the failure is written instead."""
    worker = host.worker()
    registry = worker.shard().registry
    broken = errors.DependencyTimeoutException("the disk is gone")
    original = type(registry).writing

    def breaking(self: Any, *given: Any) -> Any:
        @contextmanager
        def inside() -> Iterator[Any]:
            with original(self, *given) as transaction:
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


def test_an_answer_with_a_secret_is_refused_if_its_record_cannot_be_written(host: Host) -> None:
    """Other calls are answered."""

    class FullLog:
        def __init__(self) -> None:
            self.lines: list[bytes] = []

        def append(self, line: bytes) -> None:
            self.lines.append(line)

        def write(self, line: bytes) -> None:
            raise errors.DependencyTimeoutException("no room for the audit log")

    worker = host.worker()
    log = FullLog()
    executor = Executor(dataclasses.replace(worker.service, audit_log=log))
    for name in [row.name for row in OPERATIONS.values() if row.warm or row.yields_secrets if not row.batches]:
        operation, raw = OPERATIONS[name], OPERATIONS[name].request(**Scene(worker, name).fields).SerializeToString()
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


def test_a_call_that_a_door_refuses_is_recorded(shared: Worker) -> None:
    """The record names the caller, because the door passes the token on."""
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
