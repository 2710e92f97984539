"""The keeper's answers to the supervisor's beats, which a thread of its own sends.

A pass may take long without being stuck: each of its steps waits up to ten seconds for other writers, and for the disk.
So the thread answers as long as the work goes on, and stops answering where one step takes longer than STUCK_SECONDS;
the supervisor then replaces the keeper.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kms_grpc.processes.child_protocol import SupervisorLink

STUCK_SECONDS: Final = 60.0


class KeeperBeats:
    """Answers beats while the work goes on. `at_each` is called at each beat, before the answer."""

    def __init__(self, link: SupervisorLink, at_each: Callable[[], None], stuck_seconds: float = STUCK_SECONDS) -> None:
        self._link = link
        self._at_each = at_each
        self._stuck_seconds = stuck_seconds
        self._working_since: float | None = None
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started."""
        os.close(self._stop_writer)
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._stop_reader)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Expects progress during the block."""
        self.note_progress()
        try:
            yield
        finally:
            self._working_since = None

    def note_progress(self) -> None:
        """Notes that a step of the work begins."""
        self._working_since = time.monotonic()

    @property
    def is_stuck(self) -> bool:
        """True if the present step takes too long."""
        since = self._working_since
        return since is not None and time.monotonic() - since > self._stuck_seconds

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._link.fileno(), self._stop_reader], [], [])
            if self._stop_reader in ready:
                return
            self._at_each()
            if self.is_stuck:
                time.sleep(1)
            elif not self._link.answer_beats(able=True):
                return
