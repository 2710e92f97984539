"""Uninitialised `bytes` that C fills in place, so that a large answer is neither zeroed before nor copied after.

CPython allows writing to a new bytes object until other code has a reference to it
(https://docs.python.org/3/c-api/bytes.html#c.PyBytes_FromStringAndSize, with NULL). Until then it holds arbitrary
memory, so C must write every byte before the object is passed on. If C fails, it has zeroed the object, which is then
dropped.

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
    """Returns a new, uninitialised object of `size` bytes; for 0 the shared b"". Raises MemoryError, ValueError."""
    if size < 0:
        raise ValueError("negative size")
    made: bytes = _from_string_and_size(None, size)
    return made


def in_place(made: bytes, start: int = 0) -> Any:
    """Returns the address of byte `start` as `uint8_t *`.

    Only for a result of `new_bytes` that no other code has seen. The caller keeps a reference to `made` meanwhile.
    """
    return ffi.cast("uint8_t *", ffi.from_buffer(made)) + start
