"""The rows of a registry that have no class in model/, and the kinds of work that fall due on keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from kms_grpc.clock import DAY_NS

ANSWERS_KEPT_NS: Final = DAY_NS
"""How long an answer is repeated to a request with the same request id."""


@dataclass(frozen=True, slots=True)
class RememberedAnswer:
    """The answer to a request that the caller named by a request id, kept for repeated calls."""

    account: str
    operation: str
    request_id: str
    request_digest: bytes
    """SHA-256 of the serialized request."""
    response: bytes
    created_ns: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An audit record that was committed together with its write and has not been copied into the log yet."""

    event_id: str
    account: str
    record: bytes
    """One JSON object, as it will stand in the log."""


class Due(Enum):
    """Work on keys that falls due at a date."""

    DELETION = "deletion"
    """Keys pending deletion whose waiting period is over."""
    ROTATION = "rotation"
    """Enabled keys whose next automatic rotation has come."""
    EXPIRY = "expiry"
    """Keys in any state with a material that has expired."""


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The next deletion, expiry and rotation of a shard, for metrics and for the keeper's passes. Times are ns since
    1970, None for never."""

    pending_deletions: int
    """Keys that are pending deletion, including those that wait for their replicas."""
    next_deletion_ns: int | None
    next_expiry_ns: int | None
    next_rotation_ns: int | None = None
