"""Every process that is started imports nothing from the current directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms_grpc.processes.isolation import isolated, python_module
from tests.served import Served, clean

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sys.executable).parent / "kms-grpc"
PACKAGES = ("click", "cffi", "grpc", "msgspec", "sqlalchemy", "alembic", "uvicorn", "uvloop", "httptools", "google")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a module by every name of the standard library and of the dependencies. A module
    that is imported writes its name into the file `ran`; afterwards there must be none."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    ran = folder / "ran"
    for name in {*sys.stdlib_module_names, *PACKAGES, "sitecustomize", "usercustomize"}:
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r} + chr(10))\n")
    monkeypatch.chdir(folder)
    yield folder
    assert not ran.exists(), f"imported from the current directory: {ran.read_text().split()}"


def test_no_process_of_a_server_imports_from_the_current_directory(hostile: Path, tmp_path: Path) -> None:
    served = Served(tmp_path / "data", command=[str(SCRIPT)], workers=1)
    try:
        served.start()
        with served.client() as client:
            assert client.create_key().key_metadata.key_id
        assert served.stop() == 0
    finally:
        served.close()


@pytest.mark.parametrize(
    "arguments", [["load", "--seconds", "0.05", "--workers", "1"], ["--glimpse", "--only", "memory.stream"]]
)
def test_no_process_of_the_bench_imports_from_the_current_directory(hostile: Path, arguments: list[str]) -> None:
    done = subprocess.run([SCRIPT, "bench", *arguments], env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "calls/s" in done.stdout or "memory.stream" in done.stdout, done.stderr


def test_empty_and_relative_folders_of_pythonpath_reach_no_child(hostile: Path) -> None:
    environment = isolated({**os.environ, "PYTHONPATH": os.pathsep.join(["", ".", "relative", "/absolute"])})
    assert environment["PYTHONPATH"] == "/absolute"
    subprocess.run(python_module("platform"), env=environment, check=True, capture_output=True)
    assert "PYTHONPATH" not in isolated({"PYTHONPATH": ":"})


def test_children_are_started_by_one_function() -> None:
    starting = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "kms_grpc").rglob("*.py"))
        if "[sys.executable" in path.read_text("utf-8")
    ]
    assert starting == ["kms_grpc/processes/isolation.py"]
