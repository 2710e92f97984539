"""What a figure has to be read with: versions, libcrypto, processor."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("kms-grpc", "grpcio", "protobuf", "cryptography", "SQLAlchemy", "uvloop")


def facts() -> dict[str, Any]:
    """`versions`, `libcrypto` (the service's and, beside it, the one that `cryptography` brings) and `processor`."""
    from cryptography.hazmat.backends.openssl import backend

    from kms_grpc.crypto.keyring import libcrypto_version

    return {
        "versions": {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, **_packages()},
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
