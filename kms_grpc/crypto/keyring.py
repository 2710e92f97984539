"""The keyring: memory in C that holds all keys. It is locked, excluded from core dumps, and wiped on fork.

A handle names a key. It is an int: slot in the low 32 bits, generation in the high 32. It becomes invalid when its key
is evicted (StaleHandle) and in a forked child (KeyringLost). A slot takes 64 bytes. The default of 16,384 slots takes 1
MiB; the usual RLIMIT_MEMLOCK is 8 MiB.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, raise_for

# OpenSSL 3.1 added AES-GCM with AVX-512 and VAES: https://github.com/openssl/openssl/blob/master/CHANGES.md
_FIRST_WITH_VAES = 0x30100000
_VAES_FLAGS = {"vaes", "vpclmulqdq", "avx512f", "avx512bw", "avx512dq", "avx512vl"}


class KeyringFacts(NamedTuple):
    """The protection that the kernel granted. `locked` is False if RLIMIT_MEMLOCK is too low."""

    slots: int
    used: int
    locked: bool
    left_out_of_dumps: bool
    wiped_on_fork: bool


def open_keyring(slots: int = 16384) -> None:
    """Opens the keyring of the process. Does nothing if it is open. A forked child must open it again."""
    status = lib.kms_keyring_open(slots)
    if status:
        raise_for(status)


def keyring_facts() -> KeyringFacts:
    """Returns the state of the keyring; all zero and False if it is not open."""
    facts = ffi.new("kms_keyring_facts_t *")
    lib.kms_keyring_facts(facts)
    flags = (bool(facts.locked), bool(facts.left_out_of_dumps), bool(facts.wiped_on_fork))
    return KeyringFacts(facts.slots, facts.used, *flags)


def evict(handle: int) -> None:
    """Zeroes a key and frees its slot. Does nothing if the handle is stale."""
    status = lib.kms_keyring_evict(handle)
    if status not in (lib.KMS_OK, lib.KMS_STALE_HANDLE):
        raise_for(status)


def libcrypto_version() -> str:
    """Returns the version of the loaded libcrypto, e.g. "OpenSSL 3.0.19 27 Jan 2026"."""
    return str(ffi.string(lib.kms_libcrypto_version()).decode())


def libcrypto_advice(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Returns a recommendation if a newer libcrypto would be several times as fast on this processor, else None."""
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
    """Forbids core dumps and debuggers of other users (prctl PR_SET_DUMPABLE 0, RLIMIT_CORE 0)."""
    if lib.kms_forbid_core_dumps():
        raise CryptoFailure("the kernel refused to forbid core dumps")
