"""README.md as it is read: its blocks run from top to bottom in one directory, as a newcomer pastes them into two
terminals, and those of the folders' READMEs to which it links follow in the same directory."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.aws import readme
from tests.documents.blocks import ROOT, Block, blocks
from tests.languages.conftest import NODE
from tests.languages.packages import installed
from tests.proxies import ForbiddenProxy
from tests.served import clean

REFUSALS = [
    "IncorrectKeyException", "InvalidCiphertextException", "AccessDeniedException", "NotFoundException",
    "DisabledException", "KMSInvalidStateException", "KMSInvalidStateException",
]  # fmt: skip
BY_CI = 2
"""README's first blocks install the package and run the tests: .ci/run runs them."""
FILES = {"film.mp4": b"moving pictures", "photos/one.jpg": b"a still one", "big.tar": bytes(range(256)) * 400}
"""Files that the folders' READMEs take for granted. Those of README.md are made by its own commands."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def pasted(found: Block) -> str:
    """Returns the shell commands for a block. KEY-ID is the key id that was printed last, as the reader copies it."""
    if found.language == "python":
        return f"python - <<'END' | tee python.out\n{found.text}END\ndiff python.out - <<'END'\n{found.prints}END\n"
    if found.language == "js":
        return f"node - <<'END'\n{found.text}END\n"
    printed = re.sub(r"^(kms-grpc keys create[^#\n]*)(#.*)?$", r"\1 | tee created", found.text, flags=re.MULTILINE)
    return printed.replace("KEY-ID", "$(awk '/^KeyId/ {print $2}' created)")


def second_terminal(after: Block, node: bool) -> str:
    """Returns what is pasted after the block that starts the server, README by README."""
    languages = ("sh", "python", "js") if node else ("sh", "python")
    top = [found for found in blocks("README.md") if found.line > after.line and found.language in languages]
    cli = [found for found in blocks("kms_grpc/cli/README.md", "sh") if not found.reason]
    return "\n".join([*map(pasted, [*top, *cli]), readme.walk()])


@contextmanager
def first_terminal(block: Block, address: str, folder: Path, ports: dict[str, str]) -> Iterator[None]:
    text = with_ports(block.text, ports).rstrip() + f" --listen {address}\n"
    assert text.count("kms-grpc serve") == 1
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-ec", text], cwd=folder, env=clean(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def with_ports(text: str, ports: dict[str, str]) -> str:
    return re.sub("|".join(ports), lambda found: ports[found[0]], text)


@pytest.mark.timeout(600)
def test_from_top_to_bottom(tmp_path: Path, proxy: ForbiddenProxy) -> None:
    """Beside a proxy that no command may reach. Lines whose comment names an error must be refused with it."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    node = shutil.which("npm") is not None  # without it tests/languages/test_readme.py is skipped, with its reason
    ports = {f"127.0.0.1:{usual}": f"127.0.0.1:{free_port()}" for usual in (50051, 8080)}
    serving = blocks("README.md", "sh")[BY_CI]
    given = {"NODE_PATH": str(installed(NODE, "node-client"))} if node else {}
    nothing_of_aws = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    with first_terminal(serving, ports["127.0.0.1:50051"], tmp_path, ports):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", with_ports(second_terminal(serving, node), ports)],
            cwd=tmp_path, env=clean() | proxy.variables | given | nothing_of_aws,
            capture_output=True, text=True, timeout=580, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{(tmp_path / 'server.log').read_text()}"
    assert re.findall(r"refused: (\w+)", done.stdout) == REFUSALS
    assert done.stdout.count("correct horse") == 4, "twice by kms-grpc and twice by AWS's CLI"
    assert ("hello\n" in done.stdout.splitlines(keepends=True)) is node
    assert b"correct horse" not in (tmp_path / "password.kms").read_bytes()
    assert (tmp_path / "big.tar.enc").read_bytes()[16:] != (tmp_path / "big.tar").read_bytes()
    assert (tmp_path / "back.mp4").read_bytes() == FILES["film.mp4"]
