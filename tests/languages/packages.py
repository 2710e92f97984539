"""npm's packages for a test in JavaScript, in a cache outside the tree."""

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
    """Where what was downloaded or built once is kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kms-grpc"
    home.mkdir(parents=True, exist_ok=True)
    return home


def installed(folder: Path, name: str) -> Path:
    """What the folder's package-lock.json names, installed once for each content of it: `node_modules`."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("tests in JavaScript need Node: apt-get install nodejs npm")
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    kept = cache() / f"{name}-{digest}"
    if not kept.exists():
        fresh = Path(tempfile.mkdtemp(dir=cache()))
        for file in ("package.json", "package-lock.json"):
            shutil.copy(folder / file, fresh)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=fresh, check=True, timeout=150)
        with contextlib.suppress(FileExistsError, OSError):
            fresh.rename(kept)
    return kept / "node_modules"
