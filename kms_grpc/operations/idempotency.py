"""Calls that create can be repeated: the same `kms-request-id` with the same request gives the same answer for 24
hours.

The answer is remembered in the transaction that did the work, so there is no moment in which one exists without the
other.
"""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.message import Message

from kms_grpc.errors import ValidationException
from kms_grpc.operations.call import Call
from kms_grpc.registry.base import ANSWERS_KEPT_NS, RememberedAnswer


def remembered(call: Call, request: Any) -> Message | None:
    """The answer given before, or None. ValidationException where the id came with another request."""
    if not (call.operation.idempotent and call.credentials.repeatable):
        return None
    answer = call.writing.answers.find(call.account, call.operation.name, call.credentials.request_id)
    if answer is None or answer.created_ns + ANSWERS_KEPT_NS <= call.time_ns:
        return None
    if answer.request_digest != _digest(request):
        raise ValidationException(
            f"kms-request-id {answer.request_id} was used before with another request; use a new one."
        )
    response = call.operation.response()
    response.ParseFromString(answer.response)
    return response


def remember(call: Call, request: Any, response: Message) -> None:
    """Keep the answer beside the work that it tells of, in the same transaction."""
    if not (call.operation.idempotent and call.credentials.repeatable):
        return
    call.writing.answers.remember(
        RememberedAnswer(
            call.account,
            call.operation.name,
            call.credentials.request_id,
            _digest(request),
            response.SerializeToString(deterministic=True),
            call.time_ns,
        )
    )


def _digest(request: Any) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
