"""Buffers that C writes into before the bytes are copied out.

Allocating a buffer costs more than sealing a kilobyte, so those that are done with wait in a list. Taking one out and
putting it back are single steps under the GIL: threads and signal handlers never share one. There are never more
buffers than calls that ran at once.
"""

from __future__ import annotations

from typing import Any

from kms_grpc.crypto._native import ffi, lib

CAPACITY: int = lib.KMS_MAXIMUM_PLAINTEXT + lib.KMS_BLOB_OVERHEAD
idle: list[Any] = []


def new() -> Any:
    """A buffer of CAPACITY bytes, as `char[]`: `ffi.unpack` makes bytes of it."""
    return ffi.new("char[]", CAPACITY)


def take() -> Any:
    """A buffer that is done with, or a new one."""
    try:
        return idle.pop()
    except IndexError:
        return new()


def give_back(buffer: Any) -> None:
    """For buffers that hold no secret."""
    idle.append(buffer)


def wipe_and_give_back(buffer: Any, size: int) -> None:
    """For buffers whose first `size` bytes are a plaintext."""
    lib.kms_cleanse(buffer, size)
    give_back(buffer)
