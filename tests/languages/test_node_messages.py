"""Messages of the service, decrypted by the AWS Encryption SDK for JavaScript."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from google.rpc import status_pb2

from kms_grpc.client import KeyManagementClient, StreamClient
from tests.faults.service import Service

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).with_name("node")
FRAME = 4096
SIZES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 1_000_003)
CONTEXT = {"app": "shop", "Größe": "🔑"}


def test_the_aws_library_for_javascript_decrypts_messages_of_the_service(
    server: Service, node_modules: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "messages"
    folder.mkdir()
    digests = {}
    where = {"token": server.token, "region": server.regions[0]}
    with KeyManagementClient(server.address, **where) as kms, StreamClient(server.address, **where) as streams:
        key_id = kms.create_key("for JavaScript").key_metadata.key_id
        for size in SIZES:
            content = os.urandom(size)
            message = b"".join(streams.encrypt(key_id, [content], CONTEXT, frame_length=FRAME))
            (folder / f"whole-{size}").write_bytes(message)
            digests[f"whole-{size}"] = hashlib.sha256(content).hexdigest()
        (folder / "truncated").write_bytes(message[:-1])
        (folder / "changed").write_bytes(message[:-1] + bytes([message[-1] ^ 1]))
    results = {line["name"]: line for line in decrypted_by_node(server, node_modules, tmp_path, folder)}
    assert {name: line.get("sha256") for name, line in results.items()} == digests | {
        "truncated": None,
        "changed": None,
    }
    for name in digests:
        assert (results[name]["suite"], results[name]["context"]) == (0x0478, CONTEXT)
    assert results["truncated"]["refused"]
    assert results["changed"]["refused"]


def decrypted_by_node(server: Service, node_modules: Path, place: Path, folder: Path) -> list[dict[str, str]]:
    for script in NODE.glob("*.mjs"):
        shutil.copy(script, place)
    (place / "node_modules").symlink_to(node_modules)
    google = Path(status_pb2.__file__).parents[2]
    command = ["node", "messages.mjs", server.regions[0], str(folder), str(ROOT / "protos"), str(google)]
    environment = {**os.environ, "KMS_GRPC_ENDPOINT": server.address, "KMS_GRPC_TOKEN": server.token}
    run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]
