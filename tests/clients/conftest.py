"""A real server for clients in other languages, and Node's packages in a cache outside the tree."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.service import Service

NODE = Path(__file__).with_name("node")
REGIONS = ("eu-central-1", "eu-west-1")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`kms-grpc serve` with two regions and two workers: `.address`, `.token`, `.regions`."""
    service = Service(tmp_path_factory.mktemp("clients") / "data", REGIONS)
    try:
        service.start()
        yield service
    finally:
        service.close()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """What package-lock.json names, installed once for each content of it."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("the Node client needs Node: apt-get install nodejs npm")
    digest = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kms-grpc"
    installed = home / f"node-client-{digest}"
    if not installed.exists():
        home.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=home))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, fresh)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=fresh, check=True, timeout=150)
        with contextlib.suppress(FileExistsError, OSError):
            fresh.rename(installed)
    return installed / "node_modules"
