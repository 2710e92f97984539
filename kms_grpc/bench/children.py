"""Processes that the bench starts: they import what this process imports, and are measured or measure by themselves."""

from __future__ import annotations

import os
import subprocess
import sys


class BenchFailed(Exception):
    """What kept a measurement from being made, in one line."""


def environment() -> dict[str, str]:
    """This process's, without what a user has said of a server under TLS: the bench says that itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KMS_GRPC_TLS_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def run_module(module: str, *arguments: str, standard_input: bytes = b"") -> bytes:
    """What `python -m module` prints. BenchFailed with its last words where it fails."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, input=standard_input, capture_output=True, check=False, env=environment())
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchFailed(f"{module.rpartition('.')[2]}: {words[-1]}")
    return done.stdout
