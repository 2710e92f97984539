"""CreateKey, DescribeKey, ListKeys, EnableKey, DisableKey, UpdateKeyDescription.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html and its siblings.
"""

from __future__ import annotations

import dataclasses

from kms_grpc.aws_members import aws_names
from kms_grpc.crypto.new_uuid import new_uuid
from kms_grpc.errors import LimitExceededException
from kms_grpc.model.arn import key_arn
from kms_grpc.model.key import Key, Material, Origin
from kms_grpc.model.key_state import RULES
from kms_grpc.model.key_transitions import FIRST_STATE, Event, after
from kms_grpc.operations.admission.identifiers import stored
from kms_grpc.operations.admission.selectors import ById, by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.handlers.key_metadata import key_metadata
from kms_grpc.operations.handlers.pages import page
from kms_grpc.operations.handlers.policies import set_policy
from kms_grpc.operations.handlers.tags import check_tags, set_tags
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.kinds.write import Write
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


def create_key(call: Call, request: pb.CreateKeyRequest) -> pb.CreateKeyResponse:
    """Creates a symmetric encryption key: Enabled with its first material, or PendingImport if its origin is EXTERNAL.
    Raises LimitExceededException beyond the account's quota of keys, and the errors of a key policy (set_policy)."""
    quota = call.service.quotas.keys_per_account
    if call.writing.keys.count(call.account) >= quota:
        raise LimitExceededException(f"The account has {quota} keys in {call.shard.region}, which is its quota.")
    check_tags(request.tags)
    key = call.writing.keys.add(*_new_key(call, request))
    set_tags(call, key, request.tags)
    if request.HasField("policy"):
        key = set_policy(call, key, request.policy, may_lock_out=request.bypass_policy_lockout_safety_check)
    call.keys = (key,)
    return pb.CreateKeyResponse(key_metadata=key_metadata(key))


def describe_key(call: Call, request: pb.DescribeKeyRequest, key: Key) -> pb.DescribeKeyResponse:
    """Returns the key's metadata, in every key state."""
    return pb.DescribeKeyResponse(key_metadata=key_metadata(key))


def list_keys(call: Call, request: pb.ListKeysRequest) -> pb.ListKeysResponse:
    """Lists the account's keys in the region, in order of creation."""
    registry, account = call.shard.registry, call.account
    keys, marker = page(call, request, "", lambda after, count: registry.keys.list_after(account, after, count))
    entries = [keys_pb2.KeyListEntry(key_id=key.key_id, key_arn=key.arn) for key in keys]
    return pb.ListKeysResponse(keys=entries, truncated=marker is not None, next_marker=marker)


def enable_key(call: Call, request: pb.EnableKeyRequest, key: Key) -> pb.EnableKeyResponse:
    """Enables the key. An enabled key stays enabled."""
    _switch(call, key, Event.ENABLED)
    return pb.EnableKeyResponse()


def disable_key(call: Call, request: pb.DisableKeyRequest, key: Key) -> pb.DisableKeyResponse:
    """Disables the key. Every worker refuses its use once this has returned."""
    _switch(call, key, Event.DISABLED)
    return pb.DisableKeyResponse()


def update_key_description(
    call: Call, request: pb.UpdateKeyDescriptionRequest, key: Key
) -> pb.UpdateKeyDescriptionResponse:
    """Replaces the description: 0 to 8,192 characters."""
    call.writing.keys.change(dataclasses.replace(stored(call, key), description=request.description))
    return pb.UpdateKeyDescriptionResponse()


def _new_key(call: Call, request: pb.CreateKeyRequest) -> tuple[Key, Material | None]:
    key_id = new_uuid()
    origin = Origin(aws_names(keys_pb2.OriginType.DESCRIPTOR).get(request.origin, Origin.AWS_KMS))
    material = None
    if origin is Origin.AWS_KMS:
        material = call.shard.generate_material(key_id, call.account, call.time_ns)
    key = Key(
        key_id=key_id,
        arn=key_arn(call.shard.partition, call.shard.region, call.account, key_id),
        account=call.account,
        region=call.shard.region,
        state=FIRST_STATE[origin],
        description=request.description,
        created_ns=call.time_ns,
        current_material_id=material.material_id if material else None,
        origin=origin,
        material_missing=material is None,
    )
    return key, material


def _switch(call: Call, key: Key, event: Event) -> None:
    """Writes the key's state after the event, if it differs."""
    switched = after(key, event)
    if switched.state is not key.state:
        call.writing.keys.change(switched)


ROWS = (
    Write("CreateKey", pb.CreateKeyRequest, create_key, idempotent=True, action="kms:CreateKey"),
    Unary(
        "DescribeKey",
        pb.DescribeKeyRequest,
        describe_key,
        keys=(
            ById(field="key_id", action="kms:DescribeKey", rule=RULES["DescribeKey"], aliases=True, invalid_arn=True),
        ),
    ),
    Unary("ListKeys", pb.ListKeysRequest, list_keys, action="kms:ListKeys"),
    Write("EnableKey", pb.EnableKeyRequest, enable_key, keys=(by_id_or_arn("EnableKey"),)),
    Write("DisableKey", pb.DisableKeyRequest, disable_key, keys=(by_id_or_arn("DisableKey"),), takes_rights_away=True),
    Write(
        "UpdateKeyDescription",
        pb.UpdateKeyDescriptionRequest,
        update_key_description,
        keys=(by_id_or_arn("UpdateKeyDescription"),),
    ),
)
