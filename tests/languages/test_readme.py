"""README's code, run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kms_grpc.config import from_values
from tests.conftest import StartServer
from tests.faults.service import Service

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str, containing: str = "") -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for block in found if containing in block]


def variables(server: Service) -> dict[str, str]:
    given = {"KMS_GRPC_ENDPOINT": server.address, "KMS_GRPC_TOKEN": server.token, "KMS_GRPC_REGION": server.regions[0]}
    return {**os.environ, **given, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("containing", "prints"),
    [
        ("DisabledException", "b'hello'\nDisabledException eu-central-1\n"),
        (
            "EnvelopeClient",
            "b'order 17'\n[b'order 18', b'order 19'] CacheCounters(hits=4, misses=2, calls=2, entries=2)\n",
        ),
        ("KeyManagementServiceStub", "b'hello'\n"),
        ("encrypt_batch", "['NoneType', 'NotFoundException']\nb'row one' True\n"),
    ],
)
def test_python(containing: str, prints: str, server: Service) -> None:
    [block] = blocks("python", containing)
    done = subprocess.run(
        [sys.executable, "-c", block], env=variables(server), capture_output=True, text=True, check=False
    )
    assert done.stdout == prints, done.stderr


def test_node(server: Service, node_modules: Path) -> None:
    [block] = blocks("js")
    environment = variables(server) | {"NODE_PATH": str(node_modules)}
    done = subprocess.run(
        ["node", "-e", block], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "hello\n", done.stderr


def test_every_python_block_is_run() -> None:
    assert len(blocks("python")) == 5
    assert len(blocks("js")) == 1


def test_the_walk(server: Service, tmp_path: Path) -> None:
    """The terminal part, with the key's id where KEY-ID stands."""
    [block] = blocks("sh", "alias create alias/orders")
    (tmp_path / "password.txt").write_text("correct horse")
    created = "key=$(kms-grpc keys create --description orders | awk '/^KeyId/ {print $2}')"
    lines = [line for line in block.splitlines() if not line.startswith("export ")]
    script = "\n".join(lines).replace("kms-grpc keys create --description orders", created).replace("KEY-ID", "$key")
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=variables(server), capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("correct horse"), done.stderr


def test_files_through_a_stream(server: Service, tmp_path: Path) -> None:
    """Each line as it stands, on small files."""
    [block] = blocks("sh", "encrypt-file")
    (tmp_path / "film.mp4").write_bytes(b"moving pictures")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"a still one")
    key = "key=$(kms-grpc keys create | awk '/^KeyId/ {print $2}')"
    alias = "kms-grpc alias create alias/orders $key || kms-grpc alias update alias/orders $key"
    script = f"{key}\n{alias}\n{block}\ncat back.mp4\nkms-grpc decrypt-file < photos.tar.kms | tar xO"
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=variables(server), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("moving picturesa still one")
    assert (tmp_path / "kept" / "photos" / "one.jpg.kms").exists()


def test_the_configuration() -> None:
    [block] = blocks("toml")
    settings = from_values(tomllib.loads(block))
    assert settings.principals[0].name == "orders"


def test_tls(start_server: StartServer, tmp_path: Path) -> None:
    """The certificate made by README's own command; README's call, but to this machine."""
    [serving] = blocks("sh", "openssl req")
    [calling] = blocks("sh", "KMS_GRPC_TLS_CA")
    made, _, _ = serving.partition("kms-grpc serve")
    subprocess.run(["bash", "-ec", made], cwd=tmp_path, capture_output=True, check=True)
    pair = re.findall(r"--tls-certificate|--tls-key|server\.\w+", serving.partition("kms-grpc serve")[2])
    assert pair == ["--tls-certificate", "server.pem", "--tls-key", "server.key"]
    files = [str(tmp_path / word) if word.startswith("server") else word for word in pair]
    served = start_server(*files, listen="localhost:0", tls_ca=tmp_path / "server.pem")
    script = calling.replace("kms.example.com:50051", served.address)
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=variables(served), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "no keys here\n"), done.stderr


def test_a_backup_made_as_it_says_opens(start_server: StartServer, tmp_path: Path) -> None:
    """While the server runs; restored beside it into an empty directory."""
    served = start_server(data_dir=tmp_path / "kms-data")
    with served.client() as kms:
        key_id = kms.create_key().key_metadata.key_id
        blob = kms.encrypt(key_id, b"kept").ciphertext_blob
    [block] = blocks("sh", "backup/")
    (tmp_path / "backup").mkdir()
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    served.kill()
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    shutil.copy(served.data_dir / "root.key", restored)
    shutil.copytree(tmp_path / "backup", restored / "regions")
    again = start_server(data_dir=restored)
    with again.client() as kms:
        assert kms.decrypt(blob).plaintext == b"kept"
