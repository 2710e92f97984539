"""Tokens that callers keep for the service and can neither read nor make: KC-XAES-256-GCM under an AWS owned key.

A sealed token: version 1 · nonce 24 · ciphertext · tag 16 · commitment 32, so 73 bytes more than its data. `associated`
says what it is for; build it by `framing.frame`. Tokens hold no key.

Errors besides those named: KeyringLost, StaleHandle, CryptoFailure.
"""

from __future__ import annotations

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import raise_for

OVERHEAD: int = lib.KMS_WRAPPING_OVERHEAD
MAXIMUM_DATA: int = lib.KMS_MAXIMUM_PLAINTEXT


def seal_token(service: int, associated: bytes, data: bytes) -> bytes:
    """Seals 1 to 65,536 bytes under the AWS owned key that `service` names."""
    size = len(data) + OVERHEAD
    sealed = ffi.new("uint8_t[]", size)
    status = lib.kms_token_seal(sealed, size, service, associated, len(associated), data, len(data))
    if status:
        raise_for(status)
    return bytes(ffi.buffer(sealed))


def open_token(service: int, associated: bytes, sealed: bytes) -> bytes:
    """The data of a token. WrappedKeyDamaged where it isn't one of this key with this `associated`."""
    length = len(sealed) - OVERHEAD
    if not 0 < length <= MAXIMUM_DATA:
        raise_for(lib.KMS_WRAPPED_KEY_DAMAGED)
    data = ffi.new("uint8_t[]", length)
    status = lib.kms_token_open(data, length, service, associated, len(associated), sealed, len(sealed))
    if status:
        raise_for(status)
    return bytes(ffi.buffer(data))
