"""Answers of calls that create, remembered for 24 hours: the same `kms-request-id` with the same request gets them.

The transaction that did the work also remembers the answer, so neither exists without the other.
"""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.message import Message

from kms_grpc.errors import ValidationException
from kms_grpc.operations.call import Call
from kms_grpc.registry.rows import ANSWERS_KEPT_NS, RememberedAnswer


def remembered(call: Call, request: Any, response: type[Message]) -> Message | None:
    """Returns the answer given before, or None. Raises ValidationException if the id came with another request."""
    answer = call.writing.answers.find(call.account, call.operation, call.credentials.request_id)
    if answer is None or answer.created_ns + ANSWERS_KEPT_NS <= call.time_ns:
        return None
    if answer.request_digest != _digest(request):
        raise ValidationException(
            f"kms-request-id {answer.request_id} was used before with another request; use a new one."
        )
    found = response()
    found.ParseFromString(answer.response)
    return found


def remember(call: Call, request: Any, response: Message) -> None:
    """Stores the answer in the call's transaction."""
    call.writing.answers.remember(
        RememberedAnswer(
            call.account,
            call.operation,
            call.credentials.request_id,
            _digest(request),
            response.SerializeToString(deterministic=True),
            call.time_ns,
        )
    )


def _digest(request: Any) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
