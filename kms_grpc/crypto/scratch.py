"""A pool of buffers that C writes its output to, before Python copies it.

Allocating a buffer costs more than sealing a kilobyte, so idle buffers are kept in a list. `list.pop` and `list.append`
are atomic under the GIL, so threads and signal handlers never share a buffer. The pool never has more buffers than
calls ran at the same time.
"""

from __future__ import annotations

from typing import Any

from kms_grpc.crypto._native import ffi, lib

CAPACITY: int = lib.KMS_MAXIMUM_PLAINTEXT + lib.KMS_BLOB_OVERHEAD
idle: list[Any] = []


def new() -> Any:
    """Returns a new buffer of CAPACITY bytes. It is a `char[]`, which `ffi.unpack` turns into bytes."""
    return ffi.new("char[]", CAPACITY)


def take() -> Any:
    """Returns an idle buffer, or a new one."""
    try:
        return idle.pop()
    except IndexError:
        return new()


def give_back(buffer: Any) -> None:
    """Returns a buffer without secrets to the pool."""
    idle.append(buffer)


def wipe_and_give_back(buffer: Any, size: int) -> None:
    """Wipes the first `size` bytes of a buffer and returns it to the pool."""
    lib.kms_cleanse(buffer, size)
    give_back(buffer)
