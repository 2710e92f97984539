"""Decisions by grants: which grant on a key allows a call, and who may retire a grant.

Sources: https://docs.aws.amazon.com/kms/latest/developerguide/grants.html and
https://docs.aws.amazon.com/kms/latest/developerguide/grant-delete.html
"""

from __future__ import annotations

from typing import Final

from kms_grpc.authorization.caller import Caller
from kms_grpc.authorization.condition_keys import KeyReference, reference_to
from kms_grpc.authorization.evaluation import Reading
from kms_grpc.model.grant import WITH_CONTEXT, Grant, GrantOperation

RETIRE: Final = "kms:RetireGrant"
_OPERATIONS: Final = {f"kms:{operation}": operation for operation in GrantOperation}
_SOURCE_ARN: Final = reference_to("aws:SourceArn") or KeyReference("")


def allowing(reading: Reading, grantees: tuple[str, ...]) -> Grant | None:
    """Returns the first grant to one of the grantees that allows the call. Grants that ask nothing of the encryption
    context come first, so a decision by one of them has not read it."""
    question = reading.question
    operation = _OPERATIONS.get(question.action)
    if operation is None:
        return None
    for grantee in grantees:
        for grant in question.grants.allowing(grantee, operation, question.encryption_context):
            if _allows(grant, operation, reading):
                return grant
    return None


def grantees_of(caller: Caller) -> tuple[str, ...]:
    """Returns the names by which a grant means this caller alone."""
    service = caller.principal.service
    return caller.arns if service is None else (*caller.arns, service)


def may_retire(grant: Grant, caller: Caller) -> bool:
    """Returns whether the grant itself names the caller as one who may retire it."""
    return not _retiring(grant).isdisjoint(grantees_of(caller))


def leaves_retiring_to(grant: Grant, caller: Caller) -> bool:
    """Returns whether the caller's account may retire the grant, so that its identity policies decide: it created the
    grant, or the grant names it."""
    return caller.principal.account == grant.issuing_account or caller.root in _retiring(grant)


def _retiring(grant: Grant) -> set[str | None]:
    by_grantee = GrantOperation.RETIRE_GRANT in grant.operations
    return {grant.retiring, grant.grantee if by_grantee else None} - {None}


def _allows(grant: Grant, operation: GrantOperation, reading: Reading) -> bool:
    question, limits = reading.question, grant.constraints
    if limits.source_arn is not None and reading.values(_SOURCE_ARN) != (limits.source_arn,):
        return False
    if operation is GrantOperation.CREATE_GRANT:
        return question.grant is not None and _is_within(question.grant, grant)
    if operation not in WITH_CONTEXT or not (limits.equals or limits.subset):
        return True
    reading.read.add("encryption_context")
    return limits.allow_context(question.encryption_context)


def _is_within(child: Grant, parent: Grant) -> bool:
    """Returns whether a grant gives no more than the one by which it is created."""
    return set(child.operations) <= set(parent.operations) and child.constraints.are_as_strict_as(parent.constraints)
