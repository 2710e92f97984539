"""The test build of the core, with -DKMS_TEST_NONCES: an extension in which a test sets nonces and bare keys.

It is built in build/ under a hash of its sources, so that it is built once and shared by pytest's processes.
`python -m tests.crypto.core_with_nonces` builds it in advance.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import build

HERE = Path(__file__).resolve().parent
NAME = "kms_core_with_nonces"
SOURCES = [*sorted((build.ROOT / "native").glob("*.[ch]")), HERE / "with_nonces.c", HERE / "with_nonces.cdef.h"]


def load() -> ModuleType:
    """Returns the module, with `ffi` and `lib`."""
    spec = importlib.util.spec_from_file_location(NAME, built())
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built() -> Path:
    """Returns the path of the extension, after building it if its sources or flags have changed."""
    folder = build.ROOT / "build" / "tests" / _digest()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next(folder.glob("*.so"), None) or _build(folder)


def _build(folder: Path) -> Path:
    more = (str(HERE / "with_nonces.c"),)
    builder = build.extension(NAME, f"{build.ROOT}/", more, (*build.STRICT, "-DKMS_TEST_NONCES"))
    return build.build_extension(builder, NAME, folder)


def _digest() -> str:
    settings = [os.environ.get(name, "") for name in ("CFLAGS", "LDFLAGS", "CC", "KMS_GRPC_OPENSSL")]
    digest = hashlib.sha256(repr(settings).encode())
    for path in SOURCES:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(built())
