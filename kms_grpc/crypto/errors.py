"""What can go wrong in the core, and how its statuses become exceptions."""

from __future__ import annotations

import os
from typing import NoReturn

from kms_grpc import errors
from kms_grpc.crypto._native import ffi, lib


class CryptoError(Exception):
    """Base of the core's own errors. None of them carries a secret."""


class KeyringLost(CryptoError):
    """The keyring was never opened here, or a fork wiped it: open it and load the keys anew."""


class StaleHandle(CryptoError):
    """The key was evicted: load it anew."""


class KeyringFull(CryptoError):
    """No free slot: evict something."""


class WrappedKeyDamaged(CryptoError):
    """A wrapped key doesn't open: another wrapping key, another place, or changed bytes."""


class RootKeyFileError(CryptoError):
    """The root key's file can't be made or used. The text says why and what to do."""


class CryptoFailure(CryptoError):
    """libcrypto refused, no randomness or memory, or a call with arguments that can't be right."""


_INTERNAL: dict[int, tuple[type[CryptoError], str]] = {
    lib.KMS_KEYRING_LOST: (KeyringLost, "the keyring is not open in this process"),
    lib.KMS_STALE_HANDLE: (StaleHandle, "the key is no longer in the keyring"),
    lib.KMS_KEYRING_FULL: (KeyringFull, "the keyring is full"),
    lib.KMS_WRAPPED_KEY_DAMAGED: (WrappedKeyDamaged, "the wrapped key does not open"),
    lib.KMS_WRONG_KIND: (CryptoFailure, "the handle names a key of another kind"),
    lib.KMS_WRONG_LENGTH: (CryptoFailure, "an argument has the wrong length"),
    lib.KMS_NO_RANDOMNESS: (CryptoFailure, "libcrypto has no randomness"),
    lib.KMS_CIPHER_FAILED: (CryptoFailure, "libcrypto failed"),
    lib.KMS_OUT_OF_MEMORY: (CryptoFailure, "no memory"),
    lib.KMS_INCOMPLETE: (CryptoFailure, "what was given is not all"),
}

_CONTEXT = {
    lib.KMS_CONTEXT_TOO_LONG: f"EncryptionContext is longer than {lib.KMS_MAXIMUM_CONTEXT} bytes",
    lib.KMS_CONTEXT_MALFORMED: "EncryptionContext is malformed",
    lib.KMS_CONTEXT_DUPLICATE_KEY: "EncryptionContext has the same key twice",
    lib.KMS_CONTEXT_NOT_UTF8: "EncryptionContext is not valid Unicode",
}

_ROOT_KEY_FILE = {
    lib.KMS_FILE_EXISTS: "exists already: a root key is never overwritten",
    lib.KMS_FILE_NOT_REGULAR: "is not a regular file: put the root key's file there",
    lib.KMS_FILE_WRONG_OWNER: "belongs to another user: chown it to the one who runs the service",
    lib.KMS_FILE_WRONG_MODE: "is open to others: chmod 600 it",
    lib.KMS_FILE_WRONG_SIZE: f"does not have {lib.KMS_ROOT_KEY_SIZE} bytes: restore it from its backup",
}


def raise_for(status: int) -> NoReturn:
    """Turns a status that isn't KMS_OK into its exception."""
    if status == lib.KMS_INVALID_CIPHERTEXT:
        raise errors.InvalidCiphertextException()
    if status in _CONTEXT:
        raise errors.ValidationException(_CONTEXT[status])
    kind, text = _INTERNAL.get(status, (CryptoFailure, f"status {status}"))
    raise kind(text)


def raise_for_root_key_file(status: int, path: str, code: int) -> NoReturn:
    """The same for the root key's file; `code` is errno as it was after the call."""
    if status == lib.KMS_FILE_SYSTEM_ERROR:
        raise RootKeyFileError(f"root key file {path}: {os.strerror(code)}")
    if status in _ROOT_KEY_FILE:
        raise RootKeyFileError(f"root key file {path} {_ROOT_KEY_FILE[status]}")
    raise_for(status)


def errno() -> int:
    """errno as the last C call of this thread left it."""
    return int(ffi.errno)
