"""Each operation on a real key in each state, against AWS's published table (tests/aws_facts.py)."""

from __future__ import annotations

import pytest

from kms_grpc.model.key import KeyKind, KeyState, KeyUsage
from kms_grpc.v1 import keys_pb2
from tests.aws_facts import AWS_MANAGED, KEY_STATES, STATES, answer_in, errors_of
from tests.operations.scenes import KEYS, Scene
from tests.operations.service import HOME, OPERATIONS, Refusal, Worker

ON_A_KEY = [(name, key) for name, key in KEYS if name in KEY_STATES]
"""(operation, key): ReEncrypt and UpdateAlias have two keys, "from" and "to". tests/test_completeness.py names the
operations that the published table lacks."""
OLD_TARGET = ("UpdateAlias", "from")
"""The key that the alias points at so far. Its state does not matter."""


def scene_of(worker: Worker, name: str, key: str, state: str) -> Scene:
    """Returns a request that only the state of `key` can make invalid. All keys have origin AWS_KMS."""
    scene = Scene(worker, name, origin="AWS_KMS", state="Enabled")
    scene.put(key, state=KeyState(state))
    return scene


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("name", "key"), ON_A_KEY, ids=str)
def test_cell(shared: Worker, name: str, key: str, state: str) -> None:
    scene = scene_of(shared, name, key, state)
    answer = None if (name, key) == OLD_TARGET else answer_in(name, state)
    if answer is None:
        scene.call()
        return
    code, text = answer
    arn = scene.keys[key].arn
    told = Refusal(code, text.format(arn=arn, origin="AWS_KMS"), arn, state)
    assert scene.refusal() == told
    if OPERATIONS[name].dry_run:
        assert scene.refusal(dry_run=True) == told, "a dry run answers the error that the call would have"


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
def test_only_state_enabled_counts_as_enabled(shared: Worker, state: str) -> None:
    made = shared.create(state=KeyState(state))
    assert shared.call("DescribeKey", key_id=made.key_id).key_metadata.enabled is (state == "Enabled")


USES_A_KEY = [(name, key) for name, key in ON_A_KEY if "InvalidKeyUsageException" in errors_of(name)]


@pytest.mark.parametrize("usage", [usage for usage in KeyUsage if usage is not KeyUsage.ENCRYPT_DECRYPT])
@pytest.mark.parametrize(("name", "key"), USES_A_KEY, ids=str)
def test_wrong_usage_is_answered_before_the_state(shared: Worker, name: str, key: str, usage: KeyUsage) -> None:
    """The key is disabled as well, and could be enabled; its usage can never be changed."""
    scene = scene_of(shared, name, key, "Disabled")
    scene.put(key, usage=usage)
    arn = scene.keys[key].arn
    text = f"{arn} key usage is {usage.value} which is not valid for {name}."
    assert scene.refusal() == Refusal("InvalidKeyUsageException", text, arn, "Disabled")


@pytest.mark.parametrize(("name", "key"), [pair for pair in KEYS if pair[0] in AWS_MANAGED["NOBODY"].split()], ids=str)
def test_an_account_does_not_change_its_aws_managed_keys(shared: Worker, name: str, key: str) -> None:
    scene = scene_of(shared, name, key, "Enabled")
    scene.put(key, kind=KeyKind.AWS_MANAGED, service="s3.amazonaws.com")
    refusal, arn = scene.refusal(), scene.keys[key].arn
    assert (refusal.code, refusal.key) == ("AccessDeniedException", arn)
    text = f"kms:{name} on resource: {arn} because no resource-based policy allows the kms:{name} action"
    assert refusal.text.endswith(text)


@pytest.mark.parametrize(("name", "key"), ON_A_KEY, ids=str)
def test_a_refused_call_leaves_a_key_pending_deletion_as_it_was(shared: Worker, name: str, key: str) -> None:
    """Only CancelKeyDeletion leads out of PendingDeletion."""
    scene = scene_of(shared, name, key, "PendingDeletion")
    if (name, key) == OLD_TARGET or answer_in(name, "PendingDeletion") is None:
        return
    key_id = scene.keys[key].key_id
    before = shared.shard(HOME).registry.keys.find(key_id)
    scene.refusal()
    assert shared.shard(HOME).registry.keys.find(key_id) == before
