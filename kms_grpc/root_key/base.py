"""The contract of a root key: an AEAD with a name, whose plaintexts are region keys that never leave C."""

from __future__ import annotations

from typing import Protocol


class RootKey(Protocol):
    """An open root key. `associated` binds a wrapped region key to its partition, region and account, so that it cannot
    be moved to another shard."""

    @property
    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that identify this root key and reveal nothing of its value."""

    def generate_region_key(self, associated: bytes) -> bytes:
        """Returns a fresh region key, wrapped."""

    def load_region_key(self, associated: bytes, wrapped: bytes) -> int:
        """Unwraps a region key; returns its keyring handle. Raises WrappedKeyDamaged if it does not unwrap."""

    def close(self) -> None:
        """Overwrites the root key in this process. Region keys that were loaded stay."""


class RootKeySource(Protocol):
    """A place in which a root key is kept."""

    @property
    def name(self) -> str:
        """Returns the place in words for people: a path, or the label of an HSM token."""

    def exists(self) -> bool: ...

    def create(self) -> None:
        """Makes a root key, completely or not at all. Called only if `exists` is False."""

    def open(self) -> RootKey:
        """Opens the root key. Raises RootKeyFileError, which says what to do, if it cannot be used."""
