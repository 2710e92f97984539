"""Access keys, with which callers sign requests (AWS Signature Version 4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class AccessKey:
    """A stored access key. Compared by identity: a row that was read again is another object, so that caches notice."""

    access_key_id: str
    """`AKIA` and 16 of A-Z and 2-7."""
    principal: str
    """The name of its principal in the configuration."""
    sealed_secret: bytes
    """A ciphertext blob under an AWS owned key."""
    created_ns: int
