"""CreateKey, DescribeKey, UpdateKeyDescription, and requests that every operation refuses."""

from __future__ import annotations

from typing import Any

import pytest

from kms_grpc.model.key import KeyKind, KeyState, KeyUsage, Origin
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.operations.service import ALICE, AWAY, EVE, HOME, OPERATIONS, Host, Refusal, Worker, refusal_of, violation

ALWAYS_ABSENT = [
    "deletion_date",
    "pending_deletion_window_in_days",
    "expiration_model",
    "valid_to",
    "multi_region_configuration",
    "custom_key_store_id",
    "cloud_hsm_cluster_id",
    "xks_key_configuration",
    "signing_algorithms",
    "mac_algorithms",
    "key_agreement_algorithms",
    "encapsulation_algorithms",
]


def test_create_key(shared: Worker) -> None:
    """The key has AWS's defaults. Members that a plain key does not have are absent, not empty."""
    made = shared.call("CreateKey").key_metadata
    assert made.arn == f"arn:aws:kms:{HOME}:{ALICE.account}:key/{made.key_id}"
    assert len(made.key_id) == 36
    assert made.aws_account_id == ALICE.account
    assert made.creation_date.ToNanoseconds() == shared.service.clock.wall_ns()
    assert (made.enabled, made.key_state) == (True, keys_pb2.KEY_STATE_ENABLED)
    assert (made.key_usage, made.origin) == (keys_pb2.KEY_USAGE_TYPE_ENCRYPT_DECRYPT, keys_pb2.ORIGIN_TYPE_AWS_KMS)
    assert made.key_spec == made.customer_master_key_spec == keys_pb2.KEY_SPEC_SYMMETRIC_DEFAULT
    assert (made.key_manager, made.multi_region, made.description) == (keys_pb2.KEY_MANAGER_TYPE_CUSTOMER, False, "")
    assert list(made.encryption_algorithms) == [keys_pb2.ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT]
    assert len(bytes.fromhex(made.current_key_material_id)) == 32
    set_fields = {field.name for field, _ in made.ListFields()}
    assert set_fields.isdisjoint(ALWAYS_ABSENT)
    assert shared.call("DescribeKey", key_id=made.key_id).key_metadata == made


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key_spec": keys_pb2.KEY_SPEC_SYMMETRIC_DEFAULT}, "the default, said"),
        ({"customer_master_key_spec": keys_pb2.KEY_SPEC_SYMMETRIC_DEFAULT}, "its old name"),
        ({"key_usage": keys_pb2.KEY_USAGE_TYPE_ENCRYPT_DECRYPT}, "the only usage of that spec"),
        ({"origin": keys_pb2.ORIGIN_TYPE_AWS_KMS}, "the default, said"),
        ({"multi_region": False, "bypass_policy_lockout_safety_check": False}, "false uses no feature"),
        ({"description": "ä" * 8192}, "the longest description, in characters"),
    ],
)
def test_create_key_takes(shared: Worker, fields: dict[str, Any], reason: str) -> None:
    made = shared.call("CreateKey", **fields).key_metadata
    assert made.description == fields.get("description", "")


ENUM = "satisfy enum value set: ["
NO_USAGE = "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
RSA = keys_pb2.KEY_SPEC_RSA_2048


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        (
            {"description": "x" * 8193},
            "ValidationException",
            violation("description", "have length less than or equal to 8192", "x" * 257 + "…"),
        ),
        ({"key_spec": 99}, "ValidationException", violation("keySpec", ENUM, 99)),
        ({"key_usage": 99}, "ValidationException", violation("keyUsage", ENUM, 99)),
        (
            {"key_spec": RSA, "key_usage": keys_pb2.KEY_USAGE_TYPE_KEY_AGREEMENT},
            "ValidationException",
            "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048",
        ),
        ({"key_spec": RSA}, "ValidationException", NO_USAGE),
        (
            {"key_spec": 1, "customer_master_key_spec": 1},
            "ValidationException",
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request.",
        ),
        ({"key_spec": RSA, "key_usage": keys_pb2.KEY_USAGE_TYPE_SIGN_VERIFY}, "UnsupportedOperationException", "Key"),
        (
            {"key_spec": keys_pb2.KEY_SPEC_HMAC_256, "key_usage": keys_pb2.KEY_USAGE_TYPE_GENERATE_VERIFY_MAC},
            "UnsupportedOperationException",
            "Key",
        ),
        ({"origin": keys_pb2.ORIGIN_TYPE_AWS_CLOUDHSM}, "UnsupportedOperationException", "Origin AWS_CLOUDHSM"),
        ({"multi_region": True}, "UnsupportedOperationException", "MultiRegion"),
        (
            {"tags": [keys_pb2.Tag(tag_key="a" * 129, tag_value="b")]},
            "ValidationException",
            violation("tags.1.member.tagKey", "have length less than or equal to 128", "a" * 129),
        ),
        ({"custom_key_store_id": "cks-1"}, "UnsupportedOperationException", "CustomKeyStoreId"),
        ({"xks_key_id": "x"}, "UnsupportedOperationException", "XksKeyId"),
    ],
)
def test_create_key_refuses(shared: Worker, fields: dict[str, Any], code: str, text: str) -> None:
    """The error names a feature that is not supported; a request that AWS refuses too is ValidationException."""
    refusal = shared.refusal("CreateKey", **fields)
    assert refusal.code == code
    assert refusal.text.startswith(text)


UNBUILT = [
    (row.name, field.name, field.json_name)
    for row in OPERATIONS.values()
    for field in row.request.DESCRIPTOR.fields
    if field.name in ("recipient", "dry_run_modifiers", "custom_key_store_id") and row.name != "CreateKey"
]


@pytest.mark.parametrize(("name", "field", "member"), UNBUILT)
def test_features_that_are_not_supported_are_refused_by_name(
    shared: Worker, name: str, field: str, member: str
) -> None:
    made = shared.create()
    value: Any = {
        "recipient": keys_pb2.RecipientInfo(),
        "dry_run_modifiers": [1],
        "custom_key_store_id": "cks-1",
    }[field]
    fields: dict[str, Any] = {
        "key_id": made.key_id,
        "destination_key_id": made.key_id,
        "plaintext": b"p",
        "number_of_bytes": 16,
        "ciphertext_blob": b"blob",
    }
    known = set(OPERATIONS[name].request.DESCRIPTOR.fields_by_name)
    refusal = shared.refusal(name, **{key: sent for key, sent in fields.items() if key in known}, **{field: value})
    assert refusal.code == "UnsupportedOperationException"
    assert refusal.text.startswith(f"{member} is not supported yet")


def test_unknown_fields_are_refused(shared: Worker) -> None:
    """This includes fields inside the messages of a list, and known fields of another wire type."""
    tag = keys_pb2.Tag(tag_key="a", tag_value="b").SerializeToString() + b"\x98\x06\x01"
    raws = {
        b"\x98\x06\x01": "CreateKeyRequest: unknown field, number 99.",
        pb.CreateKeyRequest(tags=[]).SerializeToString()
        + b"\x42"
        + bytes([len(tag)])
        + tag: "Tag: unknown field, number 99.",
        b"\x08\x01": "CreateKeyRequest: Description is not encoded as its type says.",
    }
    for raw, text in raws.items():
        assert refusal_of_bytes(shared, "CreateKey", raw) == Refusal("ValidationException", text)


def refusal_of_bytes(worker: Worker, name: str, raw: bytes) -> Refusal:
    return refusal_of(lambda: worker.executor.execute(OPERATIONS[name], worker.credentials(), raw))


@pytest.mark.parametrize("raw", [b"\x0a\xff", b"\xff", b"\x0a\x02\xc3\x28", b"\x0a\x03\xed\xa0\x80"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_undecodable_requests(shared: Worker, name: str, raw: bytes) -> None:
    """The bytes are cut short, have no valid tag, hold a string that is not UTF-8, or hold a lone surrogate."""
    assert refusal_of_bytes(shared, name, raw).code == "ValidationException"


def test_describe_key_shows_what_a_key_has(shared: Worker) -> None:
    made = shared.create()
    shared.change(
        made.key_id,
        kind=KeyKind.AWS_MANAGED,
        service="s3.amazonaws.com",
        origin=Origin.EXTERNAL,
        usage=KeyUsage.KEY_AGREEMENT,
        spec="ECC_NIST_P256",
        current_material_id=None,
        state=KeyState.PENDING_DELETION,
        deletion_ns=2_000_000_000_123_456_789,
    )
    shown = shared.call("DescribeKey", key_id=made.key_id).key_metadata
    assert shown.key_manager == keys_pb2.KEY_MANAGER_TYPE_AWS
    assert (shown.origin, shown.key_usage) == (keys_pb2.ORIGIN_TYPE_EXTERNAL, keys_pb2.KEY_USAGE_TYPE_KEY_AGREEMENT)
    assert shown.key_spec == shown.customer_master_key_spec == keys_pb2.KEY_SPEC_ECC_NIST_P256
    assert not shown.HasField("current_key_material_id")
    assert not shown.encryption_algorithms
    assert shown.deletion_date.ToNanoseconds() == 2_000_000_000_123_456_789


@pytest.mark.parametrize("description", ["", "new", "ä" * 8192])
def test_update_key_description(shared: Worker, description: str) -> None:
    made = shared.create(description="old")
    shared.call("UpdateKeyDescription", key_id=made.key_id, description=description)
    assert shared.call("DescribeKey", key_id=made.key_id).key_metadata.description == description


def test_update_key_description_needs_one(shared: Worker) -> None:
    """An empty description is accepted, an absent one is not."""
    text = violation("description", "not be null", None)
    assert shared.refusal("UpdateKeyDescription", key_id=shared.create().key_id) == Refusal("ValidationException", text)


def test_all_violations_are_reported_at_once(shared: Worker) -> None:
    refusal = shared.refusal("Encrypt", encryption_algorithm=99)
    assert refusal.text.startswith("3 validation errors detected: Value null at 'keyId'")
    assert "Value null at 'plaintext'" in refusal.text
    assert "at 'encryptionAlgorithm'" in refusal.text


def test_quota_of_keys(make_host: Any) -> None:
    """Keys in all states count, except AWS managed keys. Each account and region has its own quota."""
    worker = make_host(quotas={"keys_per_account": 2}).worker()
    worker.create()
    worker.create(state=KeyState.PENDING_DELETION)
    text = f"The account has 2 keys in {HOME}, which is its quota."
    assert worker.refusal("CreateKey") == Refusal("LimitExceededException", text)
    worker.create(region=AWAY)
    worker.create(by=EVE)
    assert len(worker.call("ListKeys").keys) == 2


def test_only_create_key_creates_keys(host: Host) -> None:
    """AWS managed keys of configured services are the exception: see test_managed_keys.py."""
    worker = host.worker()
    for name in ("alias/aws/nothing", "alias/aws/", "alias/new", "12345678-90ab-4cde-8f01-234567890abc"):
        assert worker.refusal("DescribeKey", key_id=name).code == "NotFoundException"
        assert worker.refusal("Encrypt", key_id=name, plaintext=b"p").code == "NotFoundException"
        assert worker.refusal("GenerateDataKey", key_id=name, number_of_bytes=16).code == "NotFoundException"
        assert worker.refusal("CreateAlias", alias_name="alias/x", target_key_id=name).code in (
            "NotFoundException",
            "ValidationException",
        )
        assert worker.refusal("EnableKey", key_id=name).code == "NotFoundException"
    worker.call("GenerateRandom", number_of_bytes=16)
    worker.call("GetLimits")
    assert worker.refusal("CreateKey", multi_region=True).code == "UnsupportedOperationException"
    for region in host.settings.regions:
        assert not worker.call("ListKeys", region=region).keys
        assert not worker.call("ListAliases", region=region).aliases
        assert worker.shard(region).registry.keys.count(ALICE.account) == 0


def test_get_limits(shared: Worker) -> None:
    answer = shared.call("GetLimits", by=ALICE)
    assert (answer.default_region, list(answer.regions)) == (HOME, [HOME, AWAY])
    calls = answer.calls
    assert (calls.max_plaintext_bytes, calls.max_ciphertext_blob_bytes, calls.max_encryption_context_bytes) == (
        4096,
        65_663,
        8192,
    )
    assert (calls.max_data_key_bytes, calls.max_random_bytes, calls.ciphertext_blob_overhead_bytes) == (1024, 1024, 127)
    assert {page.operation: (page.default_limit, page.max_limit) for page in answer.pages} == {
        "ListKeys": (100, 1000),
        "ListAliases": (50, 100),
    }
    assert (answer.quotas.keys, answer.quotas.aliases_per_key) == (100_000, 50)
