"""Starts the stand-in server (stand_in.py) and inspects its log, processes and exit."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kms_grpc import config
from kms_grpc.registry.words import Words
from tests.ending import ENDING_WITH_US

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 100.0


def eventually(look: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
    """Returns the first true result of `look`; fails the test if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.02)
    raise AssertionError(f"never came: {what}")


class StandInServer:
    """A server run by `stand_in serve`. `values` are settings; data_dir, regions and listen have defaults."""

    def __init__(self, folder: Path, **values: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        defaults = {"data_dir": str(folder / "data"), "listen": "127.0.0.1:0", "regions": ["eu-central-1", "eu-west-1"]}
        self.settings = config.from_values(defaults | {"workers": 2, "drain_seconds": 5.0} | values)
        self.data_dir = self.settings.data_dir
        self.data_dir.mkdir(exist_ok=True)
        self._file = folder / "settings.json"
        self._file.write_bytes(config.to_json(self.settings))
        self._errors = folder / "stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StandInServer:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def exec(self, prefix: Sequence[str] = ()) -> StandInServer:
        """Start the process without waiting for it. `prefix` is a command to run it with."""
        command = [*ENDING_WITH_US, *prefix, sys.executable, "-m", "tests.processes.stand_in", "serve", str(self._file)]
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
                stdout=errors, stderr=errors, start_new_session=True,
            )  # fmt: skip
        return self

    def start(self) -> StandInServer:
        """Start the server and wait until it serves."""
        self.exec()
        eventually(lambda: self.said("serving") or self.ended(), f"serving\n{self.errors()}")
        assert self.ended() is None, self.errors()
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.status()

    def status(self) -> int:
        assert self.process
        return self.process.wait(PATIENCE)

    def ended(self) -> str | None:
        """Returns the exit status in words, or None while the process runs."""
        assert self.process
        status = self.process.poll()
        return None if status is None else f"exit status {status}"

    # --- log ---------------------------------------------------------------------------------------------------

    def errors(self) -> str:
        return self._errors.read_text()

    def log(self) -> list[dict[str, Any]]:
        lines = (line for line in self.errors().splitlines() if line.startswith("{") and line.endswith("}"))
        return [json.loads(line) for line in lines]

    def said(self, pattern: str) -> list[dict[str, Any]]:
        """Returns the log entries whose message matches."""
        return [entry for entry in self.log() if re.search(pattern, entry["message"])]

    # --- processes and connections -----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def pids(self) -> dict[str, int]:
        """Returns the pids of its children by name: `worker-0`, `worker-1`, `keeper`."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {role_of(int(pid)): int(pid) for pid in children if alive(int(pid))}

    def address(self) -> str:
        return str(self.said("^serving$")[0]["address"])

    def epochs(self) -> list[int]:
        words = Words(self.data_dir / "run" / "words")
        return [words.region(index, "").epoch.value for index in range(words.regions)]

    def connect(self, address: str | None = None) -> socket.socket:
        """Returns a connection on which a worker has sent its greeting."""
        return eventually(lambda: _greeted(address or self.address()), "a connection")[0]

    def connect_name(self, address: str | None = None) -> str:
        """Returns the name of the worker that a new connection reaches."""
        connection, name = eventually(lambda: _greeted(address or self.address()), "a connection")
        connection.close()
        return name

    def new_pid(self, name: str, old: int) -> int:
        return eventually(lambda: self.pids().get(name) not in (None, old) and self.pids().get(name), f"another {name}")


def _greeted(address: str) -> tuple[socket.socket, str] | None:
    """Returns a new connection and the name of the worker that greets on it, or None."""
    try:
        if address.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            connection = socket.create_connection((host.strip("[]"), int(port)))
        connection.settimeout(PATIENCE)
        words = connection.recv(100).decode().split()
        return (connection, words[0]) if words else None
    except OSError:
        return None


def role_of(pid: int) -> str:
    """Returns a child's name from its command line, whose last two arguments are role and index."""
    try:
        role, index = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[-3:-1]
    except (OSError, ValueError):
        return f"pid {pid}"
    return f"{role}-{index}" if role == "worker" else role


def alive(pid: int) -> bool:
    """True if the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
