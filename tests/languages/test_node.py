"""The steps of quickstart by a client in Node, over @grpc/grpc-js with stubs made from protos/.

tests/languages/node/quickstart.mjs checks each step, with the ErrorInfo of each refused call.
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
    "decrypted, byte for byte",
    "refused with another key",
    "refused in another region",
    "refused with another encryption context",
    "refused with a flipped bit",
    "refused while the key is disabled",
    "decrypted after the key is enabled",
    "refused beyond the limit of GetLimits",
    "refused with a wrong token",
    "the alias deleted",
)


def test_a_node_client_runs_the_steps_of_quickstart(server: Service, node_modules: Path, tmp_path: Path) -> None:
    for script in NODE.glob("*.mjs"):
        shutil.copy(script, tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    google = Path(status_pb2.__file__).parents[2]
    command = ["node", "quickstart.mjs", __file__, *server.regions, str(ROOT / "protos"), str(google)]
    environment = {**os.environ, "KMS_GRPC_ENDPOINT": server.address, "KMS_GRPC_TOKEN": server.token}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    steps = [json.loads(line) for line in run.stdout.splitlines()]
    assert [step for step in steps if not step["done"]] == [], run.stderr
    assert tuple(step["step"] for step in steps) == STEPS, run.stderr
    assert run.returncode == 0
