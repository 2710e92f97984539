"""A server of several regions: nothing in one region is visible from another."""

from __future__ import annotations

import pytest

from tests.operations.service import ALICE, AWAY, HOME, Host, Refusal, Worker

UNREADABLE = "does not exist in this region"


@pytest.fixture
def far(worker: Worker) -> Worker:
    """A worker with a key and alias in the home region, and a key with the same alias in both regions."""
    worker.create(alias="alias/both")
    worker.create(alias="alias/both", region=AWAY)
    worker.create(alias="alias/home")
    return worker


def test_the_first_region_is_the_default(far: Worker) -> None:
    at_home = far.call("DescribeKey", key_id="alias/both").key_metadata
    assert at_home == far.call("DescribeKey", key_id="alias/both", region=HOME).key_metadata
    assert f":{AWAY}:" in far.call("DescribeKey", key_id="alias/both", region=AWAY).key_metadata.arn


def test_a_key_is_not_found_elsewhere(far: Worker) -> None:
    made = far.call("DescribeKey", key_id="alias/home").key_metadata
    arn = made.arn.replace(HOME, AWAY)
    alias = f"arn:aws:kms:{AWAY}:{ALICE.account}:alias/home"
    cases = {
        made.key_id: f"Key '{arn}' does not exist",
        arn: f"Key '{arn}' does not exist",
        made.arn: f"Invalid arn {HOME}",
        "alias/home": f"Alias {alias} is not found.",
        alias: f"Alias {alias} is not found.",
        f"arn:aws:kms:{HOME}:{ALICE.account}:alias/home": f"Invalid arn {HOME}",
    }
    for text, said in cases.items():
        assert far.refusal("DescribeKey", key_id=text, region=AWAY) == Refusal("NotFoundException", said)
        assert far.refusal("Encrypt", key_id=text, plaintext=b"p", region=AWAY) == Refusal("NotFoundException", said)


def test_lists_show_their_own_region(far: Worker) -> None:
    for region, keys, names in ((HOME, 2, ["alias/both", "alias/home"]), (AWAY, 1, ["alias/both"])):
        listed = far.call("ListKeys", region=region).keys
        assert len(listed) == keys
        assert all(f":{region}:" in entry.key_arn for entry in listed)
        assert [entry.alias_name for entry in far.call("ListAliases", region=region).aliases] == names


def test_a_ciphertext_is_refused_elsewhere(far: Worker) -> None:
    """The ciphertext is refused without a KeyId, and with every KeyId that could be meant."""
    blob = far.encrypt("alias/home")
    home = far.call("DescribeKey", key_id="alias/home").key_metadata
    away = far.call("DescribeKey", key_id="alias/both", region=AWAY).key_metadata
    for key_id in (None, home.key_id, home.arn, away.key_id, away.arn, "alias/both"):
        fields = {"key_id": key_id} if key_id else {}
        refusal = far.refusal("Decrypt", ciphertext_blob=blob, region=AWAY, **fields)
        assert refusal.code == "AccessDeniedException"
        assert UNREADABLE in refusal.text
        fields = {"source_key_id": key_id} if key_id else {}
        refusal = far.refusal("ReEncrypt", ciphertext_blob=blob, destination_key_id=away.key_id, region=AWAY, **fields)
        assert refusal.code == "AccessDeniedException"


def test_regions_that_are_not_served(far: Worker) -> None:
    for region in ("us-east-1", "EU-CENTRAL-1", "x" * 5000):
        text = f"Region {region} is not served here; served are: {HOME}, {AWAY}"
        assert far.refusal("ListKeys", region=region) == Refusal("ValidationException", text)
        assert far.refusal("DescribeKey", key_id="alias/home", region=region).code == "ValidationException"


def test_a_permit_is_valid_in_one_region_only(far: Worker) -> None:
    """A Permit of one region never answers for the other, though both have the alias."""
    for _ in range(3):
        for region in (HOME, AWAY):
            sealed = far.call("Encrypt", key_id="alias/both", plaintext=b"p", region=region)
            assert f":{region}:" in sealed.key_id


def test_shards_do_not_share_keys(host: Host) -> None:
    """A key copied into another region's shard decrypts nothing: its wrapped material is bound to its region."""
    worker = host.worker()
    made = worker.create()
    blob = worker.encrypt(made.key_id)
    registry = worker.shard(HOME).registry
    key, material = (
        registry.keys.find(made.key_id),
        registry.materials.find(made.key_id, bytes.fromhex(made.current_key_material_id)),
    )
    assert key is not None
    assert material is not None
    with worker.shard(AWAY).registry.writing() as transaction:
        transaction.keys.add(key, material)
    assert worker.refusal("Decrypt", ciphertext_blob=blob, region=AWAY).code in (
        "KeyUnavailableException",
        "AccessDeniedException",
    )
