"""Whether a call may go on: deadline, region, keys, authorization, usage, kind and state, in that order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kms_grpc.authentication.credentials import REQUEST_ID, REQUEST_ID_LENGTH
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import (
    DEADLINE_PASSED,
    AccessDeniedException,
    DependencyTimeoutException,
    InvalidKeyUsageException,
    KMSError,
    ValidationException,
)
from kms_grpc.model.key import Key
from kms_grpc.model.key_state import may_use, refusal, refusal_of_kind
from kms_grpc.operations.admission import identifiers
from kms_grpc.operations.admission.selectors import UNREADABLE, ByBlob, KeySelector
from kms_grpc.operations.call import NO_CONTEXT, Call
from kms_grpc.registry.shards import Shard


def check_call(call: Call) -> None:
    """Work that nobody waits for any more is not begun, and a request id must be fit to be kept."""
    if not REQUEST_ID.fullmatch(call.credentials.request_id):
        raise ValidationException(
            f"kms-request-id must have 1 to {REQUEST_ID_LENGTH} printable ASCII characters without spaces."
        )
    deadline = call.credentials.deadline_ns
    if deadline is not None and time.monotonic_ns() >= deadline:
        raise DependencyTimeoutException(DEADLINE_PASSED)


def called_shard(call: Call) -> Shard:
    """The shard of the called region: `kms-region`, else the first one configured."""
    shards = call.service.shards
    region = call.credentials.region
    shard = shards.default if region is None else shards.get(region)
    if shard is None:
        raise ValidationException(f"Region {region} is not served here; served are: {', '.join(shards.regions)}")
    return shard


def admit(call: Call, request: Any) -> tuple[Key | None, ...]:
    """The keys of the call, one per selector of its row, each of them allowed, fit and usable. ValidationException
    for an encryption context that is too long, before anything is looked up."""
    operation = call.operation
    for selector in operation.keys:
        canonical(_context(selector, request))
    call.keys = ()
    if operation.action is not None and not call.may(operation.action, None, NO_CONTEXT):
        raise identifiers.denied(call, operation.action)
    keys = tuple(_permitted_key(call, selector, request) for selector in operation.keys)
    pairs = [(selector, key) for selector, key in zip(operation.keys, keys, strict=True) if key is not None]
    for selector, key in pairs:
        selector.confirm(call, request, key)
    for selector, key in pairs:
        _check_fit(call, selector, key)
    return keys


def _permitted_key(call: Call, selector: KeySelector, request: Any) -> Key | None:
    """Found and allowed before the next key is looked for: what is said of that one may not depend on whether this
    one exists."""
    key = selector.resolve(call, request)
    if key is None:
        return None
    call.keys += (key,)
    may = call.may(selector.action, key, _context(selector, request))
    if not (may and may_use(selector.rule, key, call.principal.service)):
        raise _denial(call, selector.action, selector)
    return key


def _context(selector: KeySelector, request: Any) -> Mapping[str, str]:
    """The encryption context that goes with a selector's key."""
    context: Mapping[str, str] = getattr(request, selector.context) if selector.context else NO_CONTEXT
    return context


def _denial(call: Call, action: str, selector: KeySelector) -> KMSError:
    """A blob's key that may not be used and one that does not exist are told apart by nothing."""
    return AccessDeniedException(UNREADABLE) if isinstance(selector, ByBlob) else identifiers.denied(call, action)


def _check_fit(call: Call, selector: KeySelector, key: Key) -> None:
    if selector.usage is not None and key.usage is not selector.usage:
        name = call.operation.name
        raise InvalidKeyUsageException(
            f"{key.arn} key usage is {key.usage} which is not valid for {name}.", key=key.arn, state=key.state
        )
    error = refusal_of_kind(selector.rule, key) or refusal(selector.rule, key)
    if error is not None:
        raise error
