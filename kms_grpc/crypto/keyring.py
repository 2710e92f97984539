"""The keyring: locked pages in C, left out of core dumps, wiped on fork, where keys are named by handles.

A handle is an int: slot in the low 32 bits, generation in the high 32. It dies with its key (StaleHandle) and with a
fork (KeyringLost). A slot takes 64 bytes: the 16,384 of the default are 1 MiB of the 8 MiB that may usually be locked.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, raise_for

# OpenSSL 3.1 brought AES-GCM by AVX-512 and VAES: https://github.com/openssl/openssl/blob/master/CHANGES.md
_FIRST_WITH_VAES = 0x30100000
_VAES_FLAGS = {"vaes", "vpclmulqdq", "avx512f", "avx512bw", "avx512dq", "avx512vl"}


class KeyringFacts(NamedTuple):
    """What the kernel granted. `locked` is False where the process may not lock that much memory."""

    slots: int
    used: int
    locked: bool
    left_out_of_dumps: bool
    wiped_on_fork: bool


def open_keyring(slots: int = 16384) -> None:
    """Opens the process's keyring; a forked child has to do so anew. Does nothing where it is open."""
    status = lib.kms_keyring_open(slots)
    if status:
        raise_for(status)


def keyring_facts() -> KeyringFacts:
    """All zero and False where the keyring isn't open."""
    facts = ffi.new("kms_keyring_facts_t *")
    lib.kms_keyring_facts(facts)
    flags = (bool(facts.locked), bool(facts.left_out_of_dumps), bool(facts.wiped_on_fork))
    return KeyringFacts(facts.slots, facts.used, *flags)


def evict(handle: int) -> None:
    """Zeroes a key. Nothing happens where the handle is stale already."""
    status = lib.kms_keyring_evict(handle)
    if status not in (lib.KMS_OK, lib.KMS_STALE_HANDLE):
        raise_for(status)


def libcrypto_version() -> str:
    """Of the library that runs, e.g. "OpenSSL 3.0.19 27 Jan 2026"."""
    return str(ffi.string(lib.kms_libcrypto_version()).decode())


def libcrypto_advice(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """A sentence where a newer libcrypto would be several times as fast on this processor; else None."""
    if lib.kms_libcrypto_number() >= _FIRST_WITH_VAES or not _processor_flags(cpuinfo) >= _VAES_FLAGS:
        return None
    return (
        f"{libcrypto_version()} does not use this processor's VAES instructions; "
        "OpenSSL 3.5 encrypts large messages three to four times as fast here (set KMS_GRPC_OPENSSL when building)"
    )


def _processor_flags(cpuinfo: Path) -> set[str]:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def forbid_core_dumps() -> None:
    """No core dumps, and no debugger of another user (prctl PR_SET_DUMPABLE 0, RLIMIT_CORE 0)."""
    if lib.kms_forbid_core_dumps():
        raise CryptoFailure("the kernel refused to forbid core dumps")
