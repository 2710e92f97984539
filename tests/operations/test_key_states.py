"""What each operation does to a key in each state: AWS's published table, cell by cell, on real keys.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html. Where it leaves the error of a key pending
deletion open, it is KMSInvalidStateException.
"""

from __future__ import annotations

from typing import Any

import pytest

from kms_grpc.model.key import KeyKind, KeyState, KeyUsage
from kms_grpc.v1 import keys_pb2
from tests.operations.service import HOME, OPERATIONS, Refusal, Worker

STATES = (
    "Enabled",
    "Disabled",
    "PendingDeletion",
    "PendingReplicaDeletion",
    "PendingImport",
    "Unavailable",
    "Creating",
    "Updating",
)
ERRORS = {
    "1": ("DisabledException", "{arn} is disabled."),
    "3": ("KMSInvalidStateException", "{arn} is pending deletion."),
    "3r": ("KMSInvalidStateException", "{arn} is pending replica deletion."),
    "4": ("KMSInvalidStateException", "{arn} is not pending deletion."),
    "5": ("KMSInvalidStateException", "{arn} is pending import."),
    "9": ("UnsupportedOperationException", "{arn} origin is AWS_KMS which is not valid for this operation."),
    "11": ("KMSInvalidStateException", "{arn} is unavailable."),
    "14": ("KMSInvalidStateException", "{arn} is creating."),
    "15": ("KMSInvalidStateException", "{arn} is updating."),
}
MATRIX = """
                                 Enabled Disabled PD PRD PendingImport Unavailable Creating Updating
DescribeKey                      OK      OK       OK OK  OK            OK          OK       OK
ListAliases                      OK      OK       OK OK  OK            OK          OK       OK
DeleteAlias                      OK      OK       OK OK  OK            OK          OK       OK
EnableKey                        OK      OK       3  3r  5             OK          14       15
DisableKey                       OK      OK       3  3r  5             OK          14       15
UpdateKeyDescription             OK      OK       3  3r  OK            OK          OK       OK
CreateAlias                      OK      OK       3  3r  OK            OK          OK       OK
UpdateAlias.to                   OK      OK       3  3r  OK            OK          OK       OK
UpdateAlias.from                 OK      OK       OK OK  OK            OK          OK       OK
Encrypt                          OK      1        3  3r  5             11          14       OK
Decrypt                          OK      1        3  3r  5             11          14       OK
ReEncrypt.from                   OK      1        3  3r  5             11          14       OK
ReEncrypt.to                     OK      1        3  3r  5             11          14       OK
GenerateDataKey                  OK      1        3  3r  5             11          14       OK
GenerateDataKeyWithoutPlaintext  OK      1        3  3r  5             11          14       OK
ScheduleKeyDeletion              OK      OK       3  3r  OK            OK          OK       15
CancelKeyDeletion                4       4        OK OK  4             4           4        4
TagResource                      OK      OK       3  3r  OK            OK          OK       OK
UntagResource                    OK      OK       3  3r  OK            OK          OK       OK
ListResourceTags                 OK      OK       OK OK  OK            OK          OK       OK
EnableKeyRotation                OK      1        3  3r  9             9           14       OK
DisableKeyRotation               OK      1        3  3r  9             9           14       OK
GetKeyRotationStatus             OK      OK       OK OK  9             9           14       OK
RotateKeyOnDemand                OK      1        3  3r  5             OK          14       15
ListKeyRotations                 OK      OK       OK OK  OK            OK          OK       OK
GetParametersForImport           9       9        9  9   9             9           14       15
ImportKeyMaterial                9       9        9  9   9             9           14       9
DeleteImportedKeyMaterial        9       9        9  9   9             9           14       15
"""
ROWS = {line.split()[0]: line.split()[1:] for line in MATRIX.strip().splitlines()[1:]}
CELLS = [(name, state, cell) for name, cells in ROWS.items() for state, cell in zip(STATES, cells, strict=True)]


class Keys:
    """One key per test in the state asked for, another that is Enabled, an alias of each, and a blob of each."""

    def __init__(self, worker: Worker, state: KeyState) -> None:
        key, other = worker.create(), worker.create()
        self.arn, self.key_id, self.other_id = key.arn, key.key_id, other.key_id
        self.alias, self.other_alias = f"alias/{key.key_id}", f"alias/{other.key_id}"
        worker.call("CreateAlias", alias_name=self.alias, target_key_id=key.key_id)
        worker.call("CreateAlias", alias_name=self.other_alias, target_key_id=other.key_id)
        self.blob, self.other_blob = worker.encrypt(key.key_id), worker.encrypt(other.key_id)
        worker.change(key.key_id, state=state)


def fields_of(name: str, keys: Keys) -> dict[str, Any]:
    """A request that is good in all but, perhaps, the state of `keys.key_id`."""
    used = {"key_id": keys.key_id}
    table: dict[str, dict[str, Any]] = {
        "DescribeKey": used,
        "ListAliases": used,
        "EnableKey": used,
        "DisableKey": used,
        "UpdateKeyDescription": used | {"description": "new"},
        "DeleteAlias": {"alias_name": keys.alias},
        "CreateAlias": {"alias_name": f"{keys.alias}-2", "target_key_id": keys.key_id},
        "UpdateAlias.to": {"alias_name": keys.other_alias, "target_key_id": keys.key_id},
        "UpdateAlias.from": {"alias_name": keys.alias, "target_key_id": keys.other_id},
        "Encrypt": used | {"plaintext": b"p"},
        "Decrypt": {"ciphertext_blob": keys.blob},
        "ReEncrypt.from": {"ciphertext_blob": keys.blob, "destination_key_id": keys.other_id},
        "ReEncrypt.to": {"ciphertext_blob": keys.other_blob, "destination_key_id": keys.key_id},
        "GenerateDataKey": used | {"number_of_bytes": 32},
        "GenerateDataKeyWithoutPlaintext": used | {"number_of_bytes": 32},
        "TagResource": used | {"tags": [{"tag_key": "k", "tag_value": "v"}]},
        "UntagResource": used | {"tag_keys": ["k"]},
        "GetParametersForImport": used | {"wrapping_algorithm": 2, "wrapping_key_spec": 1},
        "ImportKeyMaterial": used | {"import_token": b"t", "encrypted_key_material": b"m", "expiration_model": 2},
    }
    return table.get(name, used)


def test_every_operation_on_a_key_has_its_row() -> None:
    on_keys = {row.name for row in OPERATIONS.values() if row.keys and not row.batches}  # a batch has its single's rule
    assert {name.partition(".")[0] for name in ROWS} == on_keys


@pytest.mark.parametrize(("name", "state", "cell"), CELLS, ids=lambda value: value)
def test_cell(shared: Worker, name: str, state: str, cell: str) -> None:
    keys = Keys(shared, KeyState(state))
    operation, fields = name.partition(".")[0], fields_of(name, keys)
    if cell == "OK":
        shared.call(operation, **fields)
        return
    code, text = ERRORS[cell]
    refusal = shared.refusal(operation, **fields)
    assert refusal == Refusal(code, text.format(arn=keys.arn), keys.arn, state)
    if OPERATIONS[operation].dry_run:
        assert shared.refusal(operation, **fields, dry_run=True) == refusal, "a dry run tells the real error"


@pytest.mark.parametrize(
    ("before", "operation", "after"),
    [
        ("Enabled", "EnableKey", "Enabled"),  # idempotent
        ("Disabled", "EnableKey", "Enabled"),
        ("Enabled", "DisableKey", "Disabled"),
        ("Disabled", "DisableKey", "Disabled"),  # idempotent
    ],
)
def test_enable_and_disable(shared: Worker, before: str, operation: str, after: str) -> None:
    made = shared.create(state=KeyState(before))
    shared.call(operation, key_id=made.key_id)
    metadata = shared.call("DescribeKey", key_id=made.key_id).key_metadata
    assert metadata.key_state == keys_pb2.KeyState.Value(f"KEY_STATE_{after.upper()}")
    assert metadata.enabled is (after == "Enabled")


@pytest.mark.parametrize("state", STATES)
def test_enabled_is_said_in_state_enabled_alone(shared: Worker, state: str) -> None:
    made = shared.create(state=KeyState(state))
    assert shared.call("DescribeKey", key_id=made.key_id).key_metadata.enabled is (state == "Enabled")


USAGE_TEXT = "{arn} key usage is {usage} which is not valid for {operation}."


@pytest.mark.parametrize("usage", [usage for usage in KeyUsage if usage is not KeyUsage.ENCRYPT_DECRYPT])
@pytest.mark.parametrize(
    "name",
    ["Encrypt", "ReEncrypt.to", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "Decrypt", "ReEncrypt.from"],
)
def test_usage_is_told_before_state(shared: Worker, name: str, usage: KeyUsage) -> None:
    """A key of another usage that is disabled as well: the usage is what cannot be mended."""
    keys = Keys(shared, KeyState.DISABLED)
    shared.change(keys.key_id, usage=usage)
    operation = name.partition(".")[0]
    text = USAGE_TEXT.format(arn=keys.arn, usage=usage.value, operation=operation)
    assert shared.refusal(operation, **fields_of(name, keys)) == Refusal(
        "InvalidKeyUsageException", text, keys.arn, "Disabled"
    )


@pytest.mark.parametrize(
    "name",
    [
        "EnableKey",
        "DisableKey",
        "UpdateKeyDescription",
        "CreateAlias",
        "UpdateAlias.to",
        "UpdateAlias.from",
        "DeleteAlias",
        "ScheduleKeyDeletion",
        "CancelKeyDeletion",
        "TagResource",
        "UntagResource",
        "EnableKeyRotation",
        "DisableKeyRotation",
        "RotateKeyOnDemand",
        "GetParametersForImport",
        "ImportKeyMaterial",
        "DeleteImportedKeyMaterial",
    ],
)
def test_keys_that_aws_manages_are_not_changed_by_their_account(shared: Worker, name: str) -> None:
    keys = Keys(shared, KeyState.ENABLED)
    shared.change(keys.key_id, kind=KeyKind.AWS_MANAGED)
    operation = name.partition(".")[0]
    assert shared.refusal(operation, **fields_of(name, keys)).code == "UnsupportedOperationException"


def test_a_refused_state_changes_nothing(shared: Worker) -> None:
    """PendingDeletion must survive every call that it refuses: a cancelled deletion is the only way out."""
    keys = Keys(shared, KeyState.PENDING_DELETION)
    before = shared.shard(HOME).registry.keys.find(keys.key_id)
    for name, cells in ROWS.items():
        if cells[STATES.index("PendingDeletion")] != "OK":
            shared.refusal(name.partition(".")[0], **fields_of(name, keys))
    assert shared.shard(HOME).registry.keys.find(keys.key_id) == before
