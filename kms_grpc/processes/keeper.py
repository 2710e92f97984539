"""The keeper: the process for periodic work. There is one per server, so that this work never blocks a worker.

It sleeps until a shard is written to or a date comes. Then, four times a second at most, it makes the changes that are
due (due_work.py), copies the outboxes into the audit log (outbox_copier.py), and looks after the shards (upkeep.py).
Once a minute, while it trusts the clock (clock_trust.py), it removes responses that were remembered for retries and are
older than 24 hours, and destroys expired wrapping key pairs. At the beats of the supervisor (keeper_beats.py) it looks
for changes that were not announced (missed_changes.py).
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
from kms_grpc.folder_watch import WRITTEN, FolderWatch
from kms_grpc.processes import child_protocol, due_work, gauges
from kms_grpc.processes.child_protocol import SupervisorLink
from kms_grpc.processes.clock_trust import ClockTrust
from kms_grpc.processes.import_pairs import ImportPairs
from kms_grpc.processes.keeper_beats import KeeperBeats
from kms_grpc.processes.looks import Looks
from kms_grpc.processes.missed_changes import MissedChanges
from kms_grpc.processes.outbox_copier import OutboxCopier
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.processes.signals import Signals
from kms_grpc.processes.upkeep import MarkSync, Upkeep, run_all
from kms_grpc.processes.writability import Writability
from kms_grpc.registry.rows import ANSWERS_KEPT_NS
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql.library import sqlite_advice

PASS_SECONDS: Final = 0.25
"""The shortest time between two passes."""
FORGET_EVERY_NS: Final = 60 * 1_000_000_000
MADE_KNOWN_EVERY_NS: Final = 10 * 1_000_000_000
"""How far the latest time that all processes share may lag behind a trusted wall clock (registry/words.py)."""

_log = logging.getLogger(__name__)


class KeeperApplication(Protocol):
    """The parts that a keeper works on."""

    @property
    def shards(self) -> Iterable[Shard]: ...

    @property
    def clock(self) -> Clock: ...

    def facts(self) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


def run(build: Callable[[Settings], KeeperApplication]) -> int:
    """Run the process `keeper` and return its exit code. After SIGTERM it makes one more pass and ends."""
    with Signals([signal.SIGTERM]) as signals:
        return child_protocol.run(lambda link: _run(link, build, signals))


def _run(link: SupervisorLink, build: Callable[[Settings], KeeperApplication], signals: Signals) -> int:
    keyring.forbid_core_dumps()
    application = build(link.settings)
    folder = RunFolder(link.settings.data_dir)
    log = FileAuditLog(folder.keeper_log, application.clock)
    writes = FolderWatch(folder.shards, WRITTEN)
    pairs = ImportPairs(application.shards, application.clock, folder.shards)
    missed = MissedChanges(application.shards, folder.shards)
    mine = gauges.Gauges(folder.keeper_gauges, gauges.KEEPER)
    beats = KeeperBeats(link, lambda: _look_for_missed(missed, mine))
    marks = MarkSync(application.shards)
    try:
        registries = {shard.region: shard.registry for shard in application.shards}
        work = PeriodicWork(application, OutboxCopier(registries, log, folder.keeper_position))
        mine.put(work.gauges())
        pairs.start()
        marks.start()
        link.ready(application.facts())
        beats.start()
        while not _wait(work, writes, signals):
            with beats.working():
                work.run_pass(beats.note_progress)
            mine.put(work.gauges())
        work.run_pass()
    finally:
        beats.stop()
        pairs.stop()
        marks.stop()
        missed.close()
        writes.close()
        log.close()
        application.close()
    return 0


def _look_for_missed(missed: MissedChanges, mine: gauges.Gauges) -> None:
    before = missed.found
    missed.look()
    if missed.found != before:
        mine.put({"changes_made_up": missed.found})


def _wait(work: PeriodicWork, writes: FolderWatch, signals: Signals) -> bool:
    """Waits until the next pass is due; returns whether the keeper is to end instead. A write from now on leads to
    another pass."""
    if work.is_quiet and not writes.is_blind:
        writes.wait([signals.fileno()], work.seconds_to_due())
    ends = signals.came(PASS_SECONDS)
    writes.take()
    return ends


class PeriodicWork:
    """The work of the keeper, done pass by pass."""

    def __init__(self, application: KeeperApplication, copier: OutboxCopier) -> None:
        self._shards = list(application.shards)
        self._clock = application.clock
        self._copier = copier
        self._clock_trust = ClockTrust(application.clock)
        self._writability = Writability(self._shards, application.clock)
        self._looks = Looks()
        self._forgot_boot_ns = 0
        self._counts = dict.fromkeys(("answers_forgotten", "keys_deleted", "keys_rotated", "materials_expired"), 0)
        self._to_erase: set[str] = set()
        self._upkeeps = [Upkeep(shard, application.clock) for shard in self._shards]
        self._not_looked_after: set[str] = set()
        self.is_quiet = False
        """The last pass found nothing to look at, so the next one has nothing to do until something is written or a
        date comes."""

    def run_pass(self, note_progress: Callable[[], None] = lambda: None) -> None:
        """Make one pass. `note_progress` is called between its steps."""
        trusted = self._clock_trust.check()
        wall_ns, boot_ns = self._clock_trust.wall_ns, self._clock.boot_ns()
        if trusted:
            self._make_time_known(wall_ns)
        self._writability.try_all(wall_ns if trusted else None)  # first: what is due happens after a time on disk
        self.is_quiet = True
        for shard in self._shards:
            if shard.region in self._to_erase or self._looks.is_due(shard, wall_ns, boot_ns, trusted):
                note_progress()
                self._look(shard, boot_ns, trusted)
                self.is_quiet = False
        note_progress()
        run_all(self._upkeeps, self._not_looked_after)
        note_progress()
        if trusted and self._clock.boot_ns() - self._forgot_boot_ns >= FORGET_EVERY_NS:
            self._forgot_boot_ns = self._clock.boot_ns()
            self._remove_outdated()

    def seconds_to_due(self) -> float:
        """Returns the seconds until a pass has something to do although nothing is written: ten at most."""
        due_ns = self._writability.due_ns - self._clock.boot_ns()
        date_ns = self._looks.next_date_ns()
        if date_ns is not None:
            due_ns = min(due_ns, date_ns - self._clock.wall_ns())
        return max(0.0, min([due_ns / 1e9, *(upkeep.seconds_to_due() for upkeep in self._upkeeps)]))

    def gauges(self) -> dict[str, int]:
        """Returns values for the names in gauges.KEEPER."""
        return self._counts | {
            "outbox_waiting": self._copier.waiting,
            "outbox_copied": self._copier.copied,
            "outbox_failing": self._copier.failing,
            "registry_writable": int(self._writability.all_writable),
            "clock_jumps": self._clock_trust.jumps,
            "wrong_buckets": sum(upkeep.wrong_buckets for upkeep in self._upkeeps),
            "sqlite_loses_commits": int(sqlite_advice() is not None),
            **self._upcoming(),
        }

    def _look(self, shard: Shard, boot_ns: int, trusted: bool) -> None:
        """Make the changes due in a region, and copy its audit records."""
        version = self._looks.begin(shard)
        try:
            self._change_due_keys(shard, trusted)
            if self._copier.copy([shard.region]):
                self._looks.end(shard, version, boot_ns, trusted)
        except KMSError as error:
            self._copier.copy([shard.region])
            _log.error("due changes to keys of %s are postponed: %s", shard.region, error)

    def _change_due_keys(self, shard: Shard, trusted: bool) -> None:
        """Make the changes due in a region. Irreversible ones wait until the clock is trusted."""
        now_ns = self._judged_ns(shard)
        self._counts["keys_rotated"] += due_work.rotate_due(shard, now_ns)
        if trusted:
            expired, deleted = due_work.expire_due(shard, now_ns), due_work.delete_due(shard, now_ns)
            self._counts["materials_expired"] += expired
            self._counts["keys_deleted"] += deleted
            if expired or deleted:
                self._to_erase.add(shard.region)
        if shard.region in self._to_erase and shard.registry.erase_removed():
            shard.registry.keep_reserve()
            self._to_erase.discard(shard.region)

    def _make_time_known(self, wall_ns: int) -> None:
        """Tells all processes a trusted time. The regions record it on disk in turn (writability.py)."""
        for shard in self._shards:
            if wall_ns - shard.words.latest_time.value >= MADE_KNOWN_EVERY_NS:
                shard.words.latest_time.raise_to(wall_ns)

    def _judged_ns(self, shard: Shard) -> int:
        """Returns the later of this pass's reading of the wall clock and the latest time that is known. Raises KMSError
        if the time in the shard was changed on disk."""
        known_ns = max(shard.words.latest_time.value, shard.registry.latest_time.read_ns())
        return max(self._clock_trust.wall_ns, known_ns)

    def _upcoming(self) -> dict[str, int]:
        upcoming = self._looks.upcoming
        now_ns = self._clock.wall_ns()
        return {
            "keys_pending_deletion": sum(each.pending_deletions for each in upcoming),
            "seconds_to_next_deletion": _seconds_to(now_ns, [each.next_deletion_ns for each in upcoming]),
            "seconds_to_next_expiry": _seconds_to(now_ns, [each.next_expiry_ns for each in upcoming]),
        }

    def _remove_outdated(self) -> None:
        for shard in self._shards:
            try:
                now_ns, version = self._judged_ns(shard), shard.registry.version()
                with shard.registry.writing() as transaction:
                    transaction.pairs.remove_expired(now_ns)
                    forgotten = transaction.answers.forget_before(self._clock_trust.wall_ns - ANSWERS_KEPT_NS)
                self._counts["answers_forgotten"] += forgotten
                if shard.registry.version() != version:
                    self._to_erase.add(shard.region)
            except KMSError as error:
                _log.error("cannot remove old responses and key pairs of %s for now: %s", shard.region, error)


def _seconds_to(now_ns: int, times_ns: list[int | None]) -> int:
    """Returns the seconds until the earliest time: 0 if it has passed, -1 if there is none."""
    there = [time_ns for time_ns in times_ns if time_ns is not None]
    return max(0, min(there) - now_ns) // 10**9 if there else -1
