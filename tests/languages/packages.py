"""npm packages for tests in JavaScript, installed into a cache outside the source tree."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def cache() -> Path:
    """Returns the cache folder for downloads and builds, and makes it if needed."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kms-grpc"
    home.mkdir(parents=True, exist_ok=True)
    return home


def installed(folder: Path, name: str) -> Path:
    """Returns the `node_modules` folder of a package-lock.json, installed once for each content of that file.

    Skips the test if Node or npm is missing.
    """
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("tests in JavaScript need Node: apt-get install nodejs npm")
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    kept = cache() / f"{name}-{digest}"
    if not kept.exists():
        unfinished = Path(tempfile.mkdtemp(dir=cache()))
        for file in ("package.json", "package-lock.json"):
            shutil.copy(folder / file, unfinished)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=unfinished, check=True, timeout=150)
        with contextlib.suppress(FileExistsError, OSError):
            unfinished.rename(kept)
    return kept / "node_modules"
