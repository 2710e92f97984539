"""The sdist contains every file that the build needs, and the wheel built from it runs without the source tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.served import Served

ROOT = Path(__file__).resolve().parent.parent
SDIST = "import setuptools.build_meta as b, sys; print(b.build_sdist(sys.argv[1]))"
LEFT_OUT = (
    *(".git", ".venv", ".*_cache", ".hypothesis", "build", "node_modules", "quickstart-data"),
    *("*.egg-info", "*.so*", "__pycache__"),
)
"""Left out of the copy of the tree in which setuptools works, since it creates folders beside the sources."""
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Runs a command without PYTHON variables, so that this tree is not on the import path; returns its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the sdist and not from the tree, so that a file missing in MANIFEST.in is noticed."""
    workshop = tmp_path_factory.mktemp("packaging")
    tree = shutil.copytree(ROOT, workshop / "tree", ignore=shutil.ignore_patterns(*LEFT_OUT))
    name = run(sys.executable, "-c", SDIST, str(workshop), cwd=tree).split()[-1]
    command = [*PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", str(workshop), str(workshop / name)]
    run(*command, cwd=workshop)
    return next(workshop.glob("*.whl"))


@pytest.mark.xdist_group("packaging")
def test_one_wheel_serves_every_python_from_3_11(wheel: Path) -> None:
    assert wheel.name.split("-")[2:4] == ["cp311", "abi3"]


@pytest.mark.xdist_group("packaging")
@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("kms_grpc/crypto/_native.abi3.so", "the C core"),
        ("kms_grpc/py.typed", "type checkers of users read the annotations"),
        ("kms_grpc/v1/key_management_pb2.pyi", "and the annotations of the messages"),
        ("kms_grpc/registry/migrations/", "alembic creates shards from these scripts"),
        ("dist-info/licenses/LICENSE", ""),
    ],
)
def test_the_wheel_carries(wheel: Path, part: str, why: str) -> None:
    assert [name for name in zipfile.ZipFile(wheel).namelist() if part in name], why


@pytest.mark.xdist_group("packaging")
def test_the_wheel_has_no_sources_of_the_build(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if not name.startswith("kms_grpc")] == []
    assert [name for name in names if name.endswith((".c", ".h", ".proto"))] == []


@pytest.mark.xdist_group("packaging")
def test_the_wheel_runs_in_another_place(wheel: Path, tmp_path: Path) -> None:
    run(*PIP, "install", "--no-deps", "--target", str(tmp_path / "place"), str(wheel), cwd=tmp_path)
    ask = "import kms_grpc.crypto._native as core; print(core.__file__)"
    path = run(sys.executable, "-c", ask, cwd=tmp_path, PYTHONPATH=str(tmp_path / "place"))
    assert path.startswith(str(tmp_path))
    helped = run(sys.executable, "-m", "kms_grpc", "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path / "place"))
    assert "quickstart" in helped


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `bin` of a new virtual environment with the wheel and what it needs, without the extra `server`."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder), cwd=folder)
    run(*PIP, "--python", str(folder / "bin" / "python"), "install", str(wheel), cwd=folder)
    return folder / "bin"


ENCRYPT = """
from importlib.util import find_spec
from kms_grpc.client import EnvelopeClient, KeyManagementClient, MessageClient, StreamClient, aio
with KeyManagementClient() as kms, EnvelopeClient(kms) as envelope, StreamClient() as streams:
    key_id = kms.create_key("bare").key_metadata.key_id
    assert kms.decrypt(kms.encrypt(key_id, b"hello").ciphertext_blob).plaintext == b"hello"
    assert envelope.decrypt(envelope.encrypt(key_id, b"hello")) == b"hello"
    assert MessageClient(kms).decrypt(MessageClient(kms).encrypt(key_id, b"hello")) == b"hello"
    assert b"".join(streams.decrypt([b"".join(streams.encrypt(key_id, [b"hello"]))])) == b"hello"
print([name for name in NAMES if find_spec(name)])
"""
SERVERS = (
    *("sqlalchemy", "pysqlite3", "alembic", "uvicorn", "httptools", "uvloop", "prometheus_client", "msgspec"),
    "grpc_reflection",
    "jwt",
)
"""The modules of the packages of the extra `server`."""


@pytest.mark.xdist_group("packaging")
def test_the_client_alone_encrypts_in_a_bare_environment(bare: Path, server: Served, tmp_path: Path) -> None:
    program = f"NAMES = {SERVERS!r}{ENCRYPT}"
    assert run(str(bare / "python"), "-c", program, cwd=tmp_path, **server.variables()) == "[]\n"


@pytest.mark.xdist_group("packaging")
def test_commands_call_a_server_from_a_bare_environment(bare: Path, server: Served, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hello")
    call, where = str(bare / "kms-grpc"), {"cwd": tmp_path, **server.variables()}
    key_id = json.loads(run(call, "keys", "create", "--output", "json", **where))["KeyMetadata"]["KeyId"]
    assert key_id in run(call, "keys", "list", **where)
    run(call, "encrypt", "--key", key_id, "secret", "--to", "secret.kms", **where)
    assert run(call, "decrypt", "secret.kms", **where) == "hello"


@pytest.mark.xdist_group("packaging")
@pytest.mark.parametrize("command", [["serve", "--dev"], ["principals", "access-key", "list"], ["bench"]])
def test_what_needs_the_server_says_how_to_install_it(bare: Path, tmp_path: Path, command: list[str]) -> None:
    ran = subprocess.run([str(bare / "kms-grpc"), *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert "is not installed. Way out: pip install 'kms-grpc[server]'" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_extra_server_is_what_the_client_may_not_import() -> None:
    """The packages of the extra `server` are those that import-linter forbids, and that the bare environment lacks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extra = {
        re.split(r"[\[<>=]", line)[0].lower().replace("-", "_")
        for line in project["project"]["optional-dependencies"]["server"]
    }
    assert {name.replace("grpcio", "grpc").removeprefix("py" * (name == "pyjwt")) for name in extra} == set(SERVERS)
    contracts = {
        one["id"]: one["forbidden_modules"]
        for one in project["tool"]["importlinter"]["contracts"]
        if "forbidden_modules" in one
    }
    for contract in ("client", "commands"):
        assert set(SERVERS) <= set(contracts[contract])


def test_the_lock_has_every_dependency() -> None:
    """Compares names only, since the lock alone fixes the versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    locked = {row["name"] for row in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]}
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names - locked == set()
