"""Key rotation: the new material encrypts, every former one decrypts, and the dates are kept.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html. The keeper's rotations are in
tests/processes/test_due_work.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from kms_grpc.clock import DAY_NS
from kms_grpc.model.key import KeyState, KeyUsage, Origin
from kms_grpc.v1 import keys_pb2
from tests.aws_facts import answer_in
from tests.operations.external_keys import EXTERNAL, row, stored
from tests.operations.service import Host, Refusal, Worker, violation

EVERYTHING = keys_pb2.INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL
ROTATIONS = keys_pb2.INCLUDE_KEY_MATERIAL_ROTATIONS_ONLY
MINUTE_NS = 60 * 10**9
SPENT = (
    "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed"
    " for this key: {arn}"
)


def status(worker: Worker, key_id: str) -> tuple[bool, int | None, int | None]:
    """Returns whether rotation is enabled, its period in days, and its next date in ns."""
    answered = worker.call("GetKeyRotationStatus", key_id=key_id)
    days = answered.rotation_period_in_days if answered.HasField("rotation_period_in_days") else None
    date = answered.next_rotation_date.ToNanoseconds() if answered.HasField("next_rotation_date") else None
    return answered.key_rotation_enabled, days, date


@pytest.mark.parametrize(("asked", "days"), [({}, 365), ({"rotation_period_in_days": 90}, 90),
                                             ({"rotation_period_in_days": 2560}, 2560)])  # fmt: skip
def test_periods(shared: Worker, asked: dict[str, int], days: int) -> None:
    key_id = shared.create().key_id
    assert status(shared, key_id) == (False, None, None), "rotation is off by default"
    shared.call("EnableKeyRotation", key_id=key_id, **asked)
    assert status(shared, key_id) == (True, days, shared.service.clock.wall_ns() + days * DAY_NS)
    shared.call("DisableKeyRotation", key_id=key_id)
    shared.call("DisableKeyRotation", key_id=key_id)
    assert status(shared, key_id) == (False, None, None)


@pytest.mark.parametrize(
    ("days", "constraint"),
    [(89, "greater than or equal to 90"), (0, "greater than or equal to 90"), (2561, "less than or equal to 2560")],
)
def test_periods_out_of_range(shared: Worker, days: int, constraint: str) -> None:
    key_id = shared.create().key_id
    refusal = shared.refusal("EnableKeyRotation", key_id=key_id, rotation_period_in_days=days)
    text = violation("rotationPeriodInDays", f"have value {constraint}", days)
    assert refusal == Refusal("ValidationException", text)
    assert status(shared, key_id) == (False, None, None)


def test_a_second_call_changes_period_and_date(worker: Worker) -> None:
    key_id = worker.create().key_id
    worker.call("EnableKeyRotation", key_id=key_id)
    worker.service.clock.step(10 * DAY_NS)  # type: ignore[attr-defined]
    worker.call("EnableKeyRotation", key_id=key_id, rotation_period_in_days=100)
    assert status(worker, key_id) == (True, 100, worker.service.clock.wall_ns() + 100 * DAY_NS)


STATUS = [
    (KeyState.DISABLED, (True, 365, None), "the setting stays, nothing will happen while it lasts"),
    (KeyState.PENDING_DELETION, (False, None, None), "reads false"),
]


@pytest.mark.parametrize(("state", "expected", "reason"), STATUS)
def test_status_in_each_state(shared: Worker, state: KeyState, expected: Any, reason: str) -> None:
    key_id = shared.create().key_id
    shared.call("EnableKeyRotation", key_id=key_id)
    before = status(shared, key_id)
    if state is KeyState.DISABLED:
        shared.call("DisableKey", key_id=key_id)
    else:
        shared.call("ScheduleKeyDeletion", key_id=key_id)
    assert status(shared, key_id) == expected, reason
    if state is KeyState.PENDING_DELETION:
        shared.call("CancelKeyDeletion", key_id=key_id)
    shared.call("EnableKey", key_id=key_id)
    assert status(shared, key_id) == before, "a cancelled deletion restores the setting"


def test_on_demand_twenty_five_times(shared: Worker) -> None:
    """Each rotation changes the current material and none the schedule; blobs of all materials can be decrypted."""
    made = shared.create()
    shared.call("EnableKeyRotation", key_id=made.key_id)
    date, blobs, ids = status(shared, made.key_id), [], set()
    for number in range(26):
        blobs.append(shared.encrypt(made.key_id, str(number).encode()))
        ids.add(shared.call("DescribeKey", key_id=made.key_id).key_metadata.current_key_material_id)
        if number < 25:
            assert shared.call("RotateKeyOnDemand", key_id=made.key_id).key_id == made.arn
    assert len(ids) == 26
    assert len({blob[19:51] for blob in blobs}) == 26, "each blob names its material"
    for number, blob in enumerate(blobs):
        assert shared.call("Decrypt", ciphertext_blob=blob).plaintext == str(number).encode()
    before = stored(shared, made.key_id)
    expected = Refusal("LimitExceededException", SPENT.format(arn=made.arn), made.arn, "Enabled")
    assert shared.refusal("RotateKeyOnDemand", key_id=made.key_id) == expected
    assert stored(shared, made.key_id) == before
    assert status(shared, made.key_id) == date


def test_new_material_is_used_at_once_by_every_worker(host: Host) -> None:
    first, second = host.worker(), host.worker()
    key_id = first.create().key_id
    old = second.encrypt(key_id)
    assert second.is_warm("Encrypt", key_id=key_id, plaintext=b"p")
    first.call("RotateKeyOnDemand", key_id=key_id)
    current = row(first, key_id).current_material_id
    assert second.encrypt(key_id)[19:51] == current != old[19:51]
    assert second.call("GenerateDataKey", key_id=key_id, number_of_bytes=32).ciphertext_blob[19:51] == current
    for worker in (first, second):
        assert worker.call("Decrypt", ciphertext_blob=old).plaintext == b"plaintext"
    again = second.call("ReEncrypt", ciphertext_blob=old, destination_key_id=key_id).ciphertext_blob
    assert again[19:51] == current


@pytest.mark.parametrize(
    ("before_ns", "conflict", "reason"),
    [(20 * MINUTE_NS, True, "within 20 minutes"), (20 * MINUTE_NS + 1, False, "a nanosecond more"),
     (0, True, "due"), (-DAY_NS, True, "overdue: the keeper will come")],
)  # fmt: skip
def test_near_an_automatic_rotation(host: Host, before_ns: int, conflict: bool, reason: str) -> None:
    worker = host.worker()
    key = worker.create()
    worker.call("EnableKeyRotation", key_id=key.key_id, rotation_period_in_days=90)
    host.clock.step(90 * DAY_NS - before_ns)
    if not conflict:
        worker.call("RotateKeyOnDemand", key_id=key.key_id)
        return
    before = stored(worker, key.key_id)
    refusal = worker.refusal("RotateKeyOnDemand", key_id=key.key_id)
    assert (refusal.code, refusal.key) == ("ConflictException", key.arn), reason
    assert stored(worker, key.key_id) == before


def listing(worker: Worker, key_id: str, limit: int, include: Any = None) -> list[Any]:
    """Returns the entries of all pages. Only the last page may be short."""
    found, fields = (
        [],
        {"key_id": key_id, "limit": limit} | ({} if include is None else {"include_key_material": include}),
    )
    while True:
        answer = worker.call("ListKeyRotations", **fields)
        found += answer.rotations
        assert answer.truncated is answer.HasField("next_marker")
        if not answer.truncated:
            return found
        assert len(answer.rotations) == limit
        fields["marker"] = answer.next_marker


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 1000])
def test_rotations_and_materials_are_listed(shared: Worker, limit: int) -> None:
    """The first material is left out by default. It and a material pending rotation have neither date nor type."""
    key_id = shared.create().key_id
    for _ in range(3):
        shared.call("RotateKeyOnDemand", key_id=key_id)
    rotations, everything = (listing(shared, key_id, limit, include) for include in (ROTATIONS, EVERYTHING))
    assert listing(shared, key_id, limit) == rotations == everything[1:]
    assert [keys_pb2.KeyMaterialState.Name(entry.key_material_state) for entry in everything] == [
        *["KEY_MATERIAL_STATE_NON_CURRENT"] * 3, "KEY_MATERIAL_STATE_CURRENT",
    ]  # fmt: skip
    assert everything[-1].key_material_id == row(shared, key_id).current_material_id.hex()  # type: ignore[union-attr]
    first = everything[0]
    assert not first.HasField("rotation_date")
    assert not first.rotation_type
    assert {entry.rotation_type for entry in rotations} == {keys_pb2.ROTATION_TYPE_ON_DEMAND}
    assert {entry.rotation_date.ToNanoseconds() for entry in rotations} == {shared.service.clock.wall_ns()}
    assert {entry.import_state for entry in everything} == {0}, "only imported keys have it"


def test_a_marker_is_valid_for_one_listing_only(shared: Worker) -> None:
    keys = [shared.create().key_id for _ in range(2)]
    for key_id in keys * 2:
        shared.call("RotateKeyOnDemand", key_id=key_id)
    marker = shared.call("ListKeyRotations", key_id=keys[0], limit=1).next_marker
    for fields in ({"key_id": keys[1]}, {"key_id": keys[0], "include_key_material": EVERYTHING}):
        assert shared.refusal("ListKeyRotations", marker=marker, **fields).code == "InvalidMarkerException"


CHANGES = ("EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus", "RotateKeyOnDemand", "ListKeyRotations")
NO_ORIGIN = "{arn} origin is {origin} which is not valid for this operation."
FIT: dict[str, dict[str, Any]] = {
    "rsa": {"spec": "RSA_2048", "usage": KeyUsage.SIGN_VERIFY},
    "hmac": {"spec": "HMAC_256", "usage": KeyUsage.GENERATE_VERIFY_MAC},
    "external": {"origin": Origin.EXTERNAL},
    "in a store": {"origin": Origin.AWS_CLOUDHSM},
}
"""Sorts of keys, as tests/aws_facts.py calls them."""


@pytest.mark.parametrize("sort", FIT)
@pytest.mark.parametrize("name", CHANGES)
def test_keys_that_do_not_rotate(shared: Worker, name: str, sort: str) -> None:
    """The errors and texts are AWS's; RotateKeyOnDemand of an asymmetric key has no text."""
    made = shared.create()
    key = shared.change(made.key_id, **FIT[sort])
    answer = answer_in(name, "Enabled", sort)
    if answer is None:
        shared.call(name, key_id=made.key_id)
        return
    code, text = answer
    told = Refusal(code, text.format(arn=made.arn, origin=key.origin, spec=key.spec), made.arn, "Enabled")
    assert shared.refusal(name, key_id=made.key_id) == told


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("EnableKeyRotation", "UnsupportedOperationException", NO_ORIGIN),
        ("GetKeyRotationStatus", "UnsupportedOperationException", NO_ORIGIN),
        ("RotateKeyOnDemand", "KMSInvalidStateException", "{arn} is pending import."),
    ],
)  # fmt: skip
def test_an_external_key_without_material(shared: Worker, name: str, code: str, text: str) -> None:
    made = shared.call("CreateKey", origin=EXTERNAL).key_metadata
    refused = Refusal(code, text.format(arn=made.arn, origin="EXTERNAL"), made.arn, "PendingImport")
    assert shared.refusal(name, key_id=made.key_id) == refused


def test_disabled_is_reported_before_unsupported(shared: Worker) -> None:
    """A disabled RSA key gets DisabledException, as recorded from AWS."""
    made = shared.create()
    shared.change(made.key_id, state=KeyState.DISABLED, **FIT["rsa"])
    for name in ("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"):
        assert shared.refusal(name, key_id=made.key_id).text == f"{made.arn} is disabled."


def test_rotation_by_hand(shared: Worker) -> None:
    """After UpdateAlias to a new key the old blob opens without a KeyId; with the alias it is IncorrectKeyException."""
    old, new = shared.create(alias="alias/by-hand"), shared.create()
    blob = shared.encrypt("alias/by-hand")
    shared.call("UpdateAlias", alias_name="alias/by-hand", target_key_id=new.key_id)
    answer = shared.call("Decrypt", ciphertext_blob=blob)
    assert (answer.plaintext, answer.key_id) == (b"plaintext", old.arn)
    refusal = shared.refusal("Decrypt", ciphertext_blob=blob, key_id="alias/by-hand")
    assert refusal.code == "IncorrectKeyException"
    assert shared.call("Encrypt", key_id="alias/by-hand", plaintext=b"p").key_id == new.arn


def test_every_rotation_is_recorded_and_dates_survive(shared: Worker) -> None:
    made = shared.create()
    shared.outbox()
    shared.call("EnableKeyRotation", key_id=made.key_id, rotation_period_in_days=90)
    shared.call("RotateKeyOnDemand", key_id=made.key_id)
    assert [record["eventName"] for record in shared.outbox()] == ["EnableKeyRotation", "RotateKeyOnDemand"]
    key = row(shared, made.key_id)
    assert (key.rotation_period_days, key.on_demand_rotations) == (90, 1)
