"""The contract of a root key: an AEAD with a name, whose plaintexts are region keys that never leave C."""

from __future__ import annotations

from typing import Protocol


class RootKey(Protocol):
    """Associated data binds each wrapped region key to its partition, region and account, so that none can be moved."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this root key and tell nothing about it."""

    def generate_region_key(self, associated: bytes) -> bytes:
        """A fresh region key, wrapped."""

    def load_region_key(self, associated: bytes, wrapped: bytes) -> int:
        """The keyring handle of an unwrapped region key. WrappedKeyDamaged if it does not open."""

    def close(self) -> None:
        """Overwrite what this process holds of the root key; region keys that were loaded stay."""


class RootKeySource(Protocol):
    """Where a root key comes from."""

    @property
    def name(self) -> str:
        """Where it is, for people: a path, a token's label."""

    def exists(self) -> bool: ...

    def create(self) -> None:
        """Make one, whole or not at all. Only called where `exists` is False."""

    def open(self) -> RootKey:
        """RootKeyFileError, with a way out, where it cannot be used."""
