"""Lets servers of a test run end with it, however it ends: even by SIGTERM or SIGKILL, when no fixture is closed.

The kernel signals a process when its parent ends (prctl(2), PR_SET_PDEATHSIG). A server's own children end with their
supervisor in the same way.
"""

from __future__ import annotations

import ctypes
import signal

import pytest

ENDING_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Runs a command that the kernel kills when the process that started it ends."""
_PR_SET_PDEATHSIG = 1


def pytest_configure(config: pytest.Config) -> None:
    """Ends the worker processes of xdist with the process that started them."""
    if hasattr(config, "workerinput") and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError("prctl(PR_SET_PDEATHSIG)")
