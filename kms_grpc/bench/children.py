"""Child processes of the bench, which are measured or which measure."""

from __future__ import annotations

import os
import subprocess

from kms_grpc.processes.isolation import isolated, python_module


class BenchFailed(Exception):
    """A measurement could not be made. The text gives the reason in one line."""


def environment() -> dict[str, str]:
    """Returns an isolated environment without the user's TLS variables, which the bench sets itself."""
    return isolated({name: value for name, value in os.environ.items() if not name.startswith("KMS_GRPC_TLS_")})


def run_module(module: str, *arguments: str, standard_input: bytes = b"") -> bytes:
    """Runs a module and returns its output. BenchFailed with the last line of its errors if it fails."""
    command = python_module(module, *arguments)
    done = subprocess.run(command, input=standard_input, capture_output=True, check=False, env=environment())
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchFailed(f"{module.rpartition('.')[2]}: {words[-1]}")
    return done.stdout
