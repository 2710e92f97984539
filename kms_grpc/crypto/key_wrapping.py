"""The key hierarchy: the root key wraps region keys, a region key wraps key material. All keys stay in C.

A wrapped key has 105 bytes; native/key_wrapping.h draws the format. `associated` names the place that the key belongs
to, so that it opens nowhere else; build it with `framing.frame`.

All functions may also raise KeyringLost, StaleHandle, KeyringFull, CryptoFailure.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, errno, raise_for, raise_for_root_key_file

WRAPPED_SIZE: int = lib.KMS_WRAPPED_KEY_SIZE
MATERIAL_ID_SIZE: int = lib.KMS_MATERIAL_ID_SIZE
KID_SIZE: int = lib.KMS_KID_SIZE
MAC_SIZE: int = lib.KMS_MAC_SIZE


def create_root_key_file(path: str | os.PathLike[str]) -> None:
    """Creates a file with a new root key: 32 random bytes, mode 0600, atomically and durably. Raises
    RootKeyFileError."""
    name = os.fspath(path)
    folder = Path(name).parent
    status = lib.kms_root_key_create(os.fsencode(name), os.fsencode(name + ".unfinished"), os.fsencode(folder))
    if status:
        raise_for_root_key_file(status, name, errno())


def load_root_key_file(path: str | os.PathLike[str]) -> int:
    """Loads the root key and returns its handle. Raises RootKeyFileError for a wrong owner, mode or size."""
    name = os.fspath(path)
    handle = ffi.new("uint64_t *")
    status = lib.kms_root_key_load(handle, os.fsencode(name))
    if status:
        raise_for_root_key_file(status, name, errno())
    return int(handle[0])


def root_key_fingerprint(root: int) -> str:
    """Returns 16 hex digits, derived one-way, that identify a root key."""
    return _filled(lib.KMS_FINGERPRINT_SIZE, lib.kms_root_key_fingerprint, root).hex()


def generate_region_key(root: int, associated: bytes) -> bytes:
    """Generates a region key and returns it wrapped under the root key."""
    return _filled(WRAPPED_SIZE, lib.kms_region_key_generate, root, associated, len(associated))


def load_region_key(root: int, associated: bytes, wrapped: bytes) -> int:
    """Unwraps a region key and returns its handle. Raises WrappedKeyDamaged."""
    return _handle(lib.kms_region_key_load, root, associated, len(associated), wrapped, len(wrapped))


def generate_material(region: int, kid: bytes, associated: bytes) -> tuple[bytes, bytes]:
    """Generates 32 bytes of symmetric key material. Returns its id (32 bytes) and its form wrapped under the region
    key."""
    material_id = ffi.new("uint8_t[]", MATERIAL_ID_SIZE)
    call = lib.kms_material_generate
    wrapped = _filled(WRAPPED_SIZE, call, region, _kid(kid), associated, len(associated), before=(material_id,))
    return bytes(ffi.buffer(material_id)), wrapped


def load_material(region: int, kid: bytes, material_id: bytes, associated: bytes, wrapped: bytes) -> int:
    """Unwraps material and derives its message root, whose handle it returns.

    Raises WrappedKeyDamaged if the material does not open or its id differs.
    """
    if len(material_id) != MATERIAL_ID_SIZE:
        raise CryptoFailure(f"a material id has {MATERIAL_ID_SIZE} bytes")
    arguments = (region, _kid(kid), material_id, associated, len(associated), wrapped, len(wrapped))
    return _handle(lib.kms_material_load, *arguments)


def mac(region: int, data: bytes) -> bytes:
    """Returns HMAC-SHA-256 (32 bytes) under a key derived from the region key."""
    return _filled(MAC_SIZE, lib.kms_mac, region, data, len(data))


def mac_matches(region: int, data: bytes, mac: bytes) -> bool:
    """Compares a MAC in constant time."""
    status = lib.kms_mac_matches(region, data, len(data), mac, len(mac))
    if status not in (lib.KMS_OK, lib.KMS_MAC_DIFFERS):
        raise_for(status)
    return bool(status == lib.KMS_OK)


def _kid(kid: bytes) -> bytes:
    if len(kid) != KID_SIZE:
        raise CryptoFailure(f"a kid has {KID_SIZE} bytes")
    return kid


def _filled(size: int, call: Callable[..., int], *arguments: Any, before: tuple[Any, ...] = ()) -> bytes:
    """Calls a C function and returns its output of `size` bytes. `before` are the outputs that precede it."""
    out = ffi.new("uint8_t[]", size)
    status = call(*before, out, *arguments)
    if status:
        raise_for(status)
    return bytes(ffi.buffer(out))


def _handle(call: Callable[..., int], *arguments: Any) -> int:
    handle = ffi.new("uint64_t *")
    status = call(handle, *arguments)
    if status:
        raise_for(status)
    return int(handle[0])
