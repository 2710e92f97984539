"""A child's tie to its supervisor: what it is told at its start, what it reports, and that it does not outlive it.

Told: one JSON object on standard input, then its end: `{"role", "index", "supervisor", "settings"}`. Reported: one
JSON object and a newline on standard output: `{"ready": {…facts…}}` or `{"failed": "reason"}`. Everything else that
is printed goes to standard error.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from kms_grpc import config
from kms_grpc.config import Settings
from kms_grpc.errors import KMSError
from kms_grpc.processes import logs

PR_SET_PDEATHSIG: Final = 1

_log = logging.getLogger(__name__)


class Start(msgspec.Struct, frozen=True):
    """What a child is told. `supervisor` is the pid of its parent; `settings` as config.to_json writes them."""

    role: str
    index: int
    supervisor: int
    settings: msgspec.Raw

    @property
    def name(self) -> str:
        return process_name(self.role, self.index)


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child reports: exactly one of the two."""

    ready: dict[str, Any] | None = None
    failed: str | None = None


def process_name(role: str, index: int) -> str:
    return f"{role}-{index}" if role == "worker" else role


class SupervisorLink:
    """The tie, seen from the child. `settings.listen` is the address of this very worker."""

    def __init__(self, start: Start, descriptor: int) -> None:
        self.index = start.index
        self.name = start.name
        self.settings: Settings = config.from_json(bytes(start.settings))
        self._descriptor = descriptor

    @classmethod
    def take(cls) -> SupervisorLink:
        """Read what the supervisor says; from here on this process dies with it."""
        text = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
        try:
            start = msgspec.json.decode(text, type=Start)
        except msgspec.DecodeError:
            raise SystemExit("kms-grpc: this command is run by `kms-grpc serve`, not by hand") from None
        _die_with(start.supervisor)
        child_protocol = cls(start, _take_standard_streams())
        logs.configure(child_protocol.name, child_protocol.settings.log_level)
        logs.hide(principal.token for principal in child_protocol.settings.principals if principal.token)
        return child_protocol

    def ready(self, facts: Mapping[str, Any]) -> None:
        self._report(Report(ready=dict(facts)))

    def failed(self, reason: str) -> None:
        self._report(Report(failed=reason))

    def _report(self, report: Report) -> None:
        os.write(self._descriptor, msgspec.json.encode(report) + b"\n")


def run(main: Callable[[SupervisorLink], int]) -> int:
    """A child's whole life; returns its exit code. What keeps it from going on is reported in one line, without a
    traceback."""
    child_protocol = SupervisorLink.take()
    try:
        return main(child_protocol)
    except Exception as error:
        _log.debug("%s ends", child_protocol.name, exc_info=True)
        child_protocol.failed(reason_of(error))
        return 1


def reason_of(error: BaseException) -> str:
    """One line for a person. Errors of our own speak for themselves; others are named by their class."""
    text = " ".join((error.text if isinstance(error, KMSError) else str(error)).split())
    own = type(error).__module__.startswith("kms_grpc.") or isinstance(error, OSError)
    return text if own and text else f"{type(error).__name__}: {text}"


def _die_with(supervisor: int) -> None:
    """SIGKILL when the supervisor ends, however it ends. It may have ended before this call: then there is nothing
    to stay for."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != supervisor:
        raise SystemExit(0)


def _take_standard_streams() -> int:
    """Standard input becomes empty, output goes where errors go; returns the descriptor to report on."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor
