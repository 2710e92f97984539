"""Grant tokens: opaque texts that name a grant. They are no credentials: whoever has one must still be the grantee.

| offset | bytes | field |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 16 | random, so that no two tokens are equal |
| 17 | 32 | grant id |
| 49 | 32 | MAC over the other fields, under the shard's key |
| 81 | n | key id in ASCII |

A token is these bytes in base64url without padding: 156 characters for a key id of 36. In AWS a grant may take minutes
to be obeyed everywhere, and a token makes it effective at once. Here every grant is obeyed at once, so a token is only
checked. It belongs to its region.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

from kms_grpc.crypto.envelope import random_bytes
from kms_grpc.crypto.framing import frame
from kms_grpc.errors import InvalidGrantTokenException
from kms_grpc.model.grant import Grant
from kms_grpc.registry.shards import Shard

INVALID: Final = "The grant token is not valid: send a token of CreateGrant of this region unchanged."
_VERSION: Final = b"\1"
_LABEL: Final = b"kms-grpc v1 grant token"
_GRANT, _MAC, _KEY = 17, 49, 81


class Named(NamedTuple):
    """The grant that a token names."""

    key_id: str
    grant_id: str


def new(shard: Shard, grant: Grant) -> str:
    """Returns another token of a grant."""
    head, key_id = _VERSION + random_bytes(16) + bytes.fromhex(grant.grant_id), grant.key_id.encode()
    token = head + shard.sign(frame(_LABEL, head, key_id)) + key_id
    return _written(token)


def _written(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def read(shard: Shard, text: str) -> Named:
    """Returns the grant that a token names, which may be gone. Raises InvalidGrantTokenException for any text that
    `new` did not return in this region."""
    try:
        token = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidGrantTokenException(INVALID) from None
    head, mac, key_id = token[:_MAC], token[_MAC:_KEY], token[_KEY:]
    if _written(token) != text or len(mac) < _KEY - _MAC or not shard.signed(frame(_LABEL, head, key_id), mac):
        raise InvalidGrantTokenException(INVALID)
    return Named(key_id.decode(), head[_GRANT:].hex())
