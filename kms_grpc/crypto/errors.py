"""The exceptions of the core, and the mapping of C statuses to exceptions."""

from __future__ import annotations

import os
from typing import NoReturn

from kms_grpc import errors
from kms_grpc.crypto._native import ffi, lib


class CryptoError(Exception):
    """Base class of the core's errors. Their messages never contain a secret."""


class KeyringLost(CryptoError):
    """The keyring was never opened in this process, or a fork wiped it. Open it and load the keys again."""


class StaleHandle(CryptoError):
    """The key was evicted. Load it again."""


class KeyringFull(CryptoError):
    """The keyring has no free slot. Evict a key first."""


class WrappedKeyDamaged(CryptoError):
    """A wrapped key does not open: the wrapping key or the associated data is another, or bytes were changed."""


class RootKeyFileError(CryptoError):
    """The root key's file cannot be created or used. The message says why, and what to do."""


class CryptoFailure(CryptoError):
    """libcrypto failed, memory or randomness ran out, or an argument was invalid."""


_INTERNAL: dict[int, tuple[type[CryptoError], str]] = {
    lib.KMS_KEYRING_LOST: (KeyringLost, "the keyring is not open in this process"),
    lib.KMS_STALE_HANDLE: (StaleHandle, "the key is no longer in the keyring"),
    lib.KMS_KEYRING_FULL: (KeyringFull, "the keyring is full"),
    lib.KMS_WRAPPED_KEY_DAMAGED: (WrappedKeyDamaged, "the wrapped key does not open"),
    lib.KMS_WRONG_KIND: (CryptoFailure, "the handle names a key of another kind"),
    lib.KMS_WRONG_LENGTH: (CryptoFailure, "an argument has the wrong length"),
    lib.KMS_NO_RANDOMNESS: (CryptoFailure, "libcrypto cannot draw random bytes"),
    lib.KMS_CIPHER_FAILED: (CryptoFailure, "libcrypto failed"),
    lib.KMS_OUT_OF_MEMORY: (CryptoFailure, "out of memory"),
    lib.KMS_INCOMPLETE: (CryptoFailure, "the input is incomplete"),
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
    lib.KMS_FILE_WRONG_OWNER: "belongs to another user: run the service as its owner, or chown it to its user",
    lib.KMS_FILE_WRONG_MODE: "is open to others: chmod 600 it",
    lib.KMS_FILE_WRONG_SIZE: f"does not have {lib.KMS_ROOT_KEY_SIZE} bytes: restore it from its backup",
}


def raise_for(status: int) -> NoReturn:
    """Raises the exception of a status other than KMS_OK."""
    if status == lib.KMS_INVALID_CIPHERTEXT:
        raise errors.InvalidCiphertextException()
    if status in _CONTEXT:
        raise errors.ValidationException(_CONTEXT[status])
    kind, text = _INTERNAL.get(status, (CryptoFailure, f"status {status}"))
    raise kind(text)


def raise_for_root_key_file(status: int, path: str, code: int) -> NoReturn:
    """Raises the exception of a status about the root key's file. `code` is errno after the call."""
    if status == lib.KMS_FILE_SYSTEM_ERROR:
        raise RootKeyFileError(f"root key file {path}: {os.strerror(code)}")
    if status in _ROOT_KEY_FILE:
        raise RootKeyFileError(f"root key file {path} {_ROOT_KEY_FILE[status]}")
    raise_for(status)


def errno() -> int:
    """Returns errno of this thread's last C call."""
    return int(ffi.errno)
