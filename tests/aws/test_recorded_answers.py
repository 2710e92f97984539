"""Answers that were recorded on AWS and differ from its documentation, through both doors.

Pending material, names of aliases, keys that a Decrypt names, AWS managed keys, empty lists of tags.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.aws.conftest import AwsEndpoint
from tests.aws.doors import DOORS, DoorClient, Refused, client
from tests.aws.world import NEVER, OTHER_REGION, UNKNOWN, World, arn_of

INCORRECT = "The key ID in the request does not identify a CMK that can perform this operation."


@pytest.fixture(params=DOORS)
def world(request: pytest.FixtureRequest, doors: dict[str, DoorClient]) -> World:
    return World(doors[request.param])


def refused(world: World, operation: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        world.call(operation, **members)
    return caught.value.code, caught.value.text


def test_the_refusal_of_a_second_pending_material_names_the_keys_arn(world: World) -> None:
    key_id = world.imported()
    new = {**NEVER, "ImportType": "NEW_KEY_MATERIAL"}
    first = world.call("ImportKeyMaterial", **world.package(key_id, **new) | {"KeyId": key_id})["KeyMaterialId"]
    code, text = refused(world, "ImportKeyMaterial", **world.package(key_id, **new))
    assert code == "KMSInvalidStateException"
    assert f"cannot be imported into KMS key {arn_of(key_id)}, because another key material (id: {first})" in text


@pytest.mark.parametrize("name", ["alias/a:b", "alias/"])
def test_a_name_that_no_alias_may_have(world: World, name: str) -> None:
    expected = ("ValidationException", f"{name} contains invalid characters for an alias")
    assert refused(world, "CreateAlias", AliasName=name, TargetKeyId=world.key()) == expected


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias", "DeleteAlias"])
def test_a_reserved_name_is_refused_without_a_text(world: World, operation: str) -> None:
    target = {} if operation == "DeleteAlias" else {"TargetKeyId": world.key()}
    assert refused(world, operation, AliasName="alias/aws/s3", **target) == ("NotAuthorizedException", "")


@pytest.mark.parametrize("operation", ["Decrypt", "ReEncrypt"])
def test_a_key_that_is_named_is_resolved_first(world: World, operation: str, endpoint: AwsEndpoint) -> None:
    """Only a call without a KeyId is told about the key of its blob."""
    away = client(endpoint.url, OTHER_REGION)
    blob_of_away = away.encrypt(KeyId=away.create_key()["KeyMetadata"]["KeyId"], Plaintext=b"p")["CiphertextBlob"]
    own, other = world.key(), world.key()
    blobs = {"own": world.blob(own), "away": blob_of_away, "damaged": os.urandom(200)}
    member = "KeyId" if operation == "Decrypt" else "SourceKeyId"
    more = {} if operation == "Decrypt" else {"DestinationKeyId": own}

    def told(blob: str, named: str | None) -> tuple[str, str]:
        members = more | ({} if named is None else {member: named})
        return refused(world, operation, CiphertextBlob=blobs[blob], **members)

    for blob in blobs:
        assert told(blob, UNKNOWN) == ("NotFoundException", f"Key '{arn_of(UNKNOWN)}' does not exist")
        assert told(blob, arn_of(own, OTHER_REGION)) == ("NotFoundException", f"Invalid arn {OTHER_REGION}")
        assert told(blob, "alias/none")[0] == "NotFoundException"
    for blob in ("own", "away"):
        assert told(blob, other) == ("IncorrectKeyException", INCORRECT)
    assert told("away", own) == ("IncorrectKeyException", INCORRECT)
    assert told("damaged", own) == ("InvalidCiphertextException", "")
    code, text = told("away", None)
    assert (code, text.startswith("The ciphertext refers to")) == ("AccessDeniedException", True)


CHANGES: dict[str, dict[str, Any]] = {
    "DisableKey": {},
    "EnableKey": {},
    "ScheduleKeyDeletion": {},
    "CancelKeyDeletion": {},
    "UpdateKeyDescription": {"Description": "mine"},
    "TagResource": {"Tags": [{"TagKey": "k", "TagValue": "v"}]},
    "UntagResource": {"TagKeys": ["k"]},
    "EnableKeyRotation": {},
    "DisableKeyRotation": {},
    "RotateKeyOnDemand": {},
    "CreateAlias": {"AliasName": "alias/of-a-managed-key"},
}


@pytest.mark.parametrize("operation", CHANGES)
def test_an_aws_managed_key_is_changed_by_nobody(world: World, operation: str) -> None:
    metadata = world.call("DescribeKey", KeyId="alias/aws/s3")["KeyMetadata"]
    named = {"TargetKeyId" if operation == "CreateAlias" else "KeyId": metadata["KeyId"]}
    text = (
        f"User: arn:aws:iam::{metadata['AWSAccountId']}:root is not authorized to perform: kms:{operation} on resource:"
        f" {metadata['Arn']} because no resource-based policy allows the kms:{operation} action"
    )
    assert refused(world, operation, **named, **CHANGES[operation]) == ("AccessDeniedException", text)


def test_empty_lists_of_tags_change_nothing(world: World) -> None:
    key_id = world.tagged("a")
    world.call("TagResource", KeyId=key_id, Tags=[])
    world.call("UntagResource", KeyId=key_id, TagKeys=[])
    assert [tag["TagKey"] for tag in world.call("ListResourceTags", KeyId=key_id)["Tags"]] == ["a"]


@pytest.mark.parametrize(("operation", "member"), [("TagResource", "tags"), ("UntagResource", "tagKeys")])
def test_absent_lists_of_tags_are_refused(doors: dict[str, DoorClient], operation: str, member: str) -> None:
    """Only the AWS door tells an absent list from an empty one: protobuf has no absent lists."""
    world = World(doors["aws"])
    null = (
        f"1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
    )
    assert refused(world, operation, KeyId=world.key()) == ("ValidationException", null)
