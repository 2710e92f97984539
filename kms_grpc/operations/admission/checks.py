"""Checks whether a call may go on: deadline, region, keys, authorization, usage, kind and state, in that order."""

from __future__ import annotations

import time
from typing import Any

from kms_grpc.authentication.credentials import REQUEST_ID, REQUEST_ID_LENGTH
from kms_grpc.authorization.authorizer import ACROSS_ACCOUNTS
from kms_grpc.authorization.base import DecidingStep
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import (
    DEADLINE_PASSED,
    DeadlineExceeded,
    InvalidKeyUsageException,
    KMSError,
    NotFoundException,
    ValidationException,
)
from kms_grpc.model.arn import is_key_id, key_arn
from kms_grpc.model.key import Key
from kms_grpc.model.key_state import refusal
from kms_grpc.operations.admission import grant_tokens, identifiers
from kms_grpc.operations.admission.request_facts import RequestFacts
from kms_grpc.operations.admission.selectors import KeySelector
from kms_grpc.operations.call import NO_CONTEXT, Call
from kms_grpc.operations.operation import Operation
from kms_grpc.registry.basis import Basis
from kms_grpc.registry.shards import Shard


def identify(call: Call) -> None:
    """Sets the call's caller and shard. Raises KMSError where either is unknown, or the call may not begin."""
    call.caller = call.service.authentication.principal(call.credentials)
    check_call(call)
    call.called = called_shard(call)


def check_call(call: Call) -> None:
    """Raises ValidationException for a request id that cannot be stored, and DeadlineExceeded if the deadline has
    passed, because the caller no longer waits."""
    if not REQUEST_ID.fullmatch(call.credentials.request_id):
        raise ValidationException(
            f"kms-request-id must have 1 to {REQUEST_ID_LENGTH} printable ASCII characters without spaces."
        )
    deadline = call.credentials.deadline_ns
    if deadline is not None and time.monotonic_ns() >= deadline:
        raise DeadlineExceeded(DEADLINE_PASSED)


def called_shard(call: Call) -> Shard:
    """Returns the shard of the called region: `kms-region`, else the first configured one."""
    shards = call.service.shards
    region = call.credentials.region
    shard = shards.default if region is None else shards.get(region)
    if shard is None:
        raise ValidationException(f"Region {region} is not served here; served are: {', '.join(shards.regions)}")
    return shard


def admit(call: Call, operation: Operation, request: Any) -> tuple[Key | None, ...]:
    """Returns the call's keys, one per selector; the caller may use each of them, and each fits the operation. Raises
    KMSError. An encryption context that is too long, and a text that is no grant token, are refused before any key is
    looked up."""
    for selector in operation.keys:
        canonical(selector.context_of(request))
    if operation.has_grant_tokens:
        for token in request.grant_tokens:
            grant_tokens.read(call.shard, token)
    call.keys, call.basis = (), Basis(call.shard.words)
    if operation.action is not None and not _may_call(call, operation, request):
        raise identifiers.denied(call, operation.action)
    keys = tuple(_permitted_key(call, selector, request) for selector in operation.keys)
    pairs = [(selector, key) for selector, key in zip(operation.keys, keys, strict=True) if key is not None]
    for selector, key in pairs:
        selector.confirm(call, request, key)
    for selector, key in pairs:
        _check_fit(call, selector, key)
    return keys


def _permitted_key(call: Call, selector: KeySelector, request: Any) -> Key | None:
    """Resolves and authorizes one key, before the next key is looked up. Otherwise the error about the next key would
    reveal whether this one exists."""
    key = _resolved(call, selector, request)
    if key is None:
        return None
    call.keys += (key,)
    facts = RequestFacts(call, request, key, selector)
    grant = selector.grant(call, request, key)
    if not call.may(selector.action, key, selector.context_of(request), facts, grant=grant):
        raise _denied(call, selector, facts)
    return key


def _denied(call: Call, selector: KeySelector, facts: RequestFacts) -> KMSError:
    """Returns the error for a caller that may not use a key. It names the key where only the policy of that key stands
    in the way: such a caller would learn of a key that does not exist (`_resolved`)."""
    denial, request, key = call.denial, facts.request, facts.key
    assert denial is not None, "the last decision denied"
    assert key is not None, "the denied call names a key"
    error = selector.denied(call, request)
    if denial.step is DecidingStep.NO_KEY_POLICY and selector.action not in ACROSS_ACCOUNTS:
        if call.may(selector.action, None, selector.context_of(request), facts, key.arn):
            error = identifiers.denied_by_its_policy(call, selector.action, key)
        call.denial = denial
    return error


def _may_call(call: Call, operation: Operation, request: Any) -> bool:
    assert operation.action is not None
    resource = getattr(request, operation.resource) or None if operation.resource else None
    return call.may(operation.action, None, NO_CONTEXT, RequestFacts(call, request), resource)


def _resolved(call: Call, selector: KeySelector, request: Any) -> Key | None:
    """Returns the key. The error about a key that does not exist is for callers that their policies would let use it;
    others are denied, as they are where it exists."""
    try:
        return selector.resolve(call, request)
    except NotFoundException:
        name = selector.name_in(request).rpartition("/")[2]
        arn = key_arn(call.shard.partition, call.shard.region, call.account, name if is_key_id(name) else "")
        facts = RequestFacts(call, request, None, selector)
        if call.may(selector.action, None, selector.context_of(request), facts, arn):
            raise
        raise selector.denied(call, request) from None


def _check_fit(call: Call, selector: KeySelector, key: Key) -> None:
    if selector.usage is not None and key.usage is not selector.usage:
        raise InvalidKeyUsageException(
            f"{key.arn} key usage is {key.usage} which is not valid for {call.operation}.",
            key=key.arn,
            state=key.state,
        )
    error = refusal(selector.rule, key)
    if error is not None:
        raise error
