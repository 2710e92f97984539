"""A root key in a file: 32 random bytes, mode 0600, read by the C core only."""

from __future__ import annotations

from pathlib import Path

from kms_grpc.crypto import key_wrapping
from kms_grpc.crypto.keyring import evict


class FileRootKey:
    """Implements base.RootKey."""

    def __init__(self, path: Path) -> None:
        self._handle = key_wrapping.load_root_key_file(path)
        self._fingerprint = key_wrapping.root_key_fingerprint(self._handle)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def generate_region_key(self, associated: bytes) -> bytes:
        return key_wrapping.generate_region_key(self._handle, associated)

    def load_region_key(self, associated: bytes, wrapped: bytes) -> int:
        return key_wrapping.load_region_key(self._handle, associated, wrapped)

    def close(self) -> None:
        evict(self._handle)


class RootKeyFile:
    """Implements base.RootKeySource."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return self._path.exists()

    def create(self) -> None:
        key_wrapping.create_root_key_file(self._path)

    def open(self) -> FileRootKey:
        return FileRootKey(self._path)
