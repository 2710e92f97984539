"""The protocol between the supervisor and its child processes.

On standard input a child receives one JSON object and EOF: `{"role", "index", "supervisor", "settings"}`. Its standard
output is a socket, on which both sides send one JSON object per line. The child reports `{"ready": {…facts…}}` or
`{"failed": "reason"}`. Once it is ready, the supervisor asks `{"beat": N}` each second, and the child answers
`{"beat": N, "able": BOOL}`: a worker from its event loop, the keeper from a thread that watches its work
(keeper_beats.py). `able` says whether the child can do its work (readiness.py). All other output goes to standard
error. A child is killed when its supervisor ends.

A changed configuration comes as `{"offer": N}` with a file in memory beside it (SCM_RIGHTS), which has the settings and
the texts of the files that they name. A worker answers `{"taken": N}` once it has it ready, or `{"refused": "reason",
"offer": N}`. The configuration is in force in all workers when its number is in the words file (registry/words.py).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from kms_grpc import config
from kms_grpc.config import Settings
from kms_grpc.errors import KMSError
from kms_grpc.processes import logs

PR_SET_PDEATHSIG: Final = 1

_log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A configuration's number, and the texts of the files that it names by their paths."""

    number: int
    files: dict[str, str]


AT_START: Final = Taken(0, {})
"""No file was read yet: each is read from disk."""


class Offer(msgspec.Struct, frozen=True):
    """A configuration that a worker is to have ready. `raw` is the output of config.to_json."""

    raw: msgspec.Raw
    taken: Taken

    def settings(self) -> Settings:
        """Returns the settings."""
        return config.from_json(bytes(self.raw))


class Start(msgspec.Struct, frozen=True):
    """The message to a child. `supervisor` is the pid of its parent; `settings` is the output of config.to_json."""

    role: str
    index: int
    supervisor: int
    settings: msgspec.Raw
    taken: Taken

    @property
    def name(self) -> str:
        return process_name(self.role, self.index)


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message from a child. Exactly one of `ready`, `failed`, `beat`, `taken` and `refused` is set."""

    ready: dict[str, Any] | None = None
    failed: str | None = None
    beat: int | None = None
    """The number of the beat that is answered."""
    able: bool = False
    """With `beat`: the child can do its work."""
    taken: int | None = None
    """The number of a configuration that the child has ready."""
    refused: str | None = None
    """The reason for which a configuration cannot be used."""
    offer: int | None = None
    """With `refused`: the number of that configuration."""


class ToChild(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message to a child that is ready: a question whether it responds, or an offer."""

    beat: int | None = None
    offer: int | None = None
    """The number of a configuration, which is in the file that comes with the message."""


def process_name(role: str, index: int) -> str:
    return f"{role}-{index}" if role == "worker" else role


class SupervisorLink:
    """A child's connection to its supervisor. `settings.listen` is the address of this worker alone."""

    def __init__(self, start: Start, descriptor: int) -> None:
        self.index = start.index
        self.name = start.name
        self.settings: Settings = config.from_json(bytes(start.settings))
        self.taken = start.taken
        self._channel = socket.socket(fileno=descriptor)
        self._unread = b""
        self._files: deque[int] = deque()

    @classmethod
    def take(cls) -> SupervisorLink:
        """Read the start message, and from now on let the kernel kill this process when the supervisor ends."""
        text = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
        try:
            start = msgspec.json.decode(text, type=Start)
        except msgspec.DecodeError:
            raise SystemExit("kms-grpc: this command is run by `kms-grpc serve`, not by hand") from None
        die_with(start.supervisor, signal.SIGKILL)
        link = cls(start, _take_standard_streams())
        logs.configure(link.name, link.settings.log_level)
        logs.hide(one.token for each in link.settings.principals for one in each.tokens if one.token)
        return link

    def ready(self, facts: Mapping[str, Any]) -> None:
        self._report(Report(ready=dict(facts)))

    def failed(self, reason: str) -> None:
        self._report(Report(failed=reason))

    def fileno(self) -> int:
        """Returns the descriptor that is readable when the supervisor asks."""
        return self._channel.fileno()

    def answer_beats(self, able: bool, take: Callable[[Offer], None] = lambda _: None) -> bool:
        """Answers what the supervisor has asked; False if it has ended. `take` gets a configuration that it offers, and
        answers it by `have_taken` or `refuse`."""
        try:
            data, files, _, _ = socket.recv_fds(self._channel, 65536, 16)
        except BlockingIOError:
            return True
        self._files.extend(files)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            order = msgspec.json.decode(line, type=ToChild)
            if order.offer is not None:
                take(_offer_in(self._files.popleft()))
            else:
                self._report(Report(beat=order.beat, able=able))
        return bool(data)

    def have_taken(self, number: int) -> None:
        """Reports that the configuration of this number is ready."""
        self._report(Report(taken=number))

    def refuse(self, number: int, reason: str) -> None:
        """Reports that the configuration of this number cannot be used."""
        self._report(Report(refused=reason, offer=number))

    def _report(self, report: Report) -> None:
        self._channel.send(msgspec.json.encode(report) + b"\n")


def _offer_in(descriptor: int) -> Offer:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return msgspec.json.decode(file.read(), type=Offer)


def run(main: Callable[[SupervisorLink], int]) -> int:
    """Run the main function of a child and return its exit code. An exception is reported in one line, without a
    traceback."""
    link = SupervisorLink.take()
    try:
        return main(link)
    except Exception as error:
        _log.debug("%s failed", link.name, exc_info=True)
        link.failed(reason_of(error))
        return 1


def reason_of(error: BaseException) -> str:
    """Returns an error as one line of text. An error that is neither of this package nor an OSError is prefixed with
    its class."""
    text = " ".join((error.text if isinstance(error, KMSError) else str(error)).split())
    own = type(error).__module__.startswith("kms_grpc.") or isinstance(error, OSError)
    return text if own and text else f"{type(error).__name__}: {text}"


def die_with(parent: int, number: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent process ends; exit if it has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit(0)


def _take_standard_streams() -> int:
    """Point standard input to /dev/null and standard output to standard error; return the descriptor for reports."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    descriptor = os.dup(1)
    os.set_blocking(descriptor, False)
    os.dup2(2, 1)
    return descriptor
