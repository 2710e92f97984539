"""A test run that is ended by a signal leaves no server running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.service import group_lives, wait_until

ROOT = Path(__file__).resolve().parent.parent
TEST = """
import time
from pathlib import Path
from tests.served import Served

def test_that_hangs(tmp_path):
    served = Served(tmp_path / "data", workers=1)
    served.start()
    Path({note!r}).write_text(str(served.process.pid))
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_servers_end_with_a_test_run_that_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pid"
    (tmp_path / "test_one.py").write_text(TEST.format(note=str(note)))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.ending",
        "-n",
        "1",
        "-q",
        "--basetemp",
        str(tmp_path / "base"),
    ]
    run = subprocess.Popen(
        [*command, str(tmp_path / "test_one.py")], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until(lambda: note.exists() and bool(note.read_text()), "the server", seconds=120)
    finally:
        run.send_signal(number)
        run.wait()
    supervisor = int(note.read_text())
    wait_until(lambda: not group_lives(supervisor), "the server's processes live on")
