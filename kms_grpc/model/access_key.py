"""A caller's second kind of credential: an id and a secret that requests are signed with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class AccessKey:
    """As it is stored. Two are the same only where they are the same object: one that was read anew is another."""

    access_key_id: str
    """`AKIA` and 16 of A-Z and 2-7."""
    principal: str
    """Whose it is, by the name in the configuration."""
    sealed_secret: bytes
    """A ciphertext blob under an AWS owned key."""
    created_ns: int
