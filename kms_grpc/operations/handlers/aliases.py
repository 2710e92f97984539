"""CreateAlias, UpdateAlias, DeleteAlias, ListAliases.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html and its siblings.
"""

from __future__ import annotations

import dataclasses

from kms_grpc.errors import (
    AlreadyExistsException,
    LimitExceededException,
    ValidationException,
)
from kms_grpc.model.arn import alias_arn, is_alias_name
from kms_grpc.model.key import Alias, Key
from kms_grpc.model.key_spec import is_symmetric_encryption
from kms_grpc.model.key_state import RULES
from kms_grpc.operations.admission.identifiers import alias_not_found, check_alias_prefix
from kms_grpc.operations.admission.selectors import ById, ByIdIfNamed, alias_key
from kms_grpc.operations.call import Call
from kms_grpc.operations.handlers.key_metadata import timestamp
from kms_grpc.operations.handlers.pages import page
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.kinds.write import Write
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


def create_alias(call: Call, request: pb.CreateAliasRequest, key: Key) -> pb.CreateAliasResponse:
    """Creates an alias of a key. Raises AlreadyExistsException, ValidationException for a name that no alias may have,
    and LimitExceededException (50 per key unless configured)."""
    name = request.alias_name
    check_alias_prefix(name)
    if not is_alias_name(name):
        raise ValidationException(f"{name} contains invalid characters for an alias")
    arn = alias_arn(call.shard.partition, call.shard.region, call.account, name)
    if call.writing.aliases.find(call.account, name) is not None:
        raise AlreadyExistsException(f"An alias with the name {arn} already exists")
    _check_quota(call, key)
    now = call.time_ns
    call.writing.aliases.add(Alias(call.account, name, arn, key.key_id, created_ns=now, updated_ns=now))
    return pb.CreateAliasResponse()


def update_alias(call: Call, request: pb.UpdateAliasRequest, old: Key, new: Key) -> pb.UpdateAliasResponse:
    """Points the alias at another key of the same usage; both must be symmetric, or neither."""
    if (old.usage, is_symmetric_encryption(old.spec)) != (new.usage, is_symmetric_encryption(new.spec)):
        raise ValidationException(
            f"Alias {request.alias_name} cannot be moved from a {old.spec} key to a {new.spec} key."
        )
    if old.key_id != new.key_id:
        _check_quota(call, new)
    alias = _present(call, request.alias_name)
    call.writing.aliases.change(dataclasses.replace(alias, target_key_id=new.key_id, updated_ns=call.time_ns))
    return pb.UpdateAliasResponse()


def delete_alias(call: Call, request: pb.DeleteAliasRequest, key: Key) -> pb.DeleteAliasResponse:
    """Deletes the alias. Its key stays."""
    call.writing.aliases.remove(_present(call, request.alias_name))
    return pb.DeleteAliasResponse()


def list_aliases(call: Call, request: pb.ListAliasesRequest, key: Key | None) -> pb.ListAliasesResponse:
    """Lists the account's aliases in the region, or those of one key, in order of creation."""
    key_id = key.key_id if key else None
    registry, account = call.shard.registry, call.account
    aliases, marker = page(
        call, request, key_id or "", lambda after, count: registry.aliases.list_after(account, key_id, after, count)
    )
    return pb.ListAliasesResponse(
        aliases=[_entry(alias) for alias in aliases], truncated=marker is not None, next_marker=marker
    )


def _entry(alias: Alias) -> keys_pb2.AliasListEntry:
    return keys_pb2.AliasListEntry(
        alias_name=alias.name,
        alias_arn=alias.arn,
        target_key_id=alias.target_key_id,
        creation_date=timestamp(alias.created_ns),
        last_updated_date=timestamp(alias.updated_ns),
    )


def _present(call: Call, name: str) -> Alias:
    alias = call.writing.aliases.find(call.account, name)
    if alias is None:
        raise alias_not_found(call, call.account, name)
    return alias


def _check_quota(call: Call, key: Key) -> None:
    quota = call.service.quotas.aliases_per_key
    if call.writing.aliases.count(key.key_id) >= quota:
        raise LimitExceededException(
            f"{key.arn} has {quota} aliases, which is the quota of a key.", key=key.arn, state=key.state
        )


def _target(operation: str) -> ById:
    return ById(field="target_key_id", action=f"kms:{operation}", rule=RULES[operation])


ROWS = (
    Write("CreateAlias", pb.CreateAliasRequest, create_alias, idempotent=True, keys=(_target("CreateAlias"),)),
    Write("UpdateAlias", pb.UpdateAliasRequest, update_alias, keys=(alias_key("UpdateAlias"), _target("UpdateAlias"))),
    Write("DeleteAlias", pb.DeleteAliasRequest, delete_alias, keys=(alias_key("DeleteAlias"),)),
    Unary(
        "ListAliases",
        pb.ListAliasesRequest,
        list_aliases,
        keys=(ByIdIfNamed(field="key_id", action="kms:ListAliases", rule=RULES["ListAliases"], invalid_arn=True),),
        action="kms:ListAliases",
    ),
)
