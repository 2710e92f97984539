"""quickstart's walk by a client in another language: Node over @grpc/grpc-js, its stubs made from protos/.

Each step asserts in tests/languages/node/walk.mjs, ErrorInfo of every refused call included.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from google.rpc import status_pb2

from tests.faults.service import Service

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).with_name("node")
STEPS = (
    "a key and an alias",
    "a file encrypted under a data key",
    "opened again, byte for byte",
    "refused by another key",
    "refused by the other region",
    "refused under another encryption context",
    "a flipped bit refused",
    "refused while the key is disabled",
    "opened when it is enabled",
    "too much refused, as GetLimits says",
    "a wrong token refused",
    "the alias deleted",
)


def test_a_node_client_walks_the_walk(server: Service, node_modules: Path, tmp_path: Path) -> None:
    for script in NODE.glob("*.mjs"):
        shutil.copy(script, tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    google = Path(status_pb2.__file__).parents[2]
    command = ["node", "walk.mjs", __file__, *server.regions, str(ROOT / "protos"), str(google)]
    environment = {**os.environ, "KMS_GRPC_ENDPOINT": server.address, "KMS_GRPC_TOKEN": server.token}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    steps = [json.loads(line) for line in run.stdout.splitlines()]
    assert [step for step in steps if not step["done"]] == [], run.stderr
    assert tuple(step["step"] for step in steps) == STEPS, run.stderr
    assert run.returncode == 0
