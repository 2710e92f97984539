"""Readiness of a worker: whether a Decrypt under a key of the server's own succeeded a moment ago."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

from kms_grpc.processes.child_protocol import reason_of

EVERY_SECONDS: Final = 5.0
"""How often a worker that is ready decrypts."""
LASTS_SECONDS: Final = 15.0
"""How long a successful Decrypt counts. A Decrypt that takes longer, as on a loaded machine, does not count."""
AGAIN_SECONDS: Final = 1.0
"""How often a worker that is not ready tries."""

_log = logging.getLogger(__name__)


class Readiness:
    """Decrypts at intervals, and reports when `is_ready` changes."""

    def __init__(self, decrypt: Callable[[], Awaitable[None]], report: Callable[[bool], Awaitable[None]]) -> None:
        self._decrypt = decrypt
        self._report = report
        self._succeeded = -math.inf
        self._reported: bool | None = None

    @property
    def is_ready(self) -> bool:
        """True if a Decrypt succeeded within the last LASTS_SECONDS."""
        return time.monotonic() - self._succeeded < LASTS_SECONDS

    async def watch(self) -> None:
        """Watches until it is cancelled."""
        running: asyncio.Task[None] | None = None
        while True:
            running = running or asyncio.create_task(self.decrypt())
            pause = EVERY_SECONDS if self.is_ready else AGAIN_SECONDS
            _, pending = await asyncio.wait({running}, timeout=pause)
            running = running if pending else None
            await self._report_change()
            if not pending:
                await asyncio.sleep(EVERY_SECONDS if self.is_ready else AGAIN_SECONDS)

    async def decrypt(self) -> None:
        """Decrypts once. A failure ends the readiness at once; the first one after a success is logged."""
        begun = time.monotonic()
        try:
            await self._decrypt()
        except Exception as problem:
            if self._succeeded > -math.inf:
                _log.error("not ready: a Decrypt under the server's own key failed: %s", reason_of(problem))
            self._succeeded = -math.inf
        else:
            self._succeeded = begun

    async def _report_change(self) -> None:
        ready = self.is_ready
        if ready is not self._reported:
            self._reported = ready
            await self._report(ready)
