"""Buffers that C writes into before the bytes are copied out.

Allocating a buffer costs more than sealing a kilobyte, so those that are done with wait in a list. Taking one out and
putting it back are single steps under the GIL: threads and signal handlers never share one.
"""

from __future__ import annotations

from typing import Any

from kms_grpc.crypto._native import ffi, lib

CAPACITY = lib.KMS_MAXIMUM_PLAINTEXT + lib.KMS_BLOB_OVERHEAD
_IDLE_AT_MOST = 64
_idle: list[Any] = []


def take() -> Any:
    """A buffer of CAPACITY bytes, as `uint8_t *`."""
    try:
        return _idle.pop()
    except IndexError:
        return ffi.new("uint8_t[]", CAPACITY)


def give_back(buffer: Any) -> None:
    """For buffers that hold no secret."""
    if len(_idle) < _IDLE_AT_MOST:
        _idle.append(buffer)


def wipe_and_give_back(buffer: Any, size: int) -> None:
    """For buffers whose first `size` bytes are a plaintext."""
    lib.kms_cleanse(buffer, size)
    give_back(buffer)
