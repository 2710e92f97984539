"""The code in the documents, run as it stands there. See blocks.py."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from kms_grpc.cli.main import cli
from kms_grpc.config import from_values
from tests.conftest import StartServer
from tests.documents.blocks import Block, block, every_block
from tests.proxies import ForbiddenProxy
from tests.served import Served

ELSEWHERE = {
    ("README.md", "apt-get update"): ".ci/run",
    ("README.md", "nghttp2-client"): ".ci/run",
    ("README.md", "@grpc/proto-loader"): "tests/languages/test_readme.py",
    ("README.md", "kms-grpc serve"): "test_top_to_bottom.py",
    ("README.md", "kms-grpc decrypt"): "test_top_to_bottom.py",
    ("README.md", "aws kms encrypt"): "test_top_to_bottom.py",
    ("kms_grpc/endpoints/README.md", "aws kms create-key"): "test_top_to_bottom.py",
    ("kms_grpc/processes/README.md", "openssl req"): "test_tls",
    ("kms_grpc/processes/README.md", "KMS_GRPC_TLS_CA"): "test_tls",
    ("kms_grpc/processes/README.md", "backup/"): "test_a_backup_made_as_it_says_opens",
}
"""Blocks with a test of their own, found by their document and a text in them, and the place of the test."""


def has_its_own_test(found: Block) -> bool:
    return any(found.document == document and text in found.text for document, text in ELSEWHERE)


def run_here(*languages: str) -> list[Block]:
    every = [found for found in every_block() if found.language in languages and not found.reason]
    return [found for found in every if not has_its_own_test(found)]


def shell_documents() -> list[str]:
    return list(dict.fromkeys(found.document for found in run_here("sh")))


def variables(server: Served) -> dict[str, str]:
    given = {"KMS_GRPC_ENDPOINT": server.address, "KMS_GRPC_TOKEN": server.token, "KMS_GRPC_REGION": server.regions[0]}
    return {**os.environ, **given, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_few_blocks_are_not_run() -> None:
    not_run = [str(found) for found in every_block() if found.reason]
    assert len(not_run) <= 8, not_run


def test_each_block_with_a_test_of_its_own_is_there_once() -> None:
    for document, text in ELSEWHERE:
        assert len([found for found in every_block() if found.document == document and text in found.text]) == 1, text


@pytest.mark.parametrize("found", run_here("python"), ids=str)
def test_python(found: Block, server: Served, proxy: ForbiddenProxy) -> None:
    """The block runs against a server and prints the `text` block after it. It bypasses the proxy."""
    done = subprocess.run(
        [sys.executable, "-c", found.text], env=variables(server) | proxy.variables, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (found.prints or ""), done.stderr


PROLOGUE = """
key=$(kms-grpc keys create --description test | awk '/^KeyId/ {print $2}')
kms-grpc alias delete alias/orders >/dev/null 2>&1 || true
"""
"""Before each block: a key for KEY-ID."""
ALIAS = "kms-grpc alias create alias/orders"
"""The alias that the documents use; made before a block that does not make it itself."""

FILES = {
    "password.txt": b"correct horse",
    "film.mp4": b"moving pictures",
    "photos/one.jpg": b"a still one",
    "big.tar": bytes(range(256)) * 400,
}


def script(text: str) -> str:
    """Makes a script of a block that runs against the server of the tests: the script exports no endpoint and starts
    no server. KEY-ID is the key that the block made last."""
    kept = [line for line in text.splitlines() if not re.match(r"export KMS_GRPC_|kms-grpc serve ", line)]
    created = r"key=$(\1 | tee /dev/stderr | awk '/^KeyId/ {print $2}')"
    lines = [re.sub(r"^(kms-grpc keys create[^#]*)(#.*)?$", created, line) for line in kept]
    alias = "" if ALIAS in text else f"{ALIAS} $key >/dev/null\n"
    return PROLOGUE + alias + "\n".join(lines).replace("KEY-ID", "$key")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("document", shell_documents())
def test_shell(document: str, server: Served, tmp_path: Path) -> None:
    """The blocks of a document run one after the other in one folder."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for found in run_here("sh"):
        if found.document != document:
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script(found.text)],
            cwd=tmp_path, env=variables(server), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{found}\n{done.stdout}{done.stderr}"


def served_lines() -> list[str]:
    texts = [found.text for found in every_block() if found.language == "sh"]
    return [line for text in texts for line in re.findall(r"^kms-grpc serve .*$", text, re.MULTILINE)]


@pytest.mark.parametrize("line", dict.fromkeys(served_lines()))
def test_a_line_that_starts_a_server_has_only_options_that_there_are(line: str) -> None:
    command = cli.get_command(click.Context(cli), "serve")
    assert command is not None
    command.make_parser(click.Context(command)).parse_args(shlex.split(line, comments=True)[2:])


CALLERS = ("orders", "service accounts", "workloads")
"""The first caller of each configuration in the documents."""


@pytest.mark.parametrize("found", run_here("toml"), ids=str)
def test_a_configuration_is_accepted(found: Block) -> None:
    settings = from_values(tomllib.loads(found.text))
    assert next(iter((*settings.principals, *settings.mappings))).name in CALLERS


@pytest.mark.parametrize("found", run_here("ini"), ids=str)
def test_a_systemd_unit_starts_the_server(found: Block) -> None:
    [line] = re.findall(r"^ExecStart=\S+(kms-grpc serve .*)$", found.text, re.MULTILINE)
    test_a_line_that_starts_a_server_has_only_options_that_there_are(line)


def test_files_come_back_through_a_stream(server: Served, tmp_path: Path) -> None:
    for name in ("film.mp4", "photos/one.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(FILES[name])
    text = script(block("kms_grpc/cli/README.md", "sh", "encrypt-file"))
    text += "\ncat back.mp4\nkms-grpc decrypt-file < photos.tar.kms | tar xO"
    done = subprocess.run(
        ["bash", "-euc", text], cwd=tmp_path, env=variables(server), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("moving picturesa still one")
    assert (tmp_path / "kept" / "photos" / "one.jpg.kms").exists()


OPERATING = "kms_grpc/processes/README.md"


def test_tls(start_server: StartServer, tmp_path: Path) -> None:
    """The certificate is made by the document's own command, and the call is the document's, to this machine."""
    serving, calling = block(OPERATING, "sh", "openssl req"), block(OPERATING, "sh", "KMS_GRPC_TLS_CA")
    made, _, started = serving.partition("kms-grpc serve")
    subprocess.run(["bash", "-ec", made], cwd=tmp_path, capture_output=True, check=True)
    pair = re.findall(r"--tls-certificate|--tls-key|server\.\w+", started)
    assert pair == ["--tls-certificate", "server.pem", "--tls-key", "server.key"]
    files = [str(tmp_path / word) if word.startswith("server") else word for word in pair]
    served = start_server(*files, listen="localhost:0", tls_ca=tmp_path / "server.pem")
    text = calling.replace("kms.example.com:50051", served.address)
    done = subprocess.run(
        ["bash", "-ec", text], cwd=tmp_path, env=variables(served), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "no keys here\n"), done.stderr


def test_a_backup_made_as_it_says_opens(start_server: StartServer, tmp_path: Path) -> None:
    """A backup made while the server runs is restored into an empty directory. Nobody else can read it, even if an
    older one lies there open."""
    served = start_server(data_dir=tmp_path / "kms-data")
    with served.client() as kms:
        key_id = kms.create_key().key_metadata.key_id
        blob = kms.encrypt(key_id, b"kept").ciphertext_blob
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "eu-west-1.sqlite").touch(0o644)
    subprocess.run(["bash", "-euc", f"umask 022\n{block(OPERATING, 'sh', 'backup/')}"], cwd=tmp_path, check=True)
    copies = [*(tmp_path / "backup").iterdir()]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in copies} == dict.fromkeys(
        ("eu-central-1.sqlite", "eu-west-1.sqlite"), 0o600
    )
    served.kill()
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    shutil.copy(served.data_dir / "root.key", restored)
    shutil.copytree(tmp_path / "backup", restored / "regions")
    again = start_server("--accept-older", data_dir=restored)
    with again.client() as kms:
        assert kms.decrypt(blob).plaintext == b"kept"
