"""The process `worker`, which serves calls until SIGTERM.

On SIGTERM it reports NOT_SERVING, finishes the calls in flight within drain_seconds, syncs the audit log and exits with
code 0. SIGINT and SIGHUP are blocked (children.py). It answers the supervisor's beats from its event loop, and
publishes its gauges at each.
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
from kms_grpc.endpoints.base import Door
from kms_grpc.processes import child_protocol, gauges, memory
from kms_grpc.processes.child_protocol import Offer, SupervisorLink, Taken
from kms_grpc.processes.file_descriptors import Descriptors
from kms_grpc.processes.readiness import Readiness
from kms_grpc.processes.run_folder import RunFolder

_log = logging.getLogger(__name__)


class WorkerApplication(Protocol):
    """The parts of a worker. Created inside the running event loop."""

    @property
    def server(self) -> Door: ...

    def facts(self) -> Mapping[str, Any]:
        """Facts for the supervisor to log: `libcrypto`, `advice` (may be None), `memory_locked` and others."""

    def gauges(self) -> Mapping[str, int]:
        """Returns values for names in gauges.WORKER; called at each beat."""

    def prepare(self, offer: Offer) -> None:
        """Has a configuration of callers ready, which is in force once its number is in the words file. Raises
        ConfigurationError if it cannot be used."""

    async def decrypt(self) -> None:
        """Decrypts under a key of the server's own, on a thread that serves callers' Decrypts. Raises the error if that
        fails."""

    async def report(self, able: bool) -> None:
        """Have the health service say whether the worker can serve."""

    def close(self) -> None:
        """Sync the audit log and close the shards."""


Build = Callable[[Settings, int, Taken], WorkerApplication]
"""(settings, number of the worker, texts of the files that the settings name)"""


def run(build: Build) -> int:
    """Run the process `worker` and return its exit code."""
    return child_protocol.run(lambda link: _run(link, build))


def _run(link: SupervisorLink, build: Build) -> int:
    keyring.forbid_core_dumps()
    memory.keep_freed_pages()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(link, build))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns uvloop's factory if it is installed, else None for asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(link: SupervisorLink, build: Build) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    application = build(link.settings, link.index, link.taken)
    try:
        await application.decrypt()
        with _umask(0o177):
            await application.server.start()
        gc.collect()
        gc.freeze()
        readiness = Readiness(application.decrypt, application.report)
        _answer_beats(link, readiness, _publisher(link, application), _preparing(link, application))
        link.ready(application.facts())
        watching = asyncio.create_task(readiness.watch())
        await stopping.wait()
        watching.cancel()
        await application.server.drain(link.settings.drain_seconds)
    finally:
        application.close()


def _preparing(link: SupervisorLink, application: WorkerApplication) -> Callable[[Offer], None]:
    """Returns a function that has an offered configuration made ready, in a thread, and answers the supervisor."""
    running: set[asyncio.Task[None]] = set()

    async def prepare(offer: Offer) -> None:
        try:
            await asyncio.to_thread(application.prepare, offer)
        except Exception as error:
            link.refuse(offer.taken.number, child_protocol.reason_of(error))
        else:
            link.have_taken(offer.taken.number)

    def take(offer: Offer) -> None:
        task = asyncio.get_running_loop().create_task(prepare(offer))
        running.add(task)
        task.add_done_callback(running.discard)

    return take


def _answer_beats(
    link: SupervisorLink, readiness: Readiness, publish: Callable[[], None], take: Callable[[Offer], None]
) -> None:
    """Answer the supervisor from the event loop, so that an answer means that the loop turns."""
    publish()
    loop = asyncio.get_running_loop()

    def answer() -> None:
        publish()
        if not link.answer_beats(readiness.is_ready, take):
            loop.remove_reader(link)

    loop.add_reader(link, answer)


def _publisher(link: SupervisorLink, application: WorkerApplication) -> Callable[[], None]:
    mine = gauges.Gauges(RunFolder(link.settings.data_dir).worker_gauges(link.index), gauges.WORKER)
    descriptors, freed = Descriptors(), memory.FreedMemory()

    def publish() -> None:
        try:
            counted = descriptors.gauges()
            if counted:  # every few seconds
                freed.look()
            mine.put({**application.gauges(), **counted})
        except Exception:
            _log.exception("cannot publish gauges")

    return publish


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    """Set the umask during the block, so that a Unix socket has mode 0600 from its creation."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
