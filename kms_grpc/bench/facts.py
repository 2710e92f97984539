"""The software versions, libcrypto and processor of a measurement."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("kms-grpc", "grpcio", "protobuf", "cryptography", "SQLAlchemy", "uvloop")


def facts() -> dict[str, Any]:
    """Returns `versions`, `libcrypto` (the service's and that of the `cryptography` package) and `processor`."""
    from cryptography.hazmat.backends.openssl import backend

    from kms_grpc.crypto.keyring import libcrypto_version
    from kms_grpc.registry.sql.library import sqlite_version

    return {
        "versions": {"python": platform.python_version(), "sqlite": sqlite_version(), **_packages()},
        "libcrypto": libcrypto_version(),
        "libcrypto_of_cryptography": backend.openssl_version_text(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
    }


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    for line in cpuinfo.read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
