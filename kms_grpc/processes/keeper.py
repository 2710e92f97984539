"""The keeper: the process of what happens by the clock. One per server, so that a busy thread never starves a worker.

Four times a second it looks at what is due (due_work.py) and copies the outboxes into the audit log (outbox.py).
Once a minute it forgets the answers that were remembered for retries and are older than 24 hours, and destroys pairs
for importing that have expired, as far as the clocks agree (agreement.py).
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.clock import Clock
from kms_grpc.config import Settings
from kms_grpc.crypto import keyring
from kms_grpc.errors import KMSError
from kms_grpc.processes import child_protocol, due_work, gauges
from kms_grpc.processes.child_protocol import SupervisorLink
from kms_grpc.processes.clock_trust import ClockTrust
from kms_grpc.processes.import_pairs import ImportPairs
from kms_grpc.processes.outbox import OutboxCopier
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.registry.base import ANSWERS_KEPT_NS
from kms_grpc.registry.shards import Shard

PASS_SECONDS: Final = 0.25
FORGET_EVERY_NS: Final = 60 * 1_000_000_000
RECORD_EVERY_NS: Final = 10 * 1_000_000_000
"""How far the recorded time may lag behind the wall clock."""

_log = logging.getLogger(__name__)


class Application(Protocol):
    """What a keeper works on."""

    @property
    def shards(self) -> Iterable[Shard]: ...

    @property
    def clock(self) -> Clock: ...

    def facts(self) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


def run(build: Callable[[Settings], Application]) -> int:
    """The main of the process `keeper`; returns its exit code. SIGTERM: one more pass, then the end."""
    return child_protocol.run(lambda tie: _run(tie, build))


def _run(tie: SupervisorLink, build: Callable[[Settings], Application]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    keyring.forbid_core_dumps()
    application = build(tie.settings)
    folder = RunFolder(tie.settings.data_dir)
    log = FileAuditLog(folder.keeper_log, application.clock)
    pairs = ImportPairs(application.shards, application.clock)
    try:
        registries = {shard.region: shard.registry for shard in application.shards}
        keeper = Keeper(application, OutboxCopier(registries, log, folder.keeper_position))
        mine = gauges.Gauges(folder.keeper_gauges, gauges.KEEPER)
        mine.put(keeper.gauges())
        pairs.start()
        tie.ready(application.facts())
        while signal.sigtimedwait([signal.SIGTERM], PASS_SECONDS) is None:
            keeper.turn()
            mine.put(keeper.gauges())
        keeper.turn()
    finally:
        pairs.stop()
        log.close()
        application.close()
    return 0


class Keeper:
    """What is to be done each turn, whatever process it is done in."""

    def __init__(self, application: Application, copier: OutboxCopier) -> None:
        self._shards = list(application.shards)
        self._clock = application.clock
        self._copier = copier
        self._agreement = ClockTrust(application.clock)
        self._forgot_boot_ns = 0
        self._recorded_boot_ns = 0
        self._counts = dict.fromkeys(("answers_forgotten", "keys_deleted", "keys_rotated", "materials_expired"), 0)
        self._to_erase: set[str] = set()

    def turn(self) -> None:
        certain = self._agreement.holds()
        for shard in self._shards:
            try:
                self._see_to(shard, certain)
            except KMSError as error:
                _log.error("keys of %s that are due are put off: %s", shard.region, error)
        self._copier.copy_all()
        if certain and self._clock.boot_ns() - self._forgot_boot_ns >= FORGET_EVERY_NS:
            self._forgot_boot_ns = self._clock.boot_ns()
            self._forget()
            self._to_erase.update(shard.region for shard in self._shards)

    def gauges(self) -> dict[str, int]:
        """Values for gauges.KEEPER."""
        return self._counts | {
            "outbox_waiting": self._copier.waiting,
            "outbox_copied": self._copier.copied,
            "outbox_failing": self._copier.failing,
            "clock_jumps": self._agreement.jumps,
            **self._outlook(),
        }

    def _see_to(self, shard: Shard, certain: bool) -> None:
        """What cannot be undone waits until the clocks are certain; the rest goes by the judged time alone."""
        now_ns = self._judged_ns(shard, certain)
        self._counts["keys_rotated"] += due_work.rotate_due(shard, now_ns)
        if certain:
            expired, deleted = due_work.expire_due(shard, now_ns), due_work.delete_due(shard, now_ns)
            self._counts["materials_expired"] += expired
            self._counts["keys_deleted"] += deleted
            if expired or deleted:
                self._to_erase.add(shard.region)
        if shard.region in self._to_erase and shard.registry.erase_removed():
            self._to_erase.discard(shard.region)

    def _judged_ns(self, shard: Shard, certain: bool) -> int:
        """The wall clock as this turn has looked at it, never behind what the shard has recorded; recorded itself once
        the clocks are certain."""
        wall_ns, latest_ns = self._agreement.wall_ns, shard.registry.latest_time.read_ns()
        if certain and wall_ns - latest_ns >= RECORD_EVERY_NS:
            with shard.registry.writing() as transaction:
                latest_ns = transaction.latest_time.advance(wall_ns)
        return max(wall_ns, latest_ns)

    def _outlook(self) -> dict[str, int]:
        outlooks = [shard.registry.keys.upcoming() for shard in self._shards]
        now_ns = self._clock.wall_ns()
        return {
            "keys_pending_deletion": sum(each.pending_deletions for each in outlooks),
            "seconds_to_next_deletion": _seconds_to(now_ns, [each.next_deletion_ns for each in outlooks]),
            "seconds_to_next_expiry": _seconds_to(now_ns, [each.next_expiry_ns for each in outlooks]),
        }

    def _forget(self) -> None:
        for shard in self._shards:
            try:
                now_ns = self._judged_ns(shard, True)
                with shard.registry.writing() as transaction:
                    transaction.pairs.remove_expired(now_ns)
                    forgotten = transaction.answers.forget_before(self._agreement.wall_ns - ANSWERS_KEPT_NS)
                self._counts["answers_forgotten"] += forgotten
            except KMSError as error:
                _log.error("old answers and pairs of %s are kept for now: %s", shard.region, error)


def _seconds_to(now_ns: int, times_ns: list[int | None]) -> int:
    """Seconds until the first of them, 0 where it is over; -1 where there is none."""
    there = [time_ns for time_ns in times_ns if time_ns is not None]
    return max(0, min(there) - now_ns) // 10**9 if there else -1
