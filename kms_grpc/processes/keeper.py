"""The keeper: the process of what happens by the clock. One per server, so that a busy thread never starves a worker.

Four times a second it copies the outboxes into the audit log (outbox.py). Once a minute it forgets the answers that
were remembered for retries and are older than 24 hours, as far as the clocks agree (agreement.py).
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.clock import Clock
from kms_grpc.config import Settings
from kms_grpc.crypto import keyring
from kms_grpc.errors import KMSError
from kms_grpc.processes import gauges, lifeline
from kms_grpc.processes.agreement import ClockAgreement
from kms_grpc.processes.lifeline import Lifeline
from kms_grpc.processes.outbox import OutboxCopier
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.registry.base import Registry

PASS_SECONDS: Final = 0.25
FORGET_EVERY_NS: Final = 60 * 1_000_000_000
ANSWERS_KEPT_NS: Final = 24 * 3600 * 1_000_000_000

_log = logging.getLogger(__name__)


class Application(Protocol):
    """What a keeper works on."""

    @property
    def registries(self) -> Mapping[str, Registry]: ...

    @property
    def clock(self) -> Clock: ...

    def facts(self) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


def run(build: Callable[[Settings], Application]) -> int:
    """The main of the process `keeper`; returns its exit code. SIGTERM: one more pass, then the end."""
    return lifeline.run(lambda tie: _run(tie, build))


def _run(tie: Lifeline, build: Callable[[Settings], Application]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    keyring.forbid_core_dumps()
    application = build(tie.settings)
    folder = RunFolder(tie.settings.data_dir)
    log = FileAuditLog(folder.keeper_log, application.clock)
    try:
        keeper = Keeper(application, OutboxCopier(application.registries, log, folder.keeper_position))
        mine = gauges.Gauges(folder.keeper_gauges, gauges.KEEPER)
        tie.ready(application.facts())
        while signal.sigtimedwait([signal.SIGTERM], PASS_SECONDS) is None:
            keeper.turn()
            mine.put(keeper.gauges())
        keeper.turn()
    finally:
        log.close()
        application.close()
    return 0


class Keeper:
    """What is to be done each turn, whatever process it is done in."""

    def __init__(self, application: Application, copier: OutboxCopier) -> None:
        self._registries = application.registries
        self._clock = application.clock
        self._copier = copier
        self._agreement = ClockAgreement(application.clock)
        self._forgot_boot_ns = 0
        self._forgotten = 0

    def turn(self) -> None:
        self._copier.copy_all()
        if self._agreement.holds() and self._clock.boot_ns() - self._forgot_boot_ns >= FORGET_EVERY_NS:
            self._forgot_boot_ns = self._clock.boot_ns()
            self._forget_answers()

    def gauges(self) -> dict[str, int]:
        """Values for gauges.KEEPER."""
        return {
            "outbox_waiting": self._copier.waiting,
            "outbox_copied": self._copier.copied,
            "outbox_failing": self._copier.failing,
            "answers_forgotten": self._forgotten,
            "clock_jumps": self._agreement.jumps,
        }

    def _forget_answers(self) -> None:
        for region, registry in self._registries.items():
            try:
                self._forgotten += registry.forget_answers_before(self._clock.wall_ns() - ANSWERS_KEPT_NS)
            except KMSError as error:
                _log.error("old answers of %s are kept for now: %s", region, error)
