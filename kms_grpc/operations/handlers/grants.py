"""CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant.

Who may call them, and with which grant, is decided in authorization/grants.py.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html and its siblings.
"""

from __future__ import annotations

from kms_grpc.authorization.principals import is_principal
from kms_grpc.errors import InvalidArnException, LimitExceededException, ValidationException
from kms_grpc.model.arn import key_arn
from kms_grpc.model.grant import Constraints, Grant, grantable, is_service
from kms_grpc.model.key import Key
from kms_grpc.model.key_spec import is_symmetric_encryption
from kms_grpc.operations.admission import grant_tokens
from kms_grpc.operations.admission.granted_keys import (
    OPERATION_NUMBERS,
    check_grant_id,
    find,
    granting_key,
    present,
    proposed,
    retired_key,
)
from kms_grpc.operations.admission.selectors import by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.handlers.key_metadata import timestamp
from kms_grpc.operations.handlers.pages import page
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.kinds.write import Write
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


def create_grant(call: Call, request: pb.CreateGrantRequest, key: Key) -> pb.CreateGrantResponse:
    """Creates a grant, or finds the one that the same request with the same name created. Raises ValidationException
    for operations and constraints that do not fit the key, InvalidArnException for a principal that is none, and
    LimitExceededException (50,000 per key unless configured)."""
    for principal in (request.grantee_principal, request.retiring_principal):
        _check_principal(call, principal)
    grant = proposed(call, request, key)
    _check_fit(grant, key)
    same = call.writing.grants.same_as(grant) if grant.name is not None else None
    if same is None:
        _check_quota(call, key)
        same = call.writing.grants.add(grant)
    call.record.responseElements = {"grantId": same.grant_id, "keyId": key.arn}
    return pb.CreateGrantResponse(grant_token=grant_tokens.new(call.shard, same), grant_id=same.grant_id)


def list_grants(call: Call, request: pb.ListGrantsRequest, key: Key) -> pb.ListGrantsResponse:
    """Lists the key's grants in order of creation: all, those to one grantee, or the one of an id."""
    grantee = request.grantee_principal or request.grantee_service_principal or None
    if request.grant_id:
        check_grant_id(request.grant_id)
        found = find(call, key, request.grant_id)
        listed = found is not None and grantee in (None, found.grantee)
        return pb.ListGrantsResponse(grants=[_entry(call, found)] if found and listed else [])
    read = call.shard.registry.grants.list_after
    filtered_by = f"{key.key_id}/{grantee or ''}"
    grants, marker = page(call, request, filtered_by, lambda after, count: read(key.key_id, grantee, after, count))
    entries = [_entry(call, grant) for grant in grants]
    return pb.ListGrantsResponse(grants=entries, truncated=marker is not None, next_marker=marker)


def list_retirable_grants(call: Call, request: pb.ListRetirableGrantsRequest) -> pb.ListRetirableGrantsResponse:
    """Lists the grants that name a retiring principal, in order of creation."""
    _check_principal(call, request.retiring_principal)
    retiring = request.retiring_principal or request.retiring_service_principal
    account = call.account if is_service(retiring) else None
    read = call.shard.registry.grants.retirable_after
    grants, marker = page(call, request, retiring, lambda after, count: read(retiring, account, after, count))
    entries = [_entry(call, grant) for grant in grants]
    return pb.ListRetirableGrantsResponse(grants=entries, truncated=marker is not None, next_marker=marker)


def retire_grant(call: Call, request: pb.RetireGrantRequest, key: Key) -> pb.RetireGrantResponse:
    """Removes the grant."""
    grant_id = request.grant_id
    if request.HasField("grant_token"):
        grant_id = grant_tokens.read(call.shard, request.grant_token).grant_id
    call.writing.grants.remove(present(find(call, key, grant_id), grant_id, key))
    call.record.additionalEventData = {"grantId": grant_id}
    return pb.RetireGrantResponse()


def revoke_grant(call: Call, request: pb.RevokeGrantRequest, key: Key) -> pb.RevokeGrantResponse:
    """Removes the grant. Raises InvalidGrantIdException, and NotFoundException if the key has no such grant."""
    check_grant_id(request.grant_id)
    call.writing.grants.remove(present(find(call, key, request.grant_id), request.grant_id, key))
    return pb.RevokeGrantResponse()


def _check_principal(call: Call, arn: str) -> None:
    """Checks the ARN of a principal, where one is given. Like a policy's, the principal need not exist."""
    if arn and not (is_principal(arn) and arn.startswith(f"arn:{call.shard.partition}:")):
        raise InvalidArnException(f"ARN does not refer to a valid principal: {arn}")


def _check_fit(grant: Grant, key: Key) -> None:
    fitting = grantable(key.spec, key.usage)
    unfit = [operation for operation in grant.operations if operation not in fitting]
    if unfit:
        raise ValidationException(
            f"A grant on {key.arn}, whose key spec is {key.spec} and key usage {key.usage}, cannot allow"
            f" {', '.join(unfit)}.",
            key=key.arn,
        )
    limits = grant.constraints
    if (limits.equals or limits.subset) and not is_symmetric_encryption(key.spec):
        raise ValidationException(
            f"A grant on {key.arn} cannot have constraints on the encryption context: its key spec is {key.spec}.",
            key=key.arn,
        )


def _check_quota(call: Call, key: Key) -> None:
    quota = call.service.quotas.grants_per_key
    if call.writing.grants.count(key.key_id) >= quota:
        raise LimitExceededException(
            f"{key.arn} has {quota} grants, which is the quota of a key.", key=key.arn, state=key.state
        )


def _entry(call: Call, grant: Grant) -> keys_pb2.GrantListEntry:
    entry = keys_pb2.GrantListEntry(
        key_id=key_arn(call.shard.partition, call.shard.region, grant.account, grant.key_id),
        grant_id=grant.grant_id,
        name=grant.name,
        creation_date=timestamp(grant.created_ns),
        issuing_account=f"arn:{call.shard.partition}:iam::{grant.issuing_account}:root",
        operations=[OPERATION_NUMBERS[operation] for operation in grant.operations],
        constraints=_constraints(grant.constraints),
    )
    setattr(entry, "grantee_service_principal" if is_service(grant.grantee) else "grantee_principal", grant.grantee)
    if grant.retiring is not None:
        field = "retiring_service_principal" if is_service(grant.retiring) else "retiring_principal"
        setattr(entry, field, grant.retiring)
    return entry


def _constraints(limits: Constraints) -> keys_pb2.GrantConstraints | None:
    if limits == Constraints():
        return None
    return keys_pb2.GrantConstraints(
        encryption_context_subset=limits.subset,
        encryption_context_equals=limits.equals,
        source_arn=limits.source_arn,
    )


ROWS = (
    Write("CreateGrant", pb.CreateGrantRequest, create_grant, idempotent=True, keys=(granting_key(),)),
    Unary("ListGrants", pb.ListGrantsRequest, list_grants, keys=(by_id_or_arn("ListGrants"),)),
    Unary(
        "ListRetirableGrants",
        pb.ListRetirableGrantsRequest,
        list_retirable_grants,
        action="kms:ListRetirableGrants",
        resource="retiring_principal",
    ),
    Write("RetireGrant", pb.RetireGrantRequest, retire_grant, keys=(retired_key(),), takes_rights_away=True),
    Write(
        "RevokeGrant", pb.RevokeGrantRequest, revoke_grant, keys=(by_id_or_arn("RevokeGrant"),), takes_rights_away=True
    ),
)
