"""A signing key of Signature Version 4: HMAC-SHA-256 under the key of one day and region.

`hmac.digest` sets up the algorithm and both pads on each call, which takes longer than the digest. Here both pads are
hashed once (RFC 2104 §4 recommends it), so that a signature is two copies of a state.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

TERMINATOR: Final = b"aws4_request"
SERVICE: Final = b"kms"
_BLOCK: Final = 64
_EMPTY: Final = hashlib.sha256()


class SigningKey:
    """Signs with a key of 32 bytes."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def sign(self, text: bytes) -> bytes:
        """Returns HMAC-SHA-256 in hexadecimal digits."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest().encode()


def derive_signing_key(secret: bytes, date: bytes, region: bytes) -> bytes:
    """Returns the signing key for one day and region, 32 bytes."""
    return key_of_region(key_of_day(secret, date), region)


def key_of_day(secret: bytes, date: bytes) -> bytes:
    """Returns the key from which those of all regions are derived, 32 bytes."""
    return hmac.digest(b"AWS4" + secret, date, "sha256")


def key_of_region(key: bytes, region: bytes) -> bytes:
    """Returns the signing key of a region, 32 bytes. `key` is that of the day."""
    for part in (region, SERVICE, TERMINATOR):
        key = hmac.digest(key, part, "sha256")
    return key


class SigningKeys:
    """The signing keys of one access key, by day and region. Only those that have verified a signature are kept: date
    and region are the sender's to choose, and a stranger would displace those in use."""

    LIMIT: Final = 16

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, bytes], SigningKey] = {}

    def find(self, date: bytes, region: bytes) -> SigningKey | None:
        return self._kept.get((date, region))

    def keep(self, date: bytes, region: bytes, key: SigningKey) -> None:
        if (date, region) not in self._kept:
            if len(self._kept) >= self.LIMIT:
                self._kept.clear()
            self._kept[date, region] = key


def hex_digest(data: bytes) -> bytes:
    """Returns SHA-256 in hexadecimal digits."""
    state = _EMPTY.copy()
    state.update(data)
    return state.hexdigest().encode()
