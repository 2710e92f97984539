"""Addresses of functions of the core, for C outside it, which then calls them as the service does."""

from __future__ import annotations

from kms_grpc.crypto._native import ffi, lib


def address_of(name: str) -> int:
    """Returns the address of the function `name` of core.cdef.h."""
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
