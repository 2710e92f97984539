"""A process under supervision, seen from the supervisor."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from kms_grpc import config
from kms_grpc.config import Settings
from kms_grpc.processes.child_protocol import Report, Start, process_name

Command = Callable[[str, int], list[str]]
"""(role, index) -> the arguments of the process: role is `prepare`, `worker` or `keeper`."""

ENVIRONMENT: Final = {
    # 10 to 20 % of a server's CPU.
    "GRPC_EXPERIMENTS": "-event_engine_listener",
    # gRPC for Python has no word for the least version of TLS. With this as the only suite of TLS 1.2, which needs a
    # key that both sides have beforehand, and nobody has, no handshake of 1.2 ends well. 1.3 has suites of its own.
    "GRPC_SSL_CIPHER_SUITES": "ECDHE-PSK-AES256-CBC-SHA",
    # Or each connection that is no TLS, or asks for another name, writes a line of gRPC's own: anybody could fill the
    # log. What fails for us is an exception.
    "GRPC_VERBOSITY": "NONE",
}
"""Must be there before grpc is imported, so it is there before the process is."""

SUPERVISORS_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP)
"""A terminal sends them to the whole group, but they are the supervisor's to answer: blocked in its children, from
before their first instruction on."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds."""

    ready: float = 60.0
    """How long a process may take to become ready."""
    backoff_first: float = 0.1
    backoff_most: float = 10.0
    steady: float = 30.0
    """A process that lived so long is restarted as if it had never died before."""
    kill_margin: float = 2.0
    """After drain_seconds the workers end by themselves; so much later they are killed."""


class Child:
    """One process: spawned, ready, ended, spawned again."""

    def __init__(self, role: str, index: int, command: Command, settings: Settings, timing: Timing) -> None:
        self.role = role
        self.index = index
        self.name = process_name(role, index)
        self.restarts = 0
        self.restart_at: float | None = None
        """When it is to be spawned again (time.monotonic); None while it runs."""
        self.reason: str | None = None
        self.facts: dict[str, Any] | None = None
        """What it said when it became ready; None before."""
        self._failures = 0
        self._arguments = command(role, index)
        self._settings = settings
        self._timing = timing
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def ready(self) -> bool:
        return self.running and self.facts is not None

    @property
    def late(self) -> bool:
        """It should have become ready by now. `prepare` has all the time it needs: migrations do."""
        waits = self.running and self.facts is None and self.role != "prepare"
        return waits and time.monotonic() - self._spawned > self._timing.ready

    def spawn(self) -> int:
        """Start the process; returns the descriptor to watch for its report. Raises OSError."""
        start = Start(self.role, self.index, os.getpid(), msgspec.Raw(config.to_json(self._settings)))
        told = _memory_file(msgspec.json.encode(start))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISORS_SIGNALS)
        try:
            self._process = subprocess.Popen(
                self._arguments, stdin=told, stdout=subprocess.PIPE, env=ENVIRONMENT | os.environ, close_fds=True
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(told)
        self._spawned = time.monotonic()
        self.facts = self.reason = self.restart_at = None
        self._unread = b""
        os.set_blocking(self._output(), False)
        return self._output()

    def read(self) -> bool:
        """Take in what it reports; False when there is nothing (more) to read."""
        try:
            data = os.read(self._output(), 65536)
        except BlockingIOError:
            return False
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(line)
        return bool(data)

    def _take(self, line: bytes) -> None:
        try:
            report = msgspec.json.decode(line, type=Report)
        except msgspec.DecodeError:
            _log.warning("%s printed: %s", self.name, line.decode("utf-8", "replace"))
            return
        self.facts, self.reason = report.ready, report.failed
        if self.ready and self._process is not None:
            _log.info("%s is ready", self.name, extra={"child": self._process.pid})

    def poll(self) -> int | None:
        """Its exit status once it has ended (negative: the signal), as subprocess has it; None while it runs."""
        return self._process.poll() if self._process else None

    def ended(self) -> None:
        """Called once its end was seen: plan when to start it again."""
        assert self._process is not None and self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        self.plan_restart(lived=time.monotonic() - self._spawned)

    def plan_restart(self, lived: float) -> None:
        """Twice as long after each failure, up to a limit, with jitter."""
        self._failures = 1 if lived >= self._timing.steady else self._failures + 1
        delay = min(self._timing.backoff_most, self._timing.backoff_first * 2 ** min(self._failures - 1, 20))
        self.restart_at = time.monotonic() + delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self) -> None:
        """Until it is gone, if it runs."""
        if self._process is not None:
            self._process.wait()

    def _output(self) -> int:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.fileno()


def describe_status(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exited with code {status}"
    return f"was killed by {signal.Signals(-status).name}"


def _memory_file(content: bytes) -> int:
    """A descriptor from which `content` can be read: it has no name and no size limit, as a pipe would."""
    descriptor = os.memfd_create("kms-grpc-start")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
