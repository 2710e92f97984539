"""The sdist contains every file that the build needs, and the wheel built from it runs without the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

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


def test_the_lock_has_every_dependency() -> None:
    """Compares names only, since the lock alone fixes the versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    locked = {row["name"] for row in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]}
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names - locked == set()
