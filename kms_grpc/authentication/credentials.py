"""What a door knows about a call before anybody looked at it: plain data, no transport."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

REQUEST_ID_LENGTH: Final = 128
"""Longest request id, in characters."""
REQUEST_ID: Final = re.compile(rf"[!-~]{{1,{REQUEST_ID_LENGTH}}}")
"""A request id: printable ASCII without spaces."""


class SignedRequest(NamedTuple):
    """An HTTP request as it came in: what a signature is verified over."""

    method: bytes
    path: bytes
    """As sent, percent-encoded."""
    query: bytes
    headers: Mapping[bytes, bytes]
    """By their names in lower case; values of one name joined by commas."""
    body: bytes


class Credentials(NamedTuple):
    """What a door extracted from a call, as plain data."""

    token: str | None
    """The bearer token of `authorization`, or None where none was sent."""
    region: str | None
    """The called region; None means the server's default region."""
    request_id: str
    """`kms-request-id`: the caller's name for this call, or one that the door made."""
    repeatable: bool
    """Whether the caller sent the request id, so that it can repeat the call by it."""
    peer: str
    user_agent: str
    deadline_ns: int | None = None
    """time.monotonic_ns() after which nobody waits for the answer."""
    signed: SignedRequest | None = None
    """Where the door's callers sign their requests; `token` means nothing then."""
