"""A worker's life: made ready, serving, drained.

SIGTERM ends it: health says NOT_SERVING, calls in flight finish within drain_seconds, the audit log is synced, exit
code 0. SIGINT and SIGHUP are blocked (children.py).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from kms_grpc.config import Settings
from kms_grpc.crypto import keyring
from kms_grpc.processes import child_protocol, gauges, memory
from kms_grpc.processes.child_protocol import SupervisorLink
from kms_grpc.processes.run_folder import RunFolder

GAUGE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Server(Protocol):
    """A door. `start` returns once it listens on settings.listen and health says SERVING."""

    async def start(self) -> None: ...

    async def drain(self, seconds: float) -> None:
        """Health says NOT_SERVING, no new calls; returns when the last one has ended, at most `seconds` later."""


class Application(Protocol):
    """A worker put together. Made inside the running event loop."""

    @property
    def server(self) -> Server: ...

    def facts(self) -> Mapping[str, Any]:
        """What the supervisor says about the server: `libcrypto`, `advice` (None: none), and what else is worth a
        word."""

    def gauges(self) -> Mapping[str, int]:
        """Values for names of gauges.WORKER; asked once a second."""

    def close(self) -> None:
        """Sync the audit log, close the registries, forget the keys."""


def run(build: Callable[[Settings, int], Application]) -> int:
    """The main of the process `worker`; returns its exit code."""
    return child_protocol.run(lambda tie: _run(tie, build))


def _run(tie: SupervisorLink, build: Callable[[Settings, int], Application]) -> int:
    keyring.forbid_core_dumps()
    memory.keep_freed_pages()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(tie, build))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(tie: SupervisorLink, build: Callable[[Settings, int], Application]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    application = build(tie.settings, tie.index)
    try:
        with _umask(0o177):
            await application.server.start()
        gc.collect()
        gc.freeze()
        tie.ready(application.facts())
        publishing = asyncio.create_task(_publish(tie, application))
        await stopping.wait()
        await application.server.drain(tie.settings.drain_seconds)
        publishing.cancel()
    finally:
        application.close()


async def _publish(tie: SupervisorLink, application: Application) -> None:
    mine = gauges.Gauges(RunFolder(tie.settings.data_dir).worker_gauges(tie.index), gauges.WORKER)
    while True:
        try:
            mine.put(application.gauges())
        except Exception:
            _log.exception("gauges")
        await asyncio.sleep(GAUGE_SECONDS)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    """A Unix socket is made with mode 0600 from the first moment."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
