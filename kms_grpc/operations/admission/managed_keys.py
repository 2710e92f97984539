"""AWS managed keys, `alias/aws/<service>`. Each is made when it is first described, or first used by its service.

They belong to the account and have the KeyManager AWS. They rotate automatically every 365 days, count in no quota, and
only their service uses them. Source: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
"""

from __future__ import annotations

from typing import Final

from kms_grpc.audit.record import service_event
from kms_grpc.clock import DAY_NS
from kms_grpc.crypto.new_uuid import new_uuid
from kms_grpc.errors import AlreadyExistsException
from kms_grpc.model.arn import RESERVED_ALIAS_PREFIX, alias_arn, key_arn
from kms_grpc.model.key import Alias, Key, KeyKind, KeyState
from kms_grpc.operations.call import Call, MustWrite
from kms_grpc.registry.rows import OutboxRow

ROTATION_DAYS: Final = 365
SERVICE_SUFFIX: Final = ".amazonaws.com"


def provide(call: Call, account: str, name: str) -> Alias | None:
    """Returns the alias of an AWS managed key, and makes the key now if this call may; None where there is no such
    key."""
    service = name.removeprefix(RESERVED_ALIAS_PREFIX)
    if account != call.account or service not in call.service.managed_services or not _may_make(call, service):
        return None
    if not call.may_write:
        raise MustWrite
    try:
        _make(call, service, name)
    except AlreadyExistsException:
        return call.shard.registry.aliases.find(account, name)  # caches may not know it yet
    return call.shard.find_alias(account, name)


def _may_make(call: Call, service: str) -> bool:
    """Returns whether the call describes the key, or is made by the key's service."""
    return call.operation == "DescribeKey" or call.principal.service == service + SERVICE_SUFFIX


def _make(call: Call, service: str, name: str) -> None:
    shard, now_ns, key_id = call.shard, call.time_ns, new_uuid()
    material = shard.generate_material(key_id, call.account, now_ns)
    key = Key(
        key_id=key_id,
        arn=key_arn(shard.partition, shard.region, call.account, key_id),
        account=call.account,
        region=shard.region,
        state=KeyState.ENABLED,
        description=f"Default key that protects my {service} data when no other key is defined",
        created_ns=now_ns,
        current_material_id=material.material_id,
        kind=KeyKind.AWS_MANAGED,
        service=service + SERVICE_SUFFIX,
        rotation_period_days=ROTATION_DAYS,
        next_rotation_ns=now_ns + ROTATION_DAYS * DAY_NS,
    )
    event_id, line = service_event("CreateKey", shard.region, key, now_ns)
    with shard.writing() as transaction:
        transaction.keys.add(key, material)
        arn = alias_arn(shard.partition, shard.region, call.account, name)
        transaction.aliases.add(Alias(call.account, name, arn, key_id, now_ns, now_ns))
        transaction.outbox.add(OutboxRow(event_id, call.account, line))
