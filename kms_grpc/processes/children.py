"""A child process as the supervisor manages it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from kms_grpc import config
from kms_grpc.config import Settings
from kms_grpc.processes.child_protocol import AT_START, Offer, Report, Start, ToChild, process_name
from kms_grpc.processes.isolation import isolated

Command = Callable[[str, int], list[str]]
"""(role, index) -> the arguments of the process: role is `prepare`, `worker` or `keeper`."""

ENVIRONMENT: Final = {
    # Saves 10 to 20 % of a server's CPU time.
    "GRPC_EXPERIMENTS": "-event_engine_listener",
    # gRPC for Python has no option for the minimum version of TLS. This single suite for TLS 1.2 needs a pre-shared
    # key, which nobody has, so every handshake of TLS 1.2 fails. TLS 1.3 has separate suites.
    "GRPC_SSL_CIPHER_SUITES": "ECDHE-PSK-AES256-CBC-SHA",
    # Otherwise gRPC logs a line for each failed handshake, and any client could fill the log. Errors of our own calls
    # into gRPC are exceptions.
    "GRPC_VERBOSITY": "NONE",
}
"""gRPC reads these variables when it is imported, so they are set before the process starts."""

SUPERVISORS_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to the whole process group but that only the supervisor handles. Its children start
with them blocked."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Time limits of the supervisor, in seconds."""

    ready: float = 60.0
    """How long a process may take to become ready."""
    backoff_first: float = 0.1
    backoff_most: float = 10.0
    steady: float = 30.0
    """After running for this long, a process is restarted with the first back-off again."""
    kill_margin: float = 2.0
    """How long after drain_seconds a worker that has not ended is killed."""
    beat: float = 1.0
    """Time between two beats, by which each process is asked whether it responds."""
    answer: float = 3.0
    """How long an answer may take: long, because a machine may be loaded. A healthy process needs a millisecond."""
    missed: int = 3
    """A process that has left this many beats unanswered for `answer` seconds each is killed and replaced."""


class Child:
    """One child process, spawned again after it has ended."""

    def __init__(self, role: str, index: int, command: Command, settings: Settings, timing: Timing) -> None:
        self.role = role
        self.index = index
        self.name = process_name(role, index)
        self.restarts = 0
        self.hangs = 0
        """How often it was killed because it did not answer."""
        self.restart_at: float | None = None
        """When to spawn it again (time.monotonic); None while it runs."""
        self.reason: str | None = None
        self.facts: dict[str, Any] | None = None
        """The report of the child when it became ready; None before."""
        self.taken = AT_START
        """The files and the number of the configuration with which it is spawned."""
        self.answer: tuple[int, str | None] = (0, None)
        """The number of the configuration that it has answered last, and why it has refused it."""
        self.offered = 0
        """The number of the configuration that was offered to it last."""
        self._failures = 0
        self._arguments = command(role, index)
        self.settings = settings
        self._timing = timing
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._unread = b""
        self._beats: deque[tuple[int, float]] = deque()
        """Number and time.monotonic() of each beat that was not answered."""
        self._beat = 0
        self._able = False

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def ready(self) -> bool:
        return self.running and self.facts is not None

    @property
    def up(self) -> bool:
        """True while the process is ready and answers in time, and its last answer said that it can work."""
        return self.ready and self._able and self._missed() == 0

    @property
    def late(self) -> bool:
        """True if the process should be ready by now. `prepare` has no time limit, since migrations may take long."""
        waits = self.running and self.facts is None and self.role != "prepare"
        return waits and time.monotonic() - self._spawned > self._timing.ready

    def spawn(self) -> int:
        """Start the process and return the descriptor on which it reports. Raises OSError."""
        start = Start(self.role, self.index, os.getpid(), msgspec.Raw(config.to_json(self.settings)), self.taken)
        message = _memory_file(msgspec.json.encode(start))
        self._channel, childs_end = socket.socketpair()
        self._channel.setblocking(False)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISORS_SIGNALS)
        try:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=message,
                stdout=childs_end.fileno(),
                env=isolated(ENVIRONMENT | os.environ),
                close_fds=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(message)
            childs_end.close()
        self._spawned = time.monotonic()
        self.facts = self.reason = self.restart_at = None
        self._unread = b""
        self.answer, self.offered = (self.taken.number, None), self.taken.number
        self._beats.clear()
        return self._output()

    def kill(self, reason: str) -> None:
        """Kills the process, which is not ready from now on. `reason` is logged when it has ended."""
        self.reason, self.facts = reason, None
        self.signal(signal.SIGKILL)

    def ask(self) -> None:
        """Sends the next beat, if the process is ready."""
        if not self.ready or self._channel is None:
            return
        self._beat += 1
        self._beats.append((self._beat, time.monotonic()))
        with contextlib.suppress(OSError):  # it has ended, or its buffer is full of beats
            self._channel.send(msgspec.json.encode(ToChild(beat=self._beat)) + b"\n")

    def offer(self, offer: Offer) -> None:
        """Sends a configuration, which the process is to have ready. It answers in `answer`."""
        assert self._channel is not None
        self.offered = offer.taken.number
        content = _memory_file(msgspec.json.encode(offer))
        try:
            order = msgspec.json.encode(ToChild(offer=offer.taken.number)) + b"\n"
            socket.send_fds(self._channel, [order], [content])
        except OSError as error:
            self.kill(f"cannot be told of a new configuration: {error}")
        finally:
            os.close(content)

    def kill_hung(self) -> None:
        """Kills the process if it has missed too many beats."""
        if self._missed() < self._timing.missed:
            return
        self.reason = f"did not answer for {time.monotonic() - self._beats[0][1]:.0f} s"
        self.hangs += 1
        self._beats.clear()
        self.signal(signal.SIGKILL)

    def _missed(self) -> int:
        """Returns how many beats were not answered in time."""
        due = time.monotonic() - self._timing.answer
        return sum(sent <= due for _, sent in self._beats)

    def read(self) -> bool:
        """Read reports; False if there is nothing more to read."""
        try:
            data = os.read(self._output(), 65536)
        except (BlockingIOError, ConnectionResetError):
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
        if report.beat is not None:
            self._answered(report.beat, report.able)
            return
        if report.taken is not None or report.offer is not None:
            self.answer = (report.taken or report.offer or 0, report.refused)
            return
        self.facts, self.reason, self._able = report.ready, report.failed, True
        if self.ready and self._process is not None:
            _log.info("%s is ready", self.name, extra={"child": self._process.pid})

    def _answered(self, beat: int, able: bool) -> None:
        while self._beats and self._beats[0][0] <= beat:
            self._beats.popleft()
        if able is not self._able:
            _log.log(logging.INFO if able else logging.ERROR, "%s is %s", self.name, "able" if able else "not able")
        self._able = able

    def poll(self) -> int | None:
        """Returns the exit status (negative: the signal that killed it), or None while the process runs."""
        return self._process.poll() if self._process else None

    def ended(self) -> None:
        """Close its output and plan its restart. Call once `poll` has returned a status."""
        assert self._process is not None and self._channel is not None
        self._channel.close()
        self._process = self._channel = None
        self.plan_restart(lived=time.monotonic() - self._spawned)

    def plan_restart(self, lived: float) -> None:
        """Set `restart_at`: exponential back-off up to a limit, with jitter. `lived` is in seconds."""
        self._failures = 1 if lived >= self._timing.steady else self._failures + 1
        delay = min(self._timing.backoff_most, self._timing.backoff_first * 2 ** min(self._failures - 1, 20))
        self.restart_at = time.monotonic() + delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self) -> None:
        """Wait for the end of the process, if it runs."""
        if self._process is not None:
            self._process.wait()

    def _output(self) -> int:
        assert self._channel is not None
        return self._channel.fileno()


def describe_status(status: int) -> str:
    """Returns an exit status in words."""
    if status >= 0:
        return f"exited with code {status}"
    return f"was killed by {signal.Signals(-status).name}"


def _memory_file(content: bytes) -> int:
    """Returns a descriptor to read `content` from: without a file name, and without the size limit of a pipe."""
    descriptor = os.memfd_create("kms-grpc-start")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
