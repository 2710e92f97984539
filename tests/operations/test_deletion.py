"""ScheduleKeyDeletion and CancelKeyDeletion: a key is deleted only after its whole waiting period.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from kms_grpc.clock import DAY_NS
from kms_grpc.model.key import KeyState
from kms_grpc.processes import due_work
from kms_grpc.v1 import keys_pb2
from tests.aws_facts import answer_in
from tests.operations.external_keys import bring_in, external, row, state_of, stored
from tests.operations.scenes import KEYS, Scene
from tests.operations.service import EVE, HOUR_NS, Refusal, Worker, violation
from tests.registry.damaging import damaged_rows

PENDING = keys_pb2.KEY_STATE_PENDING_DELETION


@pytest.mark.parametrize(
    ("asked", "days", "reason"),
    [({}, 30, "the default"), ({"pending_window_in_days": 7}, 7, "the shortest"),
     ({"pending_window_in_days": 30}, 30, "the longest"), ({"pending_window_in_days": 8}, 8, "between")],
)  # fmt: skip
def test_the_window(shared: Worker, asked: dict[str, int], days: int, reason: str) -> None:
    key = shared.create()
    answer = shared.call("ScheduleKeyDeletion", key_id=key.key_id, **asked)
    due_ns = shared.service.clock.wall_ns() + days * DAY_NS
    assert (answer.key_id, answer.key_state, answer.pending_window_in_days) == (key.arn, PENDING, days), reason
    assert answer.deletion_date.ToNanoseconds() == due_ns == row(shared, key.key_id).deletion_ns
    metadata = shared.call("DescribeKey", key_id=key.key_id).key_metadata
    assert (metadata.key_state, metadata.enabled, metadata.deletion_date) == (PENDING, False, answer.deletion_date)


@pytest.mark.parametrize(
    ("days", "constraint"),
    [(0, "greater than or equal to 7"), (6, "greater than or equal to 7"), (-1, "greater than or equal to 7"),
     (31, "less than or equal to 30"), (365, "less than or equal to 30"), (2**31 - 1, "less than or equal to 30")],
)  # fmt: skip
def test_windows_out_of_range(shared: Worker, days: int, constraint: str) -> None:
    key = shared.create()
    refusal = shared.refusal("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=days)
    text = violation("pendingWindowInDays", f"have value {constraint}", days)
    assert refusal == Refusal("ValidationException", text)
    assert state_of(shared, key.key_id) == "Enabled"


def test_a_second_schedule_is_refused_and_shortens_nothing(shared: Worker) -> None:
    key = shared.create()
    shared.call("ScheduleKeyDeletion", key_id=key.key_id)
    before = stored(shared, key.key_id)
    refusal = shared.refusal("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
    assert refusal == Refusal("KMSInvalidStateException", f"{key.arn} is pending deletion.", key.arn, "PendingDeletion")
    assert stored(shared, key.key_id) == before


@pytest.mark.parametrize("state", [KeyState.ENABLED, KeyState.DISABLED])
def test_a_cancelled_deletion_leaves_the_key_disabled(shared: Worker, state: KeyState) -> None:
    """The key is never Enabled at once, whatever it was before. Its deletion date goes, and once enabled it decrypts
    again."""
    key = shared.create()
    blob = shared.encrypt(key.key_id)
    shared.change(key.key_id, state=state)
    shared.call("ScheduleKeyDeletion", key_id=key.key_id)
    assert shared.call("CancelKeyDeletion", key_id=key.key_id).key_id == key.arn
    metadata = shared.call("DescribeKey", key_id=key.key_id).key_metadata
    assert metadata.key_state == keys_pb2.KEY_STATE_DISABLED
    assert not metadata.HasField("deletion_date")
    assert shared.refusal("Decrypt", ciphertext_blob=blob).code == "DisabledException"
    shared.call("EnableKey", key_id=key.key_id)
    assert shared.call("Decrypt", ciphertext_blob=blob).plaintext == b"plaintext"
    not_pending = f"{key.arn} is not pending deletion."
    assert shared.refusal("CancelKeyDeletion", key_id=key.key_id).text == not_pending


@pytest.mark.parametrize("imported", [False, True])
def test_cancelling_returns_a_key_without_material_to_pending_import(shared: Worker, imported: bool) -> None:
    key = external(shared)
    if imported:
        bring_in(shared, key.key_id, os.urandom(32))
    shared.call("ScheduleKeyDeletion", key_id=key.key_id)
    if imported:
        shared.call("DeleteImportedKeyMaterial", key_id=key.key_id)  # allowed while pending, and changes no state
        assert state_of(shared, key.key_id) == "PendingDeletion"
    shared.call("CancelKeyDeletion", key_id=key.key_id)
    assert state_of(shared, key.key_id) == "PendingImport"


@pytest.mark.parametrize("name", [name for name, _ in KEYS if answer_in(name, "PendingDeletion") is None])
def test_what_is_allowed_while_it_is_pending(shared: Worker, name: str) -> None:
    """All other operations are refused: test_key_states.py has every cell."""
    Scene(shared, name, origin="AWS_KMS", state="PendingDeletion").call()


def test_neither_time_nor_another_account_deletes_a_key(worker: Worker) -> None:
    """A key past its date that the keeper has not deleted yet is still refused, and its deletion can still be
    cancelled."""
    key = worker.create()
    worker.call("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
    for by_whom in ("CancelKeyDeletion", "ScheduleKeyDeletion"):
        assert worker.refusal(by_whom, by=EVE, key_id=key.arn).code == "AccessDeniedException"
    worker.service.clock.step(7 * DAY_NS + HOUR_NS // 2)  # type: ignore[attr-defined]
    assert worker.refusal("Encrypt", key_id=key.key_id, plaintext=b"p").text == f"{key.arn} is pending deletion."
    worker.call("CancelKeyDeletion", key_id=key.key_id)
    assert state_of(worker, key.key_id) == "Disabled"


def test_a_deleted_key_is_as_one_that_never_existed(host: Any) -> None:
    """In every worker, whatever its caches had: NotFoundException for its names, AccessDeniedException for its
    blobs."""
    first, second = host.worker(), host.worker()
    key, never = first.create(alias="alias/doomed"), "12345678-90ab-4cde-8f01-234567890abc"
    blob = first.encrypt(key.key_id)
    for worker in (first, second):
        worker.call("Decrypt", ciphertext_blob=blob)
    first.call("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
    host.clock.step(7 * DAY_NS - 1)
    assert due_work.delete_due(first.shard(), host.clock.now_ns) == 0
    host.clock.step(1)
    assert due_work.delete_due(first.shard(), host.clock.now_ns) == 1
    for worker in (first, second):
        for name in (key.key_id, key.arn):
            refusal = worker.refusal("DescribeKey", key_id=name)
            assert refusal == Refusal("NotFoundException", f"Key '{key.arn}' does not exist")
            assert refusal.text == worker.refusal("DescribeKey", key_id=never).text.replace(never, key.key_id)
        assert worker.refusal("Encrypt", key_id="alias/doomed", plaintext=b"p").code == "NotFoundException"
        assert worker.refusal("CancelKeyDeletion", key_id=key.key_id).code == "NotFoundException"
        assert worker.refusal("Decrypt", ciphertext_blob=blob).code == "AccessDeniedException"
        assert not worker.call("ListKeys").keys
        assert not worker.call("ListAliases").aliases
    assert damaged_rows(first.shard().registry) == [], "the quota's counts are right"


def test_at_once_in_every_worker(host: Any) -> None:
    """A warm call in another worker is refused once the call has returned."""
    first, second = host.worker(), host.worker()
    key = first.create()
    second.encrypt(key.key_id)
    assert second.is_warm("Encrypt", key_id=key.key_id, plaintext=b"p")
    first.call("ScheduleKeyDeletion", key_id=key.key_id)
    assert second.refusal("Encrypt", key_id=key.key_id, plaintext=b"p").code == "KMSInvalidStateException"
