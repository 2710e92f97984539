"""The keeper copies each audit record of a write into the log exactly once, and trusts only a steady clock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.clock import SystemClock
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.processes import outbox_copier
from kms_grpc.processes.clock_trust import ClockTrust
from kms_grpc.processes.keeper import PeriodicWork
from kms_grpc.processes.outbox_copier import BATCH, OutboxCopier
from kms_grpc.registry.base import Registry, Transaction
from kms_grpc.registry.rows import ANSWERS_KEPT_NS, RememberedAnswer
from tests.processes.outbox_copies import REGIONS, copied, copy, copy_all, put_into_outbox
from tests.processes.small_disk import fill, small_disk
from tests.processes.stand_in_server import ROOT
from tests.processes.stepped_keeper import SECOND, ManualClock
from tests.registry.made import ACCOUNT, opened, start

__all__ = ["small_disk"]

ROWS = 2 * BATCH + 100
IDS = {region: [f"{region}-{number:05}" for number in range(ROWS)] for region in REGIONS}
ALL = sorted(event_id for ids in IDS.values() for event_id in ids)
NOW = 1_800_000_000 * SECOND


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "data"
    start(folder, REGIONS)
    shards = opened(folder, REGIONS)
    for shard in shards:
        put_into_outbox(shard, IDS[shard.region])
    shards.close()
    return folder


@pytest.fixture
def folder(_filled: Path, tmp_path: Path) -> Path:
    """A data directory with two shards, each with three batches in its outbox."""
    return Path(shutil.copytree(_filled, tmp_path / "data"))


def _copy_in_a_process(folder: Path, fault: str | None) -> int:
    environment = os.environ | ({"KMS_GRPC_FAULT": fault} if fault else {})
    command = [sys.executable, "-m", "tests.processes.outbox_copies", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _rotate(folder: Path) -> None:
    log = folder / "audit" / "keeper.jsonl"
    log.rename(log.with_name("keeper.jsonl.1"))


def _tear(folder: Path) -> None:
    """Cut the last line, as a crash in the middle of a write does."""
    log = folder / "audit" / "keeper.jsonl"
    os.truncate(log, log.stat().st_size - 10)


def _lose_position(folder: Path) -> None:
    (folder / "audit" / "keeper.position").unlink(missing_ok=True)


def _damage_position(folder: Path) -> None:
    (folder / "audit" / "keeper.position").write_bytes(b'{"inode":')


@pytest.mark.parametrize("point", ["outbox.copied", "outbox.cleared"])
@pytest.mark.parametrize("passing", [1, 2, 3, 4, 6])
def test_each_record_is_copied_once_after_a_crash(folder: Path, point: str, passing: int) -> None:
    assert _copy_in_a_process(folder, f"{point}:{passing}") == -signal.SIGKILL
    assert 0 < len(copied(folder)) <= len(ALL)
    assert _copy_in_a_process(folder, None) == 0
    assert sorted(copied(folder)) == ALL


@pytest.mark.parametrize(
    "meanwhile",
    [
        _rotate,  # by logrotate, before the keeper starts again
        _lose_position,  # by a power loss before the rename was on the disk
        _damage_position,
        lambda folder: (_rotate(folder), (folder / "audit" / "keeper.jsonl").touch()),
    ],
)
def test_each_record_is_copied_once_if_the_log_changes_between_crash_and_start(
    folder: Path, meanwhile: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_copier, "POSITION_STEP", 0)
    copy(folder, REGIONS[:1])
    assert _copy_in_a_process(folder, "outbox.copied:2") == -signal.SIGKILL
    meanwhile(folder)
    copy(folder)
    assert sorted(copied(folder)) == ALL


def test_a_torn_record_is_copied_again(folder: Path) -> None:
    assert _copy_in_a_process(folder, "outbox.copied:1") == -signal.SIGKILL
    _tear(folder)
    copy(folder)
    log = folder / "audit" / "keeper.jsonl"
    whole = [line for line in log.read_bytes().splitlines() if line.endswith(b"}")]
    assert len(whole) == len(set(whole)) == len(ALL)


def test_the_position_advances_so_that_a_start_reads_little(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_copier, "POSITION_STEP", 1000)
    copy(folder)
    position = outbox_copier.read_position(folder / "audit" / "keeper.position")
    log = folder / "audit" / "keeper.jsonl"
    assert position == outbox_copier.Position(log.stat().st_ino, log.stat().st_size)
    assert list(outbox_copier.ids_after(log, position)) == []
    assert len(list(outbox_copier.ids_after(log, outbox_copier.Position(0, 0)))) == len(ALL)


class _ReadOnlyShard:
    """A shard that can be read but, while `read_only`, not written."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.outbox = registry.outbox
        self.read_only = True

    def writing(self, spends_reserve: bool = False) -> AbstractContextManager[Transaction]:
        if self.read_only:
            raise DependencyTimeoutException("The disk is full.")
        return self._registry.writing()


def test_a_failing_region_delays_no_other_and_repeats_no_record(folder: Path) -> None:
    shards = opened(folder, REGIONS)
    first, second = shards
    failing = _ReadOnlyShard(first.registry)
    (folder / "audit").mkdir()
    log = FileAuditLog(folder / "audit" / "keeper.jsonl", SystemClock())
    registries = {first.region: failing, second.region: second.registry}
    copier = OutboxCopier(registries, log, folder / "audit" / "keeper.position")  # type: ignore[arg-type]
    for _ in range(3):
        copy_all(copier)
    assert (copier.failing, copier.waiting) == (1, BATCH)
    assert sorted(copied(folder)) == sorted([*IDS[second.region], *IDS[first.region][:BATCH]])
    failing.read_only = False
    copy_all(copier)
    assert (copier.failing, copier.waiting, copier.copied) == (0, 0, len(ALL))
    assert sorted(copied(folder)) == ALL
    log.close()
    shards.close()


def test_a_full_disk_keeps_the_records_in_the_outbox(folder: Path, small_disk: Path) -> None:
    shards = opened(folder, REGIONS)
    filler = fill(small_disk)
    log = FileAuditLog(small_disk / "keeper.jsonl", SystemClock())
    copier = OutboxCopier({s.region: s.registry for s in shards}, log, small_disk / "keeper.position")
    copy_all(copier)
    assert copier.failing == 2
    assert all(len(shard.registry.outbox.oldest(ROWS)) == ROWS for shard in shards)
    filler.unlink()
    log._check()  # the log does this once a second
    copy_all(copier)
    assert copier.failing == 0
    assert (small_disk / "keeper.jsonl").read_bytes().count(b"\n") == len(ALL)
    log.close()
    shards.close()


# --- removal of old responses, and trust in the clock --------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "is_trusted", "jumps"),
    [
        ([(3599, 0.0)], False, 0),  # the hour begins at the start
        ([(3600, 0.0)], True, 0),
        ([(10, 0.005)] * 360, True, 0),  # slewed by 500 ppm throughout
        ([(3600, 0.0), (10, 86400.0)], False, 1),  # set forward
        ([(3600, 0.0), (10, -86400.0)], False, 1),  # set back
        (
            [(3600, 0.0), (10, 86400.0), (10, -86400.0), (3590, 0.0)],
            False,
            2,
        ),  # set forward and back: the hour begins at the last jump
        ([(3600, 0.0), (10, 86400.0), (10, -86400.0), (3600, 0.0)], True, 2),
    ],
)
def test_trust_needs_an_hour_without_a_jump(steps: list[tuple[float, float]], is_trusted: bool, jumps: int) -> None:
    clock = ManualClock(NOW)
    trust = ClockTrust(clock)
    for seconds, apart in steps:
        clock.step(seconds, apart)
        trusted = trust.check()
    assert (trusted, trust.jumps) == (is_trusted, jumps)


def test_remembered_responses_are_removed_after_a_day_once_the_clock_is_trusted(folder: Path) -> None:
    clock = ManualClock(NOW)
    shards = opened(folder, REGIONS)
    with shards.default.registry.writing() as transaction:
        transaction.answers.remember(
            RememberedAnswer(ACCOUNT, "CreateKey", "a", b"d", b"r", clock.wall_ns() - ANSWERS_KEPT_NS)
        )
    log = FileAuditLog(folder / "keeper.jsonl", clock)

    class Parts:
        pass

    application = Parts()
    application.shards = shards  # type: ignore[attr-defined]
    application.clock = clock  # type: ignore[attr-defined]
    copier = OutboxCopier({shard.region: shard.registry for shard in shards}, log, folder / "keeper.position")
    work = PeriodicWork(application, copier)  # type: ignore[arg-type]
    for step, forgotten in [((60, 0.0), 0), ((10, 90_000.0), 0), ((3599, 0.0), 0), ((1, 0.0), 1), ((3600, 0.0), 1)]:
        clock.step(*step)
        work.run_pass()
        assert work.gauges()["answers_forgotten"] == forgotten, step
    log.close()
    shards.close()
