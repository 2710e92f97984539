"""Signals that a select loop can wait for."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any


class Signals:
    """Records these signals during the block instead of acting on them. For the main thread only.

    `fileno` becomes readable when a signal arrives. `take` returns the signals since its last call, in order.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._came: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._old_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._numbers:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_descriptor)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def came(self, seconds: float) -> bool:
        """Waits up to `seconds` for one of the signals; returns whether one came. signal.sigtimedwait is no use for
        that: where SIGCONT interrupts it, it returns as if a signal had come."""
        select.select([self.fileno()], [], [], seconds)
        return bool(self.take())

    def take(self) -> list[int]:
        while self._drain():
            pass
        came, self._came = self._came, []
        return came

    def _drain(self) -> bool:
        try:
            return bool(os.read(self.fileno(), 4096))
        except BlockingIOError:
            return False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
