"""The block of JavaScript in README.md, run as it stands there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.documents.blocks import ROOT, block
from tests.faults.service import Service
from tests.proxies import ForbiddenProxy


def test_node(server: Service, node_modules: Path, proxy: ForbiddenProxy) -> None:
    """The block bypasses the proxy."""
    given = {"KMS_GRPC_ENDPOINT": server.address, "KMS_GRPC_TOKEN": server.token, "NODE_PATH": str(node_modules)}
    done = subprocess.run(
        ["node", "-e", block("README.md", "js", "proto-loader")],
        cwd=ROOT, env=os.environ | given | proxy.variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "hello\n", done.stderr
