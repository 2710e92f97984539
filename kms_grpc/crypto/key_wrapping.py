"""Root key, region keys, key material: each wraps the next. All of them stay in C.

A wrapped key has 105 bytes: version 1 · nonce 24 · ciphertext 32 · tag 16 · commitment 32. It is KC-XAES-256-GCM under
a key derived (SP 800-108r1, counter mode, HMAC-SHA-256) from the wrapping key; `associated` names the place it belongs
to, so that it opens nowhere else. Build it by `framing.frame`.

Errors besides those named: KeyringLost, StaleHandle, KeyringFull, CryptoFailure.
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
    """Makes a new root key, 32 random bytes, mode 0600: whole or not at all, and durable. RootKeyFileError."""
    name = os.fspath(path)
    folder = Path(name).parent
    status = lib.kms_root_key_create(os.fsencode(name), os.fsencode(name + ".unfinished"), os.fsencode(folder))
    if status:
        raise_for_root_key_file(status, name, errno())


def load_root_key_file(path: str | os.PathLike[str]) -> int:
    """The root key's handle. RootKeyFileError where owner, mode or size isn't right."""
    name = os.fspath(path)
    handle = ffi.new("uint64_t *")
    status = lib.kms_root_key_load(handle, os.fsencode(name))
    if status:
        raise_for_root_key_file(status, name, errno())
    return int(handle[0])


def root_key_fingerprint(root: int) -> str:
    """16 hex digits that tell root keys apart and say nothing about them."""
    return _filled(lib.KMS_FINGERPRINT_SIZE, lib.kms_root_key_fingerprint, root).hex()


def generate_region_key(root: int, associated: bytes) -> bytes:
    """A new region key, wrapped under the root key."""
    return _filled(WRAPPED_SIZE, lib.kms_region_key_generate, root, associated, len(associated))


def load_region_key(root: int, associated: bytes, wrapped: bytes) -> int:
    """The region key's handle. WrappedKeyDamaged."""
    return _handle(lib.kms_region_key_load, root, associated, len(associated), wrapped, len(wrapped))


def generate_material(region: int, kid: bytes, associated: bytes) -> tuple[bytes, bytes]:
    """New material of a symmetric key, 32 bytes: its id (32 bytes) and itself, wrapped under the region key."""
    material_id = ffi.new("uint8_t[]", MATERIAL_ID_SIZE)
    call = lib.kms_material_generate
    wrapped = _filled(WRAPPED_SIZE, call, region, _kid(kid), associated, len(associated), before=(material_id,))
    return bytes(ffi.buffer(material_id)), wrapped


def load_material(region: int, kid: bytes, material_id: bytes, associated: bytes, wrapped: bytes) -> int:
    """Unwraps a material and derives its message root. WrappedKeyDamaged, also where the material's id differs."""
    if len(material_id) != MATERIAL_ID_SIZE:
        raise CryptoFailure(f"a material id has {MATERIAL_ID_SIZE} bytes")
    arguments = (region, _kid(kid), material_id, associated, len(associated), wrapped, len(wrapped))
    return _handle(lib.kms_material_load, *arguments)


def mac(region: int, data: bytes) -> bytes:
    """HMAC-SHA-256, 32 bytes, under a key derived from the region key."""
    return _filled(MAC_SIZE, lib.kms_mac, region, data, len(data))


def mac_matches(region: int, data: bytes, mac: bytes) -> bool:
    """Compares in constant time."""
    status = lib.kms_mac_matches(region, data, len(data), mac, len(mac))
    if status not in (lib.KMS_OK, lib.KMS_MAC_DIFFERS):
        raise_for(status)
    return bool(status == lib.KMS_OK)


def _kid(kid: bytes) -> bytes:
    if len(kid) != KID_SIZE:
        raise CryptoFailure(f"a kid has {KID_SIZE} bytes")
    return kid


def _filled(size: int, call: Callable[..., int], *arguments: Any, before: tuple[Any, ...] = ()) -> bytes:
    """Calls with an output buffer of `size` bytes; `before` are outputs that come first."""
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
