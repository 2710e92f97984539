"""What happens by the clock: each audit record of a write comes into the log once, whatever happens to the keeper."""

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
from kms_grpc.processes import outbox
from kms_grpc.processes.clock_trust import ClockTrust
from kms_grpc.processes.keeper import Keeper
from kms_grpc.processes.outbox import BATCH, OutboxCopier
from kms_grpc.registry.base import ANSWERS_KEPT_NS, Registry, RememberedAnswer, Transaction
from tests.processes.kept import REGIONS, copied, copy, put_into_outbox
from tests.processes.served import ROOT
from tests.processes.small_disk import fill, small_disk
from tests.registry.made import ACCOUNT, opened, start

__all__ = ["small_disk"]

ROWS = 2 * BATCH + 100
IDS = {region: [f"{region}-{number:05}" for number in range(ROWS)] for region in REGIONS}
ALL = sorted(event_id for ids in IDS.values() for event_id in ids)
SECOND = 1_000_000_000
HOUR = 3600 * SECOND


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
    """A data directory with two shards, and three batches waiting in the outbox of each."""
    return Path(shutil.copytree(_filled, tmp_path / "data"))


def _copy_in_a_process(folder: Path, fault: str | None) -> int:
    environment = os.environ | ({"KMS_GRPC_FAULT": fault} if fault else {})
    command = [sys.executable, "-m", "tests.processes.kept", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _rotate(folder: Path) -> None:
    log = folder / "audit" / "keeper.jsonl"
    log.rename(log.with_name("keeper.jsonl.1"))


def _tear(folder: Path) -> None:
    """What a crash in the middle of a write leaves: the last line half, its row not cleared."""
    log = folder / "audit" / "keeper.jsonl"
    os.truncate(log, log.stat().st_size - 10)


def _lose_position(folder: Path) -> None:
    (folder / "audit" / "keeper.position").unlink(missing_ok=True)


def _damage_position(folder: Path) -> None:
    (folder / "audit" / "keeper.position").write_bytes(b'{"inode":')


@pytest.mark.parametrize("point", ["outbox.copied", "outbox.cleared"])
@pytest.mark.parametrize("passing", [1, 2, 3, 4, 6])
def test_a_crash_anywhere_leaves_each_record_once(folder: Path, point: str, passing: int) -> None:
    assert _copy_in_a_process(folder, f"{point}:{passing}") == -signal.SIGKILL
    assert 0 < len(copied(folder)) <= len(ALL)
    assert _copy_in_a_process(folder, None) == 0
    assert sorted(copied(folder)) == ALL


@pytest.mark.parametrize(
    "meanwhile",
    [
        _rotate,  # logrotate came before the keeper did again
        _lose_position,  # power lost before the rename was on the disk
        _damage_position,
        lambda folder: (_rotate(folder), (folder / "audit" / "keeper.jsonl").touch()),
    ],
)
def test_a_crash_and_what_may_happen_before_the_next_start(
    folder: Path, meanwhile: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "POSITION_STEP", 0)
    copy(folder, REGIONS[:1])
    assert _copy_in_a_process(folder, "outbox.copied:2") == -signal.SIGKILL
    meanwhile(folder)
    copy(folder)
    assert sorted(copied(folder)) == ALL


def test_a_torn_record_is_copied_anew(folder: Path) -> None:
    assert _copy_in_a_process(folder, "outbox.copied:1") == -signal.SIGKILL
    _tear(folder)
    copy(folder)
    log = folder / "audit" / "keeper.jsonl"
    whole = [line for line in log.read_bytes().splitlines() if line.endswith(b"}")]
    assert len(whole) == len(set(whole)) == len(ALL)


def test_the_position_moves_on_so_that_a_start_reads_little(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "POSITION_STEP", 1000)
    copy(folder)
    position = outbox.read_position(folder / "audit" / "keeper.position")
    log = folder / "audit" / "keeper.jsonl"
    assert position == outbox.Position(log.stat().st_ino, log.stat().st_size)
    assert list(outbox.ids_after(log, position)) == []
    assert len(list(outbox.ids_after(log, outbox.Position(0, 0)))) == len(ALL)


class _Away:
    """A shard that can be read but not be written until `away` is False."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.outbox = registry.outbox
        self.away = True

    def writing(self) -> AbstractContextManager[Transaction]:
        if self.away:
            raise DependencyTimeoutException("The disk is full.")
        return self._registry.writing()


def test_one_region_that_fails_holds_up_no_other_and_repeats_nothing(folder: Path) -> None:
    shards = opened(folder, REGIONS)
    first, second = shards
    failing = _Away(first.registry)
    (folder / "audit").mkdir()
    log = FileAuditLog(folder / "audit" / "keeper.jsonl", SystemClock())
    registries = {first.region: failing, second.region: second.registry}
    copier = OutboxCopier(registries, log, folder / "audit" / "keeper.position")  # type: ignore[arg-type]
    for _ in range(3):
        copier.copy_all()
    assert (copier.failing, copier.waiting) == (1, BATCH)
    assert sorted(copied(folder)) == sorted([*IDS[second.region], *IDS[first.region][:BATCH]])
    failing.away = False
    copier.copy_all()
    assert (copier.failing, copier.waiting, copier.copied) == (0, 0, len(ALL))
    assert sorted(copied(folder)) == ALL
    log.close()
    shards.close()


def test_a_full_disk_keeps_the_records_in_the_outbox(folder: Path, small_disk: Path) -> None:
    shards = opened(folder, REGIONS)
    filler = fill(small_disk)
    log = FileAuditLog(small_disk / "keeper.jsonl", SystemClock())
    copier = OutboxCopier({s.region: s.registry for s in shards}, log, small_disk / "keeper.position")
    copier.copy_all()
    assert copier.failing == 2
    assert all(len(shard.registry.outbox.oldest(ROWS)) == ROWS for shard in shards)
    filler.unlink()
    log._check()  # what the log does each second
    copier.copy_all()
    assert copier.failing == 0
    assert (small_disk / "keeper.jsonl").read_bytes().count(b"\n") == len(ALL)
    log.close()
    shards.close()


# --- what is forgotten, and when a clock is believed ---------------------------------------------------------------


class _Clock:
    """Stepped by hand, wall and boot together or apart."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000 * SECOND
        self.boot = 5 * HOUR

    def wall_ns(self) -> int:
        return self.wall

    def boot_ns(self) -> int:
        return self.boot

    def boot_id(self) -> str:
        return "boot"

    def step(self, seconds: float, apart: float = 0.0) -> None:
        self.wall += int((seconds + apart) * SECOND)
        self.boot += int(seconds * SECOND)


@pytest.mark.parametrize(
    ("steps", "holds", "jumps"),
    [
        ([(3599, 0.0)], False, 0),  # a start begins the hour
        ([(3600, 0.0)], True, 0),
        ([(10, 0.005)] * 360, True, 0),  # slewed by 500 ppm all the time
        ([(3600, 0.0), (10, 86400.0)], False, 1),  # set forward: destroys nothing
        ([(3600, 0.0), (10, -86400.0)], False, 1),  # set back
        (
            [(3600, 0.0), (10, 86400.0), (10, -86400.0), (3590, 0.0)],
            False,
            2,
        ),  # and set right again: an hour from there
        ([(3600, 0.0), (10, 86400.0), (10, -86400.0), (3600, 0.0)], True, 2),
    ],
)
def test_clocks_must_agree_for_an_hour(steps: list[tuple[float, float]], holds: bool, jumps: int) -> None:
    clock = _Clock()
    agreement = ClockTrust(clock)
    for seconds, apart in steps:
        clock.step(seconds, apart)
        held = agreement.holds()
    assert (held, agreement.jumps) == (holds, jumps)


def test_remembered_answers_are_forgotten_after_a_day_of_trusted_time(folder: Path) -> None:
    clock = _Clock()
    shards = opened(folder, REGIONS)
    with shards.default.registry.writing() as transaction:
        transaction.answers.remember(
            RememberedAnswer(ACCOUNT, "CreateKey", "a", b"d", b"r", clock.wall_ns() - ANSWERS_KEPT_NS)
        )
    log = FileAuditLog(folder / "keeper.jsonl", clock)

    class Application:
        pass

    application = Application()
    application.shards = shards  # type: ignore[attr-defined]
    application.clock = clock  # type: ignore[attr-defined]
    copier = OutboxCopier({shard.region: shard.registry for shard in shards}, log, folder / "keeper.position")
    keeper = Keeper(application, copier)  # type: ignore[arg-type]
    for step, forgotten in [((60, 0.0), 0), ((10, 90_000.0), 0), ((3599, 0.0), 0), ((1, 0.0), 1), ((3600, 0.0), 1)]:
        clock.step(*step)
        keeper.turn()
        assert keeper.gauges()["answers_forgotten"] == forgotten, step
    log.close()
    shards.close()
