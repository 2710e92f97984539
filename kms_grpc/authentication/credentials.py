"""The credentials of a call as plain data, before they are verified."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

REQUEST_ID_LENGTH: Final = 128
"""Longest request id, in characters."""
REQUEST_ID: Final = re.compile(rf"[!-~]{{1,{REQUEST_ID_LENGTH}}}")
"""A request id: printable ASCII without spaces."""

REGION_LENGTH: Final = 64
"""Most characters of a called region that records and answers repeat. Regions are shorter."""


class SignedRequest(NamedTuple):
    """An HTTP request as it was received; a signature is verified over it."""

    method: bytes
    path: bytes
    """The path as it was sent, percent-encoded."""
    query: bytes
    headers: Mapping[bytes, bytes]
    """Headers by name in lower case; values of one name are joined by commas."""
    body: bytes


class Credentials(NamedTuple):
    """The credentials of a call, as a front door has extracted them."""

    token: str | None
    """The bearer token of the header `authorization`, or None if none was sent."""
    region: str | None
    """The called region; None means the server's default region."""
    request_id: str
    """`kms-request-id` as the caller sent it, or an id that the front door made."""
    repeatable: bool
    """True if the caller sent the request id, so that a repeated call gets the same answer."""
    peer: str
    user_agent: str
    deadline_ns: int | None = None
    """The deadline of the call in time.monotonic_ns(); None for none."""
    signed: SignedRequest | None = None
    """The request, if the front door takes signed requests; `token` has no meaning then."""
    certificate: bytes | None = None
    """The client certificate of the connection (DER), of which TLS has verified that the caller has its key."""
