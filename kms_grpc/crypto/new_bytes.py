"""Bytes that C fills where they lie: an answer of a megabyte is neither zeroed before nor copied after.

CPython lets the bytes of a new object be written until anybody else has seen it
(https://docs.python.org/3/c-api/bytes.html#c.PyBytes_FromStringAndSize, with NULL). What it holds until then is
whatever lay there. So C writes every byte of it before it is given to others, or it is dropped; where C fails, C has
zeroed it.

    made = new_bytes(size)
    status = lib.kms_...(in_place(made), size, ...)
"""

from __future__ import annotations

import ctypes
from typing import Any

from kms_grpc.crypto._native import ffi

_from_string_and_size = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)


def new_bytes(size: int) -> bytes:
    """An object of its own, of so many bytes, not initialised; of none the one b"" that all share, where there is
    nothing to write. MemoryError; ValueError where the size is negative."""
    if size < 0:
        raise ValueError("negative size")
    made: bytes = _from_string_and_size(None, size)
    return made


def in_place(made: bytes, start: int = 0) -> Any:
    """Where C writes: `uint8_t *`, from the byte `start` on. Only for what `new_bytes` made and nobody else has seen;
    `made` must be held as long."""
    return ffi.cast("uint8_t *", ffi.from_buffer(made)) + start
